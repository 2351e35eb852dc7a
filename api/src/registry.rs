//! What this side knows about the maps of a VM, for as long as they live in it:
//! fds can outlive the [`Map`](crate::Map) they came from.

use crate::map::MapInfo;
use bpfvisor_vmm::Object;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_handle: HashMap<u32, (Weak<Object>, Arc<MapInfo>)>,
    /// Dead entries are looked for when there are this many.
    sweep_at: usize,
}

impl Registry {
    /// Remembers a map.
    pub fn add(&self, object: &Arc<Object>, info: Arc<MapInfo>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_handle.len() >= entries.sweep_at {
            entries.by_handle.retain(|_, (o, _)| o.strong_count() > 0);
            entries.sweep_at = (entries.by_handle.len() * 2).max(64);
        }
        let weak = Arc::downgrade(object);
        entries.by_handle.insert(object.handle(), (weak, info));
    }

    /// What is known about a map.
    pub fn get(&self, handle: u32) -> Option<Arc<MapInfo>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_handle.get(&handle).map(|(_, info)| info.clone())
    }

    /// Forgets maps that are gone, and with them what they kept alive. What is
    /// dropped may free objects, so it happens outside the lock.
    pub fn sweep(&self) {
        let mut dead = Vec::new();
        {
            let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            entries.by_handle.retain(|_, (object, info)| {
                let alive = object.strong_count() > 0;
                if !alive {
                    dead.push(info.clone());
                }
                alive
            });
        }
        drop(dead);
    }
}
