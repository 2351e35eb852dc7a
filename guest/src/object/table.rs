//! The object table: handle = index and generation.
#![allow(unsafe_code)]
use super::Grace;
use crate::map::MapObject;
use crate::program::Prog;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
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
    /// Generation of the next object, never 0.
    generation: u16,
}

impl Table {
    /// No objects; generations begin where `seed` says, so that a handle of an
    /// earlier VM means nothing here.
    pub fn new(seed: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicPtr::default()).collect(),
            free: Mutex::new(Free {
                list: Vec::new(),
                fresh: 0,
                generation: seed as u16 | 1,
            }),
        }
    }

    /// Puts an object in; `None` when the table is full.
    pub fn insert(&self, object: Object) -> Option<u32> {
        let (index, handle) = self.free.lock().take()?;
        let entry = Box::into_raw(Box::new(Entry { handle, object }));
        self.slots
            .get(index as usize)?
            .store(entry, Ordering::Release);
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
    /// An index and a handle with a new generation.
    fn take(&mut self) -> Option<(u16, u32)> {
        let index = match self.list.pop() {
            Some(i) => i,
            None if (self.fresh as usize) < SLOTS => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        let handle = u32::from(self.generation) << 16 | u32::from(index);
        self.generation = self.generation.wrapping_add(1).max(1);
        Some((index, handle))
    }
}
