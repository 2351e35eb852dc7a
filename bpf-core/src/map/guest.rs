//! The map as the guest works on it.

use super::Fields;
use super::array::Array;
use super::bloom::Bloom;
use super::device;
use super::error::MapError;
use super::geometry::{Geometry, Layout, round8};
use super::hash::Hash;
use super::lpm::Lpm;
use super::queue::Queue;
use super::region::Region;
use super::ringbuf::Ring;
use crate::uapi::{MapType, errno};

/// One kind of storage. All types work on the same six.
pub(super) enum Store {
    Array(Array),
    Hash(Hash),
    Lpm(Lpm),
    Queue(Queue),
    Ring(Ring),
    Bloom(Bloom),
}

impl Store {
    pub(super) fn new(
        geo: &Geometry,
        region: Region,
        seed: u64,
        fields: Fields,
    ) -> Result<Store, MapError> {
        if region.len() < geo.storage_len {
            return Err(MapError::invalid(
                "the storage is smaller than the map's geometry",
            ));
        }
        fields.check(geo.value_size)?;
        Ok(match geo.layout {
            Layout::Array(l) => Store::Array(Array::new(geo, l, region, fields)),
            Layout::Hash(l) => Store::Hash(Hash::new(geo, l, region, seed, fields)),
            Layout::Lpm(l) => Store::Lpm(Lpm::new(geo, l, region)),
            Layout::Queue(l) => Store::Queue(Queue::new(geo, l, region)),
            Layout::Ring(l) => Store::Ring(Ring::new(l, region)),
            Layout::Bloom(l) => Store::Bloom(Bloom::new(geo, l, region, seed)),
        })
    }
}

/// A map in the guest (or in any process that owns the storage).
///
/// Keys and values are byte slices of exactly the map's sizes; anything else is
/// `EINVAL`. `cpu` is the calling vCPU: an operation that names one is made by
/// that vCPU alone at any time.
///
/// Addresses that are handed out point into the storage and stay valid as
/// memory as long as it does; like a pointer from `bpf_map_lookup_elem`, one
/// may come to name another key's value once its own was deleted.
pub struct Map {
    geo: Geometry,
    store: Store,
    fields: Fields,
}

/// Where a walk with [`Map::next`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// One element met on a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address of the key; 0 for arrays, whose key is `index`.
    pub key: u64,
    /// The index, for arrays.
    pub index: u32,
    /// Address of the value (of the asking CPU).
    pub value: u64,
}

impl Map {
    /// Takes zeroed storage into use. Both sides give the same `seed`.
    ///
    /// `EINVAL` where the region is shorter than the geometry says.
    pub fn create(
        geo: Geometry,
        region: Region,
        seed: u64,
        fields: Fields,
    ) -> Result<Map, MapError> {
        let store = Store::new(&geo, region, seed, fields)?;
        if let Store::Hash(h) = &store {
            h.init();
        }
        Ok(Map { geo, store, fields })
    }

    /// Takes storage into use again that another guest used, and that
    /// [`MapReader::mend`](super::MapReader::mend) found whole.
    ///
    /// `EINVAL` where the region is shorter than the geometry says.
    pub fn attach(
        geo: Geometry,
        region: Region,
        seed: u64,
        fields: Fields,
    ) -> Result<Map, MapError> {
        let store = Store::new(&geo, region, seed, fields)?;
        Ok(Map { geo, store, fields })
    }

    /// The geometry it was created with.
    pub fn geometry(&self) -> &Geometry {
        &self.geo
    }

    /// Address of element 0 for arrays that all CPUs share, else 0.
    pub fn values_addr(&self) -> u64 {
        match &self.store {
            Store::Array(a) if !self.geo.is_per_cpu() => a.value_addr(0, 0),
            _ => 0,
        }
    }

    /// Bytes from one array element to the next: `value_size` rounded up to 8.
    pub fn value_stride(&self) -> u32 {
        round8(self.geo.value_size) as u32
    }

    // ---- in-program operations ----

    /// `bpf_map_lookup_elem`: the address of this CPU's value. For arrays of
    /// handles the address of the slot, `None` if it is empty.
    #[inline]
    pub fn lookup(&self, cpu: u32, key: &[u8]) -> Option<u64> {
        match &self.store {
            Store::Hash(h) => h.lookup(cpu, key),
            Store::Array(a) => a.lookup(cpu, key),
            Store::Lpm(t) => t.lookup(key),
            _ => None,
        }
    }

