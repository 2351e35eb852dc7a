//! Reading a map from shared memory, without asking the guest.
#![allow(unsafe_code)]

use crate::vm::VmInner;
use bpf_core::map::{Fields, Geometry, MapError, MapReader, ReadError, Region, RingConsumer};
use bpfvisor_vmm::Object;
use std::ptr::NonNull;
use std::sync::Arc;

/// A map's storage, and how to read it.
pub(super) struct HostMap(MapReader);

/// One step of a walk: how many elements came, and where to go on.
pub(super) type Batch = (u32, Option<u64>);

impl HostMap {
    /// `None` where this side can't read the map by itself.
    pub fn new(
        vm: &VmInner,
        geometry: &Geometry,
        object: &Object,
        seed: u64,
        spin_lock: Option<u32>,
    ) -> Option<Self> {
        let storage = object.storage()?;
        let (offset, len) = (storage.offset(), storage.len());
        let shared = vm.vmm.shared();
        if offset.checked_add(len)? > shared.len() || len < geometry.storage_len {
            return None;
        }
        let base = NonNull::new(shared.as_ptr())?;
        // SAFETY: the sum was found to lie within the mapping.
        let ptr = unsafe { base.add(usize::try_from(offset).ok()?) };
        if !ptr.as_ptr().addr().is_multiple_of(bpf_core::map::ALIGN) {
            return None;
        }
        let owner = Arc::new(vm.vmm.clone());
        // SAFETY: aligned, by the check above; the range lies within the mapping,
        // which lives as long as a handle of the VM (the owner) does; the VMM
        // itself only copies in and out of it and makes no references.
        let region = unsafe { Region::with_owner(ptr, len, owner) };
        let fields = Fields {
            spin_lock,
            timer: None,
        };
        MapReader::new(*geometry, region, seed, fields)
            .ok()
            .map(Self)
    }

    /// The storage.
    pub fn region(&self) -> &Region {
        self.0.region()
    }

    /// The consumer's end of a ring buffer.
    pub fn consumer(&self) -> Option<RingConsumer> {
        self.0.consumer()
    }

    /// Copies a value out; `None` where the guest must be asked.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Option<Result<(), MapError>> {
        answer(self.0.lookup(key, value, 0))
    }

    /// Gives the key after `key`; `None` where the guest must be asked.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Option<Result<(), MapError>> {
        answer(self.0.next_key(key, next))
    }

    /// Copies some elements out; `None` where the walk must be made by keys.
    pub fn batch(
        &self,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Option<Result<Batch, MapError>> {
        answer(self.0.batch(position, keys, values))
    }
}

fn answer<T>(read: Result<T, ReadError>) -> Option<Result<T, MapError>> {
    match read {
        Ok(out) => Some(Ok(out)),
        Err(ReadError::Map(e)) => Some(Err(e)),
        Err(ReadError::AskGuest) => None,
    }
}

impl std::fmt::Debug for HostMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostMap")
    }
}
