//! Maps, seen from the host.

pub(crate) mod access;
#[cfg(feature = "tokio")]
mod awaited;
mod batch;
mod core;
mod create;
mod events;
mod host;
mod iter;
mod link;
mod ring;
mod typed;
mod view;

#[cfg(feature = "tokio")]
pub use awaited::{AsyncEventStream, AsyncRingBuffer};
pub use batch::{Elements, Position};
pub use events::{Event, EventStream};
pub use iter::{Iter, Keys};
pub use ring::RingBuffer;
pub use typed::TypedMap;
pub use view::ArrayView;

pub(crate) use self::core::{Batch, MapCore};
pub(crate) use create::lock_refused;

use crate::error::Result;
use crate::raw::MapTypes;
use crate::vm::Vm;
use bpf_core::map::Geometry;
use bpf_core::uapi::{MapType, elem_flags, errno};
use bpfvisor_vmm::Block;
use host::HostMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, Weak};

/// A map. It owns a real file descriptor; the map lives in the VM until the last
/// copy of that is closed **and** no program uses the map.
///
/// Keys and values are bytes in the host's byte order, of exactly
/// [`key_size`](Map::key_size) and [`value_len`](Map::value_len) bytes. Reading
/// goes straight to shared memory; changes are made by the guest.
#[derive(Clone, Debug)]
pub struct Map {
    inner: Arc<MapInner>,
}

#[derive(Debug)]
struct MapInner {
    core: MapCore,
    fd: OwnedFd,
}

/// What this side knows about a map of a VM.
#[derive(Debug)]
pub(crate) struct MapInfo {
    pub id: u32,
    pub name: String,
    pub geometry: Geometry,
    /// Offset of a `struct bpf_spin_lock` in the value.
    pub spin_lock: Option<u32>,
    pub types: Option<MapTypes>,
    pub frozen: AtomicBool,
    /// Writable views of it.
    writers: AtomicU32,
    reader: Option<HostMap>,
    /// They live and go with the object itself.
    links: Weak<link::Links>,
    /// Memory for a key and a value between calls.
    scratch: Mutex<Option<Block>>,
}

impl Map {
    pub(crate) fn new(core: MapCore, fd: OwnedFd) -> Self {
        Self {
            inner: Arc::new(MapInner { core, fd }),
        }
    }

    /// The map behind a copy of its fd (from `dup` or another process).
    ///
    /// # Errors
    /// EBADF for an fd that is not open, EINVAL for one that is no map, EXDEV
    /// for a map of another VM.
    pub fn from_fd(vm: &Vm, fd: OwnedFd) -> Result<Self> {
        let core = MapCore::from_fd(vm, fd.as_raw_fd())?;
        Ok(Self::new(core, fd))
    }

    pub(crate) fn core(&self) -> &MapCore {
        &self.inner.core
    }

    /// Its VM.
    pub fn vm(&self) -> &Vm {
        &self.core().vm
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.core().info.name
    }

    /// Its id: small numbers that are not used again, as in `bpf_map_info`.
    pub fn id(&self) -> u32 {
        self.core().info.id
    }

    /// Its type.
    pub fn map_type(&self) -> MapType {
        self.geometry().map_type
    }

    /// Bytes per key.
    pub fn key_size(&self) -> usize {
        self.geometry().key_size as usize
    }

    /// Bytes per value, as created.
    pub fn value_size(&self) -> usize {
        self.geometry().value_size as usize
    }

    /// Bytes per value, as `bpf()` passes it: for per-CPU maps the values of all
    /// vCPUs, each rounded up to 8 bytes.
    pub fn value_len(&self) -> usize {
        self.geometry().user_value_size() as usize
    }

    /// Capacity.
    pub fn max_entries(&self) -> u32 {
        self.geometry().max_entries
    }

    /// `map_flags` it was created with, but for those that were about its descriptor
    /// ([`Map::access`]).
    pub fn flags(&self) -> u32 {
        self.geometry().flags
    }

    fn geometry(&self) -> &Geometry {
        self.core().geometry()
    }

