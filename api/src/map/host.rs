//! Reading a map from shared memory, without asking the guest.
#![allow(unsafe_code)]

use crate::vm::VmInner;
use bpf_core::map::{
    Fields, Geometry, MapError, MapReader, Mended, ReadError, Region, RingConsumer,
};
use bpfvisor_vmm::Object;
use std::any::Any;
use std::marker::PhantomData;
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
        let fields = Fields {
            spin_lock,
            timer: None,
        };
        // A handle of the VM keeps the mapping.
        let owner = Arc::new(vm.vmm.clone());
        MapReader::new(*geometry, region(object, geometry, owner)?, seed, fields)
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

/// A reader for now, of a map whose VM may be gone.
pub(super) fn reader<'a>(
    object: &'a Object,
    geometry: &Geometry,
    seed: u64,
    fields: Fields,
) -> Option<Reading<'a>> {
    let region = region(object, geometry, Arc::new(()))?;
    let reader = MapReader::new(*geometry, region, seed, fields).ok()?;
    Some(Reading(reader, PhantomData))
}

/// A reader that goes no later than the object, which keeps the mapping.
pub(super) struct Reading<'a>(MapReader, PhantomData<&'a Object>);

impl Reading<'_> {
    /// See [`MapReader::mend`].
    pub fn mend(&self) -> Result<Mended, MapError> {
        self.0.mend()
    }
}

/// The storage of a map, for as long as `owner` or the object lives.
fn region(
    object: &Object,
    geometry: &Geometry,
    owner: Arc<dyn Any + Send + Sync>,
) -> Option<Region> {
    let storage = object.storage()?;
    let (offset, len) = (storage.offset(), storage.len());
    let shared = object.shared();
    if offset.checked_add(len)? > shared.len() || len < geometry.storage_len {
        return None;
    }
    let base = NonNull::new(shared.as_ptr())?;
    // SAFETY: the sum was found to lie within the mapping.
    let ptr = unsafe { base.add(usize::try_from(offset).ok()?) };
    if !ptr.as_ptr().addr().is_multiple_of(bpf_core::map::ALIGN) {
        return None;
    }
    // SAFETY: aligned, by the check above; the range lies within the mapping,
    // which lives as long as the owner (a handle of the VM) or the object does,
    // and no caller keeps it longer; the VMM itself only copies in and out of it
    // and makes no references.
    Some(unsafe { Region::with_owner(ptr, len, owner) })
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
