//! The object table: handle = index and generation.
#![allow(unsafe_code)]
use super::Grace;
use crate::map::MapObject;
use crate::program::Prog;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf_core::uapi::errno;
use core::sync::atomic::{AtomicPtr, Ordering};
use spin::Mutex;

/// The most objects of one VM.
const SLOTS: usize = 1 << 14;
const INDEX: u32 = 0xffff;

/// What a handle means.
#[derive(Clone)]
pub enum Object {
    /// A loaded program.
    Prog(Arc<Prog>),
    /// A map.
    Map(Arc<MapObject>),
}

struct Entry {
    handle: u32,
    object: Object,
}

/// All objects of a VM. Lookups take no lock; see [`Grace`] for why that is
/// right.
pub struct Table {
    slots: Box<[AtomicPtr<Entry>]>,
    free: Mutex<Free>,
}

struct Free {
    /// Indices given back.
    list: Vec<u16>,
    /// First index never used.
    fresh: u16,
    /// Indices below this are for objects of an earlier life.
    kept: u16,
    /// Generation of the next object, never 0.
    generation: u16,
}

impl Table {
    /// No objects; generations begin where `seed` says, so that a handle of an
    /// earlier VM means nothing here. Indices below `kept` are for objects of an
    /// earlier life, with [`Table::put_back`].
    pub fn new(seed: u64, kept: u32) -> Self {
        let kept = kept.min(SLOTS as u32) as u16;
        Self {
            slots: (0..SLOTS).map(|_| AtomicPtr::default()).collect(),
            free: Mutex::new(Free {
                list: Vec::new(),
                fresh: kept,
                kept,
                generation: seed as u16 | 1,
            }),
        }
    }

    /// Puts an object in, under `handle` if that is not 0: ENOMEM when the table
    /// is full, EEXIST where the handle can't be had.
    pub fn place(&self, object: Object, handle: u32) -> Result<u32, i32> {
        match handle {
            0 => self.insert(object).ok_or(errno::ENOMEM),
            _ => self.put_back(object, handle).ok_or(errno::EEXIST),
        }
    }

    /// Puts an object in; `None` when the table is full.
    pub fn insert(&self, object: Object) -> Option<u32> {
        let mut free = self.free.lock();
        let index = free.take().or_else(|| self.hole(&free))?;
        let handle = free.name(index);
        self.fill(index, handle, object)
    }

    /// Puts an object of an earlier life in under its old handle; `None` where
    /// that is not one, or taken.
    pub fn put_back(&self, object: Object, handle: u32) -> Option<u32> {
        let free = self.free.lock();
        let index = (handle & INDEX) as u16;
        let room = index < free.kept && self.is_empty(index) && !free.list.contains(&index);
        if handle == 0 || !room {
            return None;
        }
        self.fill(index, handle, object)
    }

    /// An index that was kept for an object that did not come back.
    fn hole(&self, free: &Free) -> Option<u16> {
        (0..free.kept).find(|i| self.is_empty(*i))
    }

    fn is_empty(&self, index: u16) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_some_and(|s| s.load(Ordering::Relaxed).is_null())
    }

    fn fill(&self, index: u16, handle: u32, object: Object) -> Option<u32> {
        let slot = self.slots.get(index as usize)?;
        let entry = Box::into_raw(Box::new(Entry { handle, object }));
        slot.store(entry, Ordering::Release);
        Some(handle)
    }

    /// Takes an object out. It is dropped when no vCPU can be using it.
    pub fn remove(&self, handle: u32, grace: &Grace, vcpu: u32) -> bool {
        let index = handle & INDEX;
        let (Some(_), Some(slot)) = (self.entry(handle), self.slots.get(index as usize)) else {
            return false;
        };
        let entry = slot.swap(core::ptr::null_mut(), Ordering::SeqCst);
        if entry.is_null() {
            return false;
        }
        // SAFETY: made by `Box::into_raw` in `insert`; the swap gave it to us
        // alone, and readers that still hold it are waited for by `retire`.
        let entry = unsafe { Box::from_raw(entry) };
        grace.retire(vcpu, entry);
        self.free.lock().list.push(index as u16);
        true
    }

    /// The program behind a handle. To be called inside a request, and the
    /// answer not to be kept beyond it.
    #[inline]
    pub fn prog(&self, handle: u32) -> Option<&Arc<Prog>> {
        match &self.entry(handle)?.object {
            Object::Prog(p) => Some(p),
            Object::Map(_) => None,
        }
    }

    /// The map behind a handle, under the same conditions.
    #[inline]
    pub fn map(&self, handle: u32) -> Option<&Arc<MapObject>> {
        match &self.entry(handle)?.object {
            Object::Map(m) => Some(m),
            Object::Prog(_) => None,
        }
    }

    #[inline]
    fn entry(&self, handle: u32) -> Option<&Entry> {
        let slot = self.slots.get((handle & INDEX) as usize)?;
        // SAFETY: null or a live entry: entries are retired through `Grace`,
        // which keeps them until every request that could see them has ended,
        // and lookups happen inside requests only.
        let entry = unsafe { slot.load(Ordering::Acquire).as_ref() }?;
        (entry.handle == handle).then_some(entry)
    }
}

impl Free {
    /// An index that is free, and was not kept for an earlier object.
    fn take(&mut self) -> Option<u16> {
        match self.list.pop() {
            Some(i) => Some(i),
            None if (self.fresh as usize) < SLOTS => {
                self.fresh += 1;
                Some(self.fresh - 1)
            }
            None => None,
        }
    }

    /// A handle with a new generation.
    fn name(&mut self, index: u16) -> u32 {
        let handle = u32::from(self.generation) << 16 | u32::from(index);
        self.generation = self.generation.wrapping_add(1).max(1);
        handle
    }
}
