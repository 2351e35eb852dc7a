//! The objects of a VM that is to be rebuilt should it die, and what they were
//! made from: the host's copies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bpfvisor_abi::op::{LoadRecord, MapRecord};

use crate::load::TypeInfo;
use crate::object::Object;

/// What an object was made from.
#[derive(Debug)]
pub(crate) enum Origin {
    Map(MapRecord),
    Program(Box<Source>),
}

/// A program as it was loaded.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) record: LoadRecord,
    pub(crate) insns: Box<[u8]>,
    pub(crate) types: TypeInfo,
}

/// All objects by their age: each refers to older ones only.
#[derive(Debug, Default)]
pub(crate) struct Roll(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_age: BTreeMap<u64, Weak<Object>>,
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, for an object about to be made by `make`.
    pub(crate) fn enter(&self, make: impl FnOnce(u64) -> Arc<Object>) -> Arc<Object> {
        let mut entries = self.lock();
        entries.next += 1;
        let place = entries.next;
        let object = make(place);
        entries.by_age.insert(place, Arc::downgrade(&object));
        object
    }

    pub(crate) fn leave(&self, place: u64) {
        self.lock().by_age.remove(&place);
    }

    /// Those that live, oldest first.
    pub(crate) fn living(&self) -> Vec<Arc<Object>> {
        self.lock()
            .by_age
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}