    /// The value of a key, or `None`.
    ///
    /// # Errors
    /// EINVAL for a key of the wrong length, and what the type answers.
    #[doc(alias = "BPF_MAP_LOOKUP_ELEM")]
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len()];
        Ok(self.get_into(key, &mut value)?.then_some(value))
    }

    /// Copies the value of a key into `value`; `false` where there is no such
    /// key. Allocates nothing.
    ///
    /// # Errors
    /// As [`Map::get`], and EINVAL for a `value` of the wrong length.
    pub fn get_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        found(self.core().lookup(key, value, 0))
    }

    /// [`Map::get_into`] with flags: `BPF_F_LOCK` copies the value under its
    /// `struct bpf_spin_lock`.
    ///
    /// # Errors
    /// As [`Map::get_into`], and EINVAL for other flags, or values without a lock.
    #[doc(alias = "BPF_F_LOCK")]
    pub fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<bool> {
        found(self.core().lookup(key, value, flags))
    }

    /// Sets the value of a key, new or not (`BPF_ANY`).
    ///
    /// # Errors
    /// As [`Map::update`].
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.update(key, value, elem_flags::ANY)
    }

    /// Sets the value of a key. In maps of maps and program arrays the value is
    /// an fd, 4 bytes.
    ///
    /// # Errors
    /// EEXIST and ENOENT by `flags`, E2BIG for a full map or an index out of
    /// range, EPERM for a frozen map, EINVAL for wrong lengths and flags.
    #[doc(alias = "BPF_MAP_UPDATE_ELEM")]
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.core().update(key, value, flags)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// ENOENT where there is no such key; EINVAL for types whose elements can't
    /// be removed.
    #[doc(alias = "BPF_MAP_DELETE_ELEM")]
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        self.core().delete(key)
    }

    /// Removes a key and gives its value; for queues and stacks (whose key is
    /// empty) the next element.
    ///
    /// # Errors
    /// As [`Map::remove`], but no such key is `None`.
    #[doc(alias = "BPF_MAP_LOOKUP_AND_DELETE_ELEM")]
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len()];
        Ok(found(self.core().take(key, &mut value, 0))?.then_some(value))
    }

    /// Adds an element to a queue, stack or Bloom filter.
    ///
    /// # Errors
    /// E2BIG where it is full.
    pub fn push(&self, value: &[u8]) -> Result<()> {
        self.update(&[], value, elem_flags::ANY)
    }

    /// Whether a value may have been added to a Bloom filter. `false` is certain.
    ///
    /// # Errors
    /// EINVAL for other types and lengths.
    pub fn may_contain(&self, value: &[u8]) -> Result<bool> {
        if self.map_type() != MapType::BloomFilter {
            return Err(crate::Error::argument("the map is no Bloom filter"));
        }
        found(self.core().lookup(&[], &mut value.to_vec(), 0))
    }

    /// Takes the next element of a queue or stack.
    ///
    /// # Errors
    /// EINVAL for other types.
    pub fn pop(&self) -> Result<Option<Vec<u8>>> {
        self.lookup_and_delete(&[])
    }

    /// No more changes from this side; programs still may.
    ///
    /// # Errors
    /// EPERM where it is frozen already or may not be written.
    #[doc(alias = "BPF_MAP_FREEZE")]
    pub fn freeze(&self) -> Result<()> {
        self.core().freeze()
    }

    /// The key after `key`, or the first.
    #[doc(alias = "BPF_MAP_GET_NEXT_KEY")]
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size()];
        Ok(found(self.core().next_key(key, &mut next))?.then_some(next))
    }

    /// All keys, in no particular order. Keys that come or go meanwhile may or
    /// may not be seen.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self)
    }

    /// All keys with their values, as [`Map::keys`].
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }
}

/// `false` for "no such key".
fn found(answer: Result<()>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(e) if e.errno() == errno::ENOENT => Ok(false),
        Err(e) => Err(e),
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.inner.fd.as_raw_fd()
    }
}
