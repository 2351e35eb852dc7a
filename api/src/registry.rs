//! What this side knows about the objects of a VM, for as long as they live in
//! it: fds can outlive the [`Map`](crate::Map) or [`Program`](crate::Program)
//! they came from.

mod ids;

use crate::hosted::Hosted;
use crate::map::MapInfo;
use crate::program::ProgramInfo;
use crate::source::{LinkState, SourceState};
use crate::types::BtfObject;
use bpfvisor_vmm::{Kind, Object};
use ids::Ids;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<Entries>,
    /// Names, which keep alive what they name.
    pins: Mutex<BTreeMap<String, Pinned>>,
    pub btfs: Hosted<BtfObject>,
    pub btf_ids: Ids<BtfObject>,
    pub links: Hosted<LinkState>,
    pub link_ids: Ids<LinkState>,
    pub sources: Ids<SourceState>,
    map_ids: AtomicU32,
    program_ids: AtomicU32,
}

/// What can have a name.
#[derive(Clone, Debug)]
pub(crate) enum Pinned {
    Object(Arc<Object>),
    Link(Arc<LinkState>),
}

/// What is known about an object.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Map(Arc<MapInfo>),
    Program(Arc<ProgramInfo>),
}

impl Known {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Map(_) => Kind::Map,
            Self::Program(_) => Kind::Program,
        }
    }

    /// Its id: small numbers that are not used again, for each kind by itself.
    pub fn id(&self) -> u32 {
        match self {
            Self::Map(info) => info.id,
            Self::Program(info) => info.id,
        }
    }
}

#[derive(Debug, Default)]
struct Entries {
    by_handle: HashMap<u32, (Weak<Object>, Known)>,
    /// Dead entries are looked for when there are this many.
    sweep_at: usize,
}

impl Registry {
    pub fn next_map_id(&self) -> u32 {
        self.map_ids.fetch_add(1, Relaxed).wrapping_add(1)
    }

    pub fn next_program_id(&self) -> u32 {
        self.program_ids.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Remembers an object.
    pub fn add(&self, object: &Arc<Object>, known: Known) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let full = entries.by_handle.len() >= entries.sweep_at.max(64);
        let old = entries
            .by_handle
            .insert(object.handle(), (Arc::downgrade(object), known));
        drop(entries);
        drop(old);
        if full {
            self.sweep();
        }
    }

    /// What is known about an object.
    pub fn get(&self, handle: u32) -> Option<Known> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .by_handle
            .get(&handle)
            .map(|(_, known)| known.clone())
    }

    fn living(&self) -> Vec<(Arc<Object>, Known)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let all = entries.by_handle.values();
        all.filter_map(|(object, known)| Some((object.upgrade()?, known.clone())))
            .collect()
    }

    /// The smallest id behind `id` of what `wanted` picks.
    pub fn id_after(&self, id: u32, wanted: impl Fn(&Known) -> bool) -> Option<u32> {
        let ids = self.living().into_iter().filter(|(_, k)| wanted(k));
        ids.map(|(_, k)| k.id()).filter(|&i| i > id).min()
    }

    /// The object with this id, of what `wanted` picks.
    pub fn by_id(&self, id: u32, wanted: impl Fn(&Known) -> bool) -> Option<Arc<Object>> {
        let mut all = self.living().into_iter();
        all.find(|(_, k)| k.id() == id && wanted(k)).map(|(o, _)| o)
    }

    /// Forgets objects that are gone, and with them what they kept alive. What is
    /// dropped may free objects, so it happens outside the lock.
    pub fn sweep(&self) {
        let mut dead = Vec::new();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_handle.retain(|_, (object, known)| {
            let alive = object.strong_count() > 0;
            if !alive {
                dead.push(known.clone());
            }
            alive
        });
        entries.sweep_at = entries.by_handle.len() * 2;
        drop(entries);
        drop(dead);
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Pinned>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an object a name; false where it is taken.
    pub fn pin(&self, name: &str, object: Pinned) -> bool {
        let mut pins = self.names();
        let free = !pins.contains_key(name);
        if free {
            pins.insert(name.into(), object);
        }
        free
    }

    /// Takes a name away. What is answered may free the object when dropped.
    pub fn unpin(&self, name: &str) -> Option<Pinned> {
        self.names().remove(name)
    }

    /// The object of that name.
    pub fn pinned(&self, name: &str) -> Option<Pinned> {
        self.names().get(name).cloned()
    }

    /// All names.
    pub fn pins(&self) -> Vec<String> {
        self.names().keys().cloned().collect()
    }
}
