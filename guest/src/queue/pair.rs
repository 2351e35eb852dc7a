//! One submission ring and one completion ring.
use crate::hal::Shared;
use bpfvisor_abi::handshake;
use bpfvisor_abi::ring::{Completion, ENTRIES, Submission, block, slot, stamp};
use core::sync::atomic::{AtomicU32, Ordering};

/// A ring pair, and how far it has been served.
#[derive(Debug)]
pub(super) struct Pair {
    base: u64,
    host_waiting: &'static AtomicU32,
    next: AtomicU32,
}

impl Pair {
    /// The pair in the queue block at `base`.
    pub fn new(shared: Shared, base: u64) -> Option<Self> {
        Some(Self {
            base,
            host_waiting: shared.word(base + block::HOST_WAITING)?,
            next: AtomicU32::new(0),
        })
    }

    /// The next submission, if it is there already.
    #[inline]
    pub fn poll(&self, shared: Shared) -> Option<Submission> {
        let n = self.next.load(Ordering::Relaxed);
        let at = self.base + block::SUBMISSIONS + slot(n);
        let seq = shared.word(at)?.load(Ordering::Acquire);
        if seq != stamp(n) {
            return None;
        }
        shared.read(at)
    }

    /// Answers it and moves on; true where somebody is to be notified.
    #[inline]
    pub fn complete(&self, shared: Shared, status: i32, val: [u64; 7]) -> bool {
        let n = self.next.load(Ordering::Relaxed);
        self.next.store(n.wrapping_add(1), Ordering::Relaxed);
        let at = self.base + block::COMPLETIONS + slot(n);
        let Some(seq) = shared.word(at) else {
            return false;
        };
        let old = seq.load(Ordering::Relaxed);
        let answer = Completion {
            seq: old,
            status,
            val,
        };
        shared.write(at, answer);
        handshake::complete(seq, stamp(n), self.host_waiting)
    }

    /// Empties both rings.
    pub fn reset(&self, shared: Shared) -> Option<()> {
        for n in 0..ENTRIES {
            shared.write(self.base + block::SUBMISSIONS + slot(n), [0u64; 8])?;
            shared.write(self.base + block::COMPLETIONS + slot(n), [0u64; 8])?;
        }
        self.host_waiting.store(0, Ordering::Relaxed);
        self.next.store(0, Ordering::Relaxed);
        Some(())
    }
}
