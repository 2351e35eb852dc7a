//! The map as the host reads it: straight from shared memory, without asking.

use super::Fields;
use super::error::{MapError, ReadError};
use super::geometry::Geometry;
use super::guest::{Store, no_flags};
use super::region::Region;
use super::ringbuf::RingConsumer;

/// Reads a map's storage while vCPUs change it.
///
/// Takes no lock and never waits. Every read is bounded by the geometry; where
/// the storage keeps changing or makes no sense, the answer is
/// [`ReadError::AskGuest`]. A value that was read is one that the key had (as a
/// whole, but for programs that write through pointers in place).
pub struct MapReader {
    geo: Geometry,
    store: Store,
    region: Region,
    fields: Fields,
}

impl MapReader {
    /// A reader with the host's own geometry; `seed` and `fields` as the guest
    /// got them. `EINVAL` where the region is shorter than the geometry says.
    pub fn new(
        geo: Geometry,
        region: Region,
        seed: u64,
        fields: Fields,
    ) -> Result<MapReader, MapError> {
        let store = Store::new(&geo, region.clone(), seed, fields)?;
        Ok(MapReader {
            geo,
            store,
            region,
            fields,
        })
    }

    /// The geometry it was created with.
    pub fn geometry(&self) -> &Geometry {
        &self.geo
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The storage.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// `BPF_MAP_LOOKUP_ELEM`: copies the value of
    /// [`Geometry::user_value_size`] bytes. Values that are handles come as
    /// handles. With `BPF_F_LOCK` the guest must be asked.
    pub fn lookup(&self, key: &[u8], out: &mut [u8], flags: u64) -> Result<(), ReadError> {
        self.fields.check_lookup(flags)?;
        match &self.store {
            Store::Hash(h) => h.read(key, out, flags),
            Store::Array(a) if flags == 0 => Ok(a.read(key, out, flags, false)?),
            Store::Lpm(t) => no_flags(flags)
                .map_err(Into::into)
                .and_then(|()| t.read(key, out)),
            Store::Ring(_) => Err(MapError::NO_OP.into()),
            _ => Err(ReadError::AskGuest),
        }
    }

    /// `BPF_MAP_GET_NEXT_KEY`: the key after `key`, or the first. `ENOENT` at
    /// the end.
    pub fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), ReadError> {
        match &self.store {
            Store::Hash(h) => h.next_key(key, out),
            Store::Array(a) => Ok(a.next_key(key, out)?),
            Store::Lpm(t) => t.next_key(key, out),
            Store::Queue(_) => Err(MapError::invalid("queues and stacks have no keys").into()),
            Store::Ring(_) => Err(MapError::NO_OP.into()),
        }
    }

    /// `BPF_MAP_LOOKUP_BATCH` from `position` (0 at first): as many whole
    /// buckets (array: elements) as fit. `Ok((count, next))`, `next` is `None` at
    /// the end. `ENOSPC` where not even one bucket fits. A walk over the whole
    /// map is best made with this: it meets every key that stays once.
    pub fn batch(
        &self,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(u32, Option<u64>), ReadError> {
        match &self.store {
            Store::Hash(h) => h.batch(position, keys, values),
            Store::Array(a) => Ok(a.batch(position, keys, values)?),
            _ => Err(MapError::NO_OP.into()),
        }
    }

    /// The consumer of a ring buffer; there must be one only.
    pub fn consumer(&self) -> Option<RingConsumer> {
        match &self.store {
            Store::Ring(r) => Some(RingConsumer::new(r.clone())),
            _ => None,
        }
    }
}
