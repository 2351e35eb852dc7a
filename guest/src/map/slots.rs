//! Program arrays: where a tail call goes.
use crate::program::Prog;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// The programs in a program array. The table of entry addresses is what
/// compiled code reads; beside it the programs are kept alive.
pub struct ProgSlots {
    entries: Box<[AtomicU64]>,
    progs: Mutex<BTreeMap<u32, Arc<Prog>>>,
}

impl ProgSlots {
    /// All slots empty.
    pub fn new(slots: u32) -> Self {
        Self {
            entries: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            progs: Mutex::new(BTreeMap::new()),
        }
    }

    /// Address of the table of entry addresses.
    pub fn table(&self) -> u64 {
        self.entries.as_ptr().expose_provenance() as u64
    }

    /// The program in a slot.
    pub fn get(&self, index: u32) -> Option<Arc<Prog>> {
        self.progs.lock().get(&index).cloned()
    }

    /// Puts a program into a slot (or takes it out) and gives back the one that
    /// was there, which other vCPUs may still be running.
    pub fn replace(&self, index: u32, prog: Option<Arc<Prog>>) -> Option<Arc<Prog>> {
        let mut progs = self.progs.lock();
        if let Some(entry) = self.entries.get(index as usize) {
            entry.store(
                prog.as_ref().map_or(0, |p| p.tail_entry()),
                Ordering::Release,
            );
        }
        match prog {
            Some(p) => progs.insert(index, p),
            None => progs.remove(&index),
        }
    }
}
