//! Objects that a map's values name (inner maps, tail-call targets): they stay
//! alive as long as they are named.

use crate::error::Result;
use bpf_core::uapi::MapType;
use bpfvisor_vmm::Object;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the values of such a map are fds of maps or programs.
pub(super) fn holds_objects(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps
    )
}

/// By key, what the value names. Programs can't change such maps, so this side
/// knows all of it.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<Vec<u8>, Arc<Object>>>);

impl Links {
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
            let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(key).cloned()
    }

    /// Whether anything is named.
    pub fn any(&self) -> bool {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !links.is_empty()
    }
}
