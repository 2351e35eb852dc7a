//! The trace ring: text from programs, one vCPU writing, the host reading.
use crate::hal::Shared;
use bpfvisor_abi::layout::queue_block;
use bpfvisor_abi::ring::block;
use core::sync::atomic::{AtomicU64, Ordering};

/// A vCPU's trace ring. Old text is overwritten; the host sees from the head how
/// much it missed.
#[derive(Debug)]
pub struct Trace {
    shared: Shared,
    base: u64,
    head: &'static AtomicU64,
}

impl Trace {
    /// The ring of vCPU `vcpu`.
    pub fn new(shared: Shared, vcpu: u32) -> Option<Self> {
        let at = queue_block(vcpu);
        let head = shared.dword(at + block::TRACE_HEAD)?;
        Some(Self {
            shared,
            base: at + block::TRACE,
            head,
        })
    }

    /// Appends text.
    pub fn write(&self, text: &[u8]) {
        let mut head = self.head.load(Ordering::Relaxed);
        let mut rest = text;
        while !rest.is_empty() {
            let at = head % block::TRACE_LEN;
            let n = rest.len().min((block::TRACE_LEN - at) as usize);
            let (now, later) = rest.split_at(n);
            self.shared.copy_in(self.base + at, now);
            head += n as u64;
            rest = later;
        }
        self.head.store(head, Ordering::Release);
    }
}