    /// The handle stored under `key` in a map of maps or program array.
    pub fn lookup_handle(&self, key: &[u8]) -> Option<u32> {
        match &self.store {
            Store::Hash(h) => h.handle(key),
            Store::Array(a) => a.handle(key),
            _ => None,
        }
    }

    /// `bpf_map_update_elem`: for per-CPU maps this CPU's value.
    #[inline]
    pub fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapError> {
        match &self.store {
            Store::Hash(h) => h.update(cpu, key, value, flags),
            Store::Array(a) => a.update(cpu, key, value, flags),
            Store::Lpm(t) => t.update(key, value, flags),
            _ => Err(self.no_elements()),
        }
    }

    /// `bpf_map_delete_elem`.
    #[inline]
    pub fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), MapError> {
        match &self.store {
            Store::Hash(h) => h.delete(cpu, key),
            Store::Array(a) => a.delete(key),
            Store::Lpm(t) => t.delete(key),
            _ => Err(self.no_elements()),
        }
    }

    /// `bpf_map_push_elem`: flags 0 or `BPF_EXIST` (drop the oldest when full).
    pub fn push(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        match &self.store {
            Store::Queue(q) => q.push(value, flags),
            Store::Bloom(b) => b.push(value, flags),
            _ => Err(MapError::invalid("only queues and stacks are pushed to")),
        }
    }

    /// `bpf_map_pop_elem`. `ENOENT` (and zeros) where it is empty.
    pub fn pop(&self, out: &mut [u8]) -> Result<(), MapError> {
        match &self.store {
            Store::Queue(q) => q.take(out, true),
            _ => Err(MapError::invalid("only queues and stacks are popped from")),
        }
    }

    /// `bpf_map_peek_elem`. `ENOENT` (and zeros) where it is empty. Bloom filters
    /// are asked for the value that is in `out`.
    pub fn peek(&self, out: &mut [u8]) -> Result<(), MapError> {
        match &self.store {
            Store::Queue(q) => q.take(out, false),
            Store::Bloom(b) => b.peek(out),
            _ => Err(MapError::invalid("only queues and stacks are peeked into")),
        }
    }

    /// One step of `bpf_for_each_map_elem`; begins with `Cursor::default()`. The
    /// current element may be deleted on the way.
    pub fn next(&self, cpu: u32, cursor: &mut Cursor) -> Option<Entry> {
        match &self.store {
            Store::Hash(h) => h.next_entry(cpu, cursor),
            Store::Array(a) => a.next_entry(cpu, cursor),
            _ => None,
        }
    }

    // ---- ring buffers ----

    /// `bpf_ringbuf_reserve`: the address of `size` bytes, or `None`.
    pub fn reserve(&self, size: u64) -> Option<u64> {
        match &self.store {
            Store::Ring(r) => r.reserve(size),
            _ => None,
        }
    }

    /// `bpf_ringbuf_submit` (or `_discard`) of a reserved address. `flags` are
    /// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`. `Ok(true)`: the consumer
    /// sleeps and is to be woken. `EINVAL` where the address is no record of this buffer.
    pub fn commit(&self, addr: u64, flags: u64, discard: bool) -> Result<bool, MapError> {
        match &self.store {
            Store::Ring(r) => r.commit(addr, flags, discard),
            _ => Err(self.no_elements()),
        }
    }

    /// `bpf_ringbuf_output`: reserve, copy, submit. `EAGAIN` where it is full.
    pub fn output(&self, data: &[u8], flags: u64) -> Result<bool, MapError> {
        self.output_with(data, &[], flags)
    }

    /// [`Map::output`] of a record that is `data` with `more` behind it.
    pub fn output_with(&self, data: &[u8], more: &[u8], flags: u64) -> Result<bool, MapError> {
        match &self.store {
            Store::Ring(r) => r.output(data, more, flags),
            _ => Err(self.no_elements()),
        }
    }

    /// `bpf_ringbuf_query`.
    pub fn query(&self, what: u64) -> u64 {
        match &self.store {
            Store::Ring(r) => r.query(what),
            _ => 0,
        }
    }

    // ---- system calls made in the guest ----

    /// `BPF_MAP_LOOKUP_ELEM`: copies the value (all CPUs' for per-CPU maps) of
    /// [`Geometry::user_value_size`] bytes. Queues, stacks and Bloom filters peek
    /// (empty key).
    pub fn sys_lookup(&self, key: &[u8], out: &mut [u8], flags: u64) -> Result<(), MapError> {
        self.fields.check_lookup(flags)?;
        match &self.store {
            Store::Hash(h) => h.read_locked(key, out, flags),
            Store::Array(a) => a.read(key, out, flags, true),
            Store::Lpm(t) => no_flags(flags).and_then(|()| t.read_locked(key, out)),
            Store::Queue(q) => no_flags(flags).and_then(|()| q.take(out, false)),
            Store::Bloom(b) => b.peek(out),
            Store::Ring(_) => Err(MapError::NO_OP),
        }
    }

    /// `BPF_MAP_UPDATE_ELEM`: all CPUs' values for per-CPU maps; queues and
    /// stacks push (empty key). Handles are passed as values of 4 bytes.
    pub fn sys_update(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        self.fields.lock_for(flags, 0)?;
        match &self.store {
            Store::Hash(h) if self.geo.map_type == MapType::DevmapHash => {
                device::put(h, self.geo.value_size, key, value, flags)
            }
            Store::Hash(h) => h.update_all(cpu, key, value, flags),
            Store::Array(a) => a.update_all(key, value, flags),
            Store::Lpm(t) => t.update(key, value, flags),
            Store::Queue(q) => q.push(value, flags),
            Store::Bloom(b) => b.push(value, flags),
            Store::Ring(_) => Err(MapError::NO_OP),
        }
    }

    /// `BPF_MAP_DELETE_ELEM`.
    pub fn sys_delete(&self, cpu: u32, key: &[u8]) -> Result<(), MapError> {
        self.delete(cpu, key)
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: hash tables, queues and stacks.
    pub fn sys_take(
        &self,
        cpu: u32,
        key: &[u8],
        out: &mut [u8],
        flags: u64,
    ) -> Result<(), MapError> {
        self.fields.check_lookup(flags)?;
        match &self.store {
            Store::Hash(h) => h.take(cpu, key, out, flags),
            Store::Queue(q) => no_flags(flags).and_then(|()| q.take(out, true)),
            _ => Err(MapError::NO_OP),
        }
    }

    /// `BPF_MAP_GET_NEXT_KEY`: the key after `key` (the first, without one or
    /// where `key` is not there). `ENOENT` at the end.
    pub fn sys_next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        match &self.store {
            Store::Hash(h) => h.next_key_locked(key, out),
            Store::Array(a) => a.next_key(key, out),
            Store::Lpm(t) => t.next_key_locked(key, out),
            _ => Err(self.no_elements()),
        }
    }

    /// `BPF_MAP_LOOKUP_BATCH` (and `…_AND_DELETE_BATCH`) from `position` (0 at
    /// first): as many whole buckets (array: elements) as fit. `Ok((count,
    /// next))`; `next` is `None` when the end was reached, which Linux tells by
    /// `ENOENT`. `ENOSPC` where not even one bucket fits.
    pub fn sys_batch(
        &self,
        cpu: u32,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
        delete: bool,
    ) -> Result<(u32, Option<u64>), MapError> {
        match &self.store {
            Store::Hash(h) => h.batch_locked(cpu, position, keys, values, delete),
            Store::Array(a) if !delete => a.batch(position, keys, values),
            _ => Err(MapError::NO_OP),
        }
    }

    fn no_elements(&self) -> MapError {
        match self.geo.map_type {
            MapType::Queue | MapType::Stack => MapError::invalid("queues and stacks have no keys"),
            MapType::BloomFilter => MapError::new(errno::EOPNOTSUPP, "Bloom filters have no keys"),
            _ => MapError::NO_OP,
        }
    }
}

pub(super) fn no_flags(flags: u64) -> Result<(), MapError> {
    if flags == 0 {
        Ok(())
    } else {
        Err(MapError::FLAGS)
    }
}
