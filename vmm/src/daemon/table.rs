//! The objects that clients have made: ids, what is known of each, and pins.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::time::{ClockId, clock_gettime};

use super::wire::{Description, PAGE, PAGE_BYTES, PIN_LEN};
use crate::error::CallError;
use crate::links::Links;
use crate::object::{Kind, Object};

/// Names of one object that a description shows.
const PINS_SHOWN: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_id: BTreeMap<(Kind, u32), Entry>,
    by_handle: HashMap<u32, (Kind, u32)>,
    /// An object and a descriptor of it: Linux's pins count as one.
    pins: BTreeMap<String, (Arc<Object>, OwnedFd)>,
    /// The last id of each kind.
    last: HashMap<Kind, u32>,
    /// Dead entries are looked for when there are this many.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    object: Weak<Object>,
    /// Of a map; the object itself keeps them.
    links: Weak<Links>,
    note: Vec<u8>,
    made_ns: u64,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new object.
    pub(super) fn add(&self, object: &Arc<Object>, links: Weak<Links>, note: Vec<u8>) {
        let time = clock_gettime(ClockId::Boottime);
        let made_ns = (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64);
        let entry = Entry {
            object: Arc::downgrade(object),
            links,
            note,
            made_ns,
        };
        let mut entries = self.lock();
        let last = entries.last.entry(object.kind()).or_default();
        *last = last.wrapping_add(1);
        let key = (object.kind(), *last);
        entries.by_id.insert(key, entry);
        entries.by_handle.insert(object.handle(), key);
        if entries.by_id.len() >= entries.sweep_at.max(64) {
            entries.sweep();
        }
    }

    /// The object that the guest calls so.
    pub(super) fn get(&self, handle: u32) -> Option<Arc<Object>> {
        let entries = self.lock();
        let key = entries.by_handle.get(&handle)?;
        entries.by_id.get(key)?.object.upgrade()
    }

    /// What the values of a map name.
    pub(super) fn links(&self, handle: u32) -> Option<Arc<Links>> {
        let entries = self.lock();
        let key = entries.by_handle.get(&handle)?;
        entries.by_id.get(key)?.links.upgrade()
    }

    /// The object with an id.
    pub(super) fn by_id(&self, kind: Kind, id: u32) -> Option<Arc<Object>> {
        self.lock().by_id.get(&(kind, id))?.object.upgrade()
    }

    /// What is known about an object.
    pub(super) fn describe(&self, object: &Object) -> Option<Description> {
        let entries = self.lock();
        let key = entries.by_handle.get(&object.handle())?;
        entries.describe(*key, object)
    }

    /// The next objects of a kind after an id. What is found may be the last of
    /// its object, so it is given to be dropped elsewhere.
    pub(super) fn list(&self, kind: Kind, after: u32) -> Vec<Description> {
        let mut held = Vec::new();
        let entries = self.lock();
        let Some(first) = after.checked_add(1) else {
            return Vec::new();
        };
        let found = entries.by_id.range((kind, first)..=(kind, u32::MAX));
        let list = found
            .filter_map(|(&key, entry)| {
                let object = entry.object.upgrade()?;
                let description = entries.describe(key, &object);
                held.push(object);
                description
            })
            .take(PAGE)
            .scan(0, |bytes, d| {
                let full = *bytes > PAGE_BYTES;
                *bytes += d.note.len() + d.pins.iter().map(String::len).sum::<usize>();
                (!full).then_some(d)
            })
            .collect();
        drop(entries);
        drop(held);
        list
    }

    /// Keeps an object under a name.
    pub(super) fn pin(
        &self,
        name: &str,
        object: Arc<Object>,
        fd: OwnedFd,
    ) -> Result<(), CallError> {
        if name.is_empty() || name.len() > PIN_LEN {
            return Err(errno(libc::EINVAL));
        }
        let mut entries = self.lock();
        if entries.pins.contains_key(name) {
            return Err(errno(libc::EEXIST));
        }
        entries.pins.insert(name.into(), (object, fd));
        Ok(())
    }

    /// No longer.
    pub(super) fn unpin(&self, name: &str) -> Result<(), CallError> {
        let gone = self.lock().pins.remove(name);
        gone.map(drop).ok_or(errno(libc::ENOENT))
    }

    /// What is kept under a name.
    pub(super) fn pinned(&self, name: &str) -> Option<Arc<Object>> {
        Some(Arc::clone(&self.lock().pins.get(name)?.0))
    }
}

fn errno(errno: i32) -> CallError {
    CallError::Errno { errno }
}

impl Entries {
    fn sweep(&mut self) {
        self.by_id.retain(|_, e| e.object.strong_count() > 0);
        let by_id = &self.by_id;
        self.by_handle.retain(|_, key| by_id.contains_key(key));
        self.sweep_at = self.by_id.len() * 2;
    }

    fn describe(&self, (kind, id): (Kind, u32), object: &Object) -> Option<Description> {
        let entry = self.by_id.get(&(kind, id))?;
        let pins = self.pins.iter();
        Some(Description {
            kind,
            id,
            handle: object.handle(),
            storage: object.storage().map_or((0, 0), |s| (s.offset(), s.len())),
            note: entry.note.clone(),
            maps: object.kept(|m| Some(self.by_handle.get(&m.handle())?.1)),
            made_ns: entry.made_ns,
            pins: pins
                .filter(|(_, (pinned, _))| std::ptr::eq(&**pinned, object))
                .map(|(name, _)| name.clone())
                .take(PINS_SHOWN)
                .collect(),
        })
    }
}
