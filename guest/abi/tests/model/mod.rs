//! What the models share: words of shared memory, and doorbells.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

use bpfvisor_abi::handshake::Word;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Condvar, Mutex};

/// A word of shared memory, in loom's model.
pub struct Cell(pub AtomicU32);

impl Cell {
    pub fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }
}

impl Word for Cell {
    fn load(&self, order: Ordering) -> u32 {
        // Loom knows no sequentially consistent loads; fences say it as well.
        if order == Ordering::SeqCst {
            fence(Ordering::SeqCst);
            return self.0.load(Ordering::Acquire);
        }
        self.0.load(order)
    }
    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }
    fn exchange(&self, value: u32) -> u32 {
        fence(Ordering::SeqCst);
        let old = self.0.swap(value, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        old
    }
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// An eventfd: rings are remembered until somebody waits.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
    pub fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}
