//! Objects that a map's values name (inner maps, tail-call targets): they stay
//! alive as long as they are named.

use crate::error::Result;
use bpf_core::uapi::MapType;
use bpfvisor_vmm::{LastClose, Object};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the values of such a map are fds of maps or programs.
pub(super) fn holds_objects(map_type: MapType) -> bool {
    use MapType::*;
    matches!(
        map_type,
        ProgArray | ArrayOfMaps | HashOfMaps | PerfEventArray
    )
}

/// By key, what the value names. Programs can't change such maps, so this side
/// knows all of it. They go with the map.
#[derive(Debug)]
pub(super) struct Links {
    map_type: MapType,
    by_key: Mutex<HashMap<Vec<u8>, Arc<Object>>>,
}

impl Links {
    pub fn new(map_type: MapType) -> Self {
        Self {
            map_type,
            by_key: Mutex::default(),
        }
    }

    /// Changes a key in the guest by `change`, and then here. One change at a
    /// time, so that both see the same order.
    pub fn change(
        &self,
        key: &[u8],
        target: Option<Arc<Object>>,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let old;
        {
            let mut links = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
            change()?;
            old = match target {
                Some(target) => links.insert(key.to_vec(), target),
                None => links.remove(key),
            };
        }
        drop(old); // may free the object in the guest: not under the lock
        Ok(())
    }

    /// What a key names.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Object>> {
        let links = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(key).cloned()
    }
}

/// Linux empties a program array when the last descriptor of it is closed, even
/// if programs still use it: one of them may well be in it, and they would keep
/// each other alive for ever.
impl LastClose for Links {
    fn last_closed(&self, object: &Object) {
        if self.map_type != MapType::ProgArray {
            return;
        }
        object.clear();
        let mut links = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *links);
        drop(links);
        drop(gone); // may free the programs, and with them the array
    }
}
