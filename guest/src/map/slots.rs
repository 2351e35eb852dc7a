//! Program arrays: where a tail call goes.
use crate::program::Prog;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf_core::uapi::ProgType;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// The programs in a program array. The table of entry addresses is what
/// compiled code reads; beside it the programs are kept alive.
pub struct ProgSlots {
    entries: Box<[AtomicU64]>,
    progs: Mutex<BTreeMap<u32, Arc<Prog>>>,
    owner: Mutex<Option<Owner>>,
}

/// What programs must have in common to call each other through an array: what
/// the verifier assumed of their context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The type.
    pub prog_type: ProgType,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// Lengths of a flat program's memory.
    pub flat: (u32, u32),
}

impl ProgSlots {
    /// All slots empty.
    pub fn new(slots: u32) -> Self {
        Self {
            entries: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            progs: Mutex::new(BTreeMap::new()),
            owner: Mutex::new(None),
        }
    }

    /// Address of the table of entry addresses.
    pub fn table(&self) -> u64 {
        self.entries.as_ptr().expose_provenance() as u64
    }

    /// Whether programs of this kind may use the array. The first to ask decides.
    pub fn admits(&self, owner: Owner) -> bool {
        *self.owner.lock().get_or_insert(owner) == owner
    }

    /// The program in a slot.
    pub fn get(&self, index: u32) -> Option<Arc<Prog>> {
        self.progs.lock().get(&index).cloned()
    }

    /// The indices of slots that hold a program.
    pub fn taken(&self) -> Vec<u32> {
        self.progs.lock().keys().copied().collect()
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
