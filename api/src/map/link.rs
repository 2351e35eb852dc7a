//! Objects that a map's values name (inner maps, tail-call targets): they stay
//! alive as long as they are named.

use super::host;
use bpf_core::map::{Fields, Geometry};
use bpf_core::uapi::{MapType, map_flags};
use bpfvisor_vmm::{Companion, Kept, Object};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Whether the values of such a map are fds of maps or programs.
pub(super) fn holds_objects(map_type: MapType) -> bool {
    use MapType::*;
    matches!(
        map_type,
        ProgArray | ArrayOfMaps | HashOfMaps | PerfEventArray
    )
}

/// What this side keeps with a map of the VM: by key, what its values name
/// (programs can't change such maps, so this side knows all of it), and what is
/// needed to bring the map back should the VM be rebuilt.
#[derive(Debug)]
pub(super) struct Links {
    geometry: Geometry,
    seed: u64,
    fields: Fields,
    by_key: Mutex<HashMap<Vec<u8>, Arc<Object>>>,
    frozen: AtomicBool,
    constant: OnceLock<Arc<[u8]>>,
    initial: OnceLock<Arc<[u8]>>,
}

impl Links {
    pub fn new(geometry: Geometry, seed: u64, spin_lock: Option<u32>) -> Self {
        Self {
            geometry,
            seed,
            fields: Fields {
                spin_lock,
                timer: None,
            },
            by_key: Mutex::default(),
            frozen: AtomicBool::new(false),
            constant: OnceLock::new(),
            initial: OnceLock::new(),
        }
    }

    /// What the map holds now is what it begins with, whenever it begins anew.
    pub fn begin(&self, object: &Object) {
        if let Some(bytes) = self.contents(object) {
            let _ = self.initial.set(bytes);
        }
    }

    fn contents(&self, object: &Object) -> Option<Arc<[u8]>> {
        let mut bytes = vec![0; self.geometry.storage_len as usize];
        object
            .shared()
            .read(object.storage()?.offset(), &mut bytes)
            .ok()?;
        Some(bytes.into())
    }

    /// The map was frozen. What programs can't change either is constant now.
    pub fn freeze(&self, object: &Object) {
        let array = self.geometry.map_type == MapType::Array;
        if array
            && self.geometry.flags & map_flags::RDONLY_PROG != 0
            && let Some(bytes) = self.contents(object)
        {
            let _ = self.constant.set(bytes);
        }
        self.frozen.store(true, SeqCst);
    }

    /// Changes a key in the guest by `change`, and then here. One change at a
    /// time, so that both see the same order.
    pub fn change(
        &self,
        key: &[u8],
        target: Option<Arc<Object>>,
        change: impl FnOnce() -> crate::Result<()>,
    ) -> crate::Result<()> {
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

impl Companion for Links {
    /// Linux empties a program array when the last descriptor of it is closed,
    /// even if programs still use it: one of them may well be in it, and they
    /// would keep each other alive for ever.
    fn last_closed(&self, object: &Object) {
        if self.geometry.map_type != MapType::ProgArray {
            return;
        }
        object.clear();
        let mut links = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *links);
        drop(links);
        drop(gone); // may free the programs, and with them the array
    }

    fn mend(&self, object: &Object) -> Result<Kept, String> {
        let mended = host::reader(object, &self.geometry, self.seed, self.fields)
            .ok_or("its storage is too short")?
            .mend()
            .map_err(|e| e.to_string())?;
        Ok(Kept {
            records_lost: mended.records.into(),
        })
    }

    fn links(&self) -> Option<Vec<(Vec<u8>, Arc<Object>)>> {
        let links = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let all = links.iter().map(|(k, o)| (k.clone(), Arc::clone(o)));
        holds_objects(self.geometry.map_type).then(|| all.collect())
    }

    fn constant(&self) -> Option<Arc<[u8]>> {
        self.constant.get().cloned()
    }

    fn initial(&self) -> Option<Arc<[u8]>> {
        self.initial.get().cloned()
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(SeqCst)
    }
}
