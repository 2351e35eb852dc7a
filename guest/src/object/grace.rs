//! When an object that was taken out of use may go.
//!
//! The run path looks objects up without locks and without counting references.
//! What is retired therefore stays until every other vCPU has finished the
//! request that it was in at that moment.
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Request counters of all vCPUs, and what waits to be dropped.
pub struct Grace {
    /// Odd while a request is under way.
    epochs: Vec<AtomicU64>,
    waiting: Mutex<Vec<Retired>>,
}

struct Retired {
    /// The epochs at the moment of retirement.
    seen: Vec<u64>,
    _what: Box<dyn Any + Send>,
}

impl Grace {
    /// For this many vCPUs, all between requests.
    pub fn new(vcpus: u32) -> Self {
        Self {
            epochs: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
            waiting: Mutex::new(Vec::new()),
        }
    }

    /// A request begins on a vCPU. Lookups after it see no object that was
    /// retired (and perhaps dropped) before it.
    #[inline]
    pub fn enter(&self, vcpu: u32) {
        self.step(vcpu, true);
    }

    /// It has ended (or was cut short).
    #[inline]
    pub fn leave(&self, vcpu: u32) {
        self.step(vcpu, false);
    }

    fn step(&self, vcpu: u32, odd: bool) {
        if let Some(e) = self.epochs.get(vcpu as usize) {
            let now = e.load(Ordering::Relaxed);
            if now % 2 != u64::from(odd) {
                e.swap(now + 1, Ordering::SeqCst);
            }
        }
    }

    /// Takes what nobody can look up any more; drops what has waited long enough.
    /// `vcpu` is the caller's, whose own request counts as ended.
    pub fn retire(&self, vcpu: u32, what: Box<dyn Any + Send>) {
        let mut seen: Vec<u64> = self
            .epochs
            .iter()
            .map(|e| e.load(Ordering::SeqCst))
            .collect();
        if let Some(own) = seen.get_mut(vcpu as usize) {
            *own = 0;
        }
        let gone: Vec<Retired> = {
            let mut waiting = self.waiting.lock();
            waiting.push(Retired { seen, _what: what });
            waiting.extract_if(.., |r| self.passed(r)).collect()
        };
        drop(gone);
    }

    fn passed(&self, r: &Retired) -> bool {
        let mut pairs = r.seen.iter().zip(&self.epochs);
        pairs.all(|(&then, now)| then % 2 == 0 || now.load(Ordering::SeqCst) != then)
    }
}
