//! Objects that a map's values name (inner maps, tail-call targets), for maps of
//! a daemon's clients: they stay alive as long as they are named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfvisor_abi::op::code;

use crate::core::Core;
use crate::error::CallError;
use crate::object::{Companion, Kept, Object};

/// By key, what the value names. Programs can't change such maps, so the daemon
/// knows all of it. They go with the map.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_key: Mutex<HashMap<Vec<u8>, Arc<Object>>>,
    /// The last close of its descriptors empties the map.
    empties: bool,
}

impl Links {
    pub(crate) fn new(empties: bool) -> Self {
        Self {
            empties,
            ..Self::default()
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Object>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a key names.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Object>> {
        self.table().get(key).cloned()
    }

    /// Changes a key in the guest, and then here. One change at a time, so that
    /// both see the same order.
    pub(crate) fn change(
        &self,
        (core, outer): (&Core, &Object),
        key: &[u8],
        target: Option<&Arc<Object>>,
        flags: u64,
    ) -> Result<(), CallError> {
        let value_at = (key.len() as u64).next_multiple_of(64);
        let block = core.alloc(value_at + 64, 64)?;
        let (key_at, value_at) = (block.offset(), block.offset() + value_at);
        core.shared.write(key_at, key)?;
        let op = match target {
            Some(_) => code::MAP_UPDATE,
            None => code::MAP_DELETE,
        };
        let handle = target.map_or(0, |t| t.handle());
        core.shared.write(value_at, &handle.to_ne_bytes())?;
        let arg = [outer.handle().into(), key_at, value_at, flags, 0, 0, 0];
        let old;
        {
            let mut links = self.table();
            core.demand(op, &arg)?;
            old = match target {
                Some(target) => links.insert(key.to_vec(), Arc::clone(target)),
                None => links.remove(key),
            };
        }
        drop(old); // may free the object in the guest: not under the lock
        Ok(())
    }
}

impl Companion for Links {
    fn last_closed(&self, object: &Object) {
        if self.empties {
            object.clear();
            let gone = std::mem::take(&mut *self.table());
            drop(gone); // may free the programs, and with them the map
        }
    }

    fn mend(&self, _: &Object) -> Result<Kept, String> {
        Err("the daemon does not know its layout".into())
    }

    fn links(&self) -> Option<Vec<(Vec<u8>, Arc<Object>)>> {
        None
    }

    fn constant(&self) -> Option<Arc<[u8]>> {
        None
    }

    fn is_frozen(&self) -> bool {
        false
    }
}
