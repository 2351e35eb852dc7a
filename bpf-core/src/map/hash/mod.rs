//! Hash tables of every kind.
//!
//! ```text
//! control     64 B            what is shared by all: unused elements, LRU hand …
//! per CPU     64 B each       free elements, the spare element
//! lines       64 B each       buckets, then overflow lines
//! slab                        keys, and values beside them
//! values                      per-CPU maps: one array of values per CPU
//! ```
//!
//! A bucket is a cache line of eight slots, each a 16-bit tag of the hash and the
//! index of an element; a bucket that overflows links to a further line. An
//! update writes the new value to a spare element and swaps that in, so nobody
//! ever reads half of it.
//!
//! # Reading without locks
//! The first word of a bucket is its lock and version (`super::version`): lookups
//! take no lock, and see elements that belonged to the bucket all the while.

mod index;
mod key;
mod lru;
mod mend;
mod ops;
mod per_cpu;
mod read;
mod slab;
mod walk;

use super::Fields;
use super::geometry::{Geometry, round8};
use super::region::Region;
use crate::uapi::MapType;
use index::{LINE, SLOTS};
pub(super) use key::Hasher;

/// Where a hash table's parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLayout {
    /// Buckets; as many lines come first.
    pub buckets: u32,
    /// Buckets and overflow lines.
    pub lines: u32,
    /// Offset of line 0.
    pub line_base: u64,
    /// Elements that keys can have, which is `max_entries`.
    pub capacity: u32,
    /// Elements in the slab: `capacity` and a spare one per CPU.
    pub elements: u32,
    /// Offset of element 0, which begins with its key.
    pub slab: u64,
    /// Bytes from one key to the next.
    pub key_stride: u64,
    /// Offset of element 0's value (of CPU 0).
    pub values: u64,
    /// Bytes from one element's value to the next one's.
    pub value_stride: u64,
    /// Bytes from one CPU's values to the next CPU's; 0 where CPUs share.
    pub cpu_stride: u64,
}

/// Buckets are so many that a full map has this many keys per bucket.
const LOAD: u64 = 5;

impl HashLayout {
    /// The layout and its length.
    pub(super) fn new(geo: &Geometry) -> Option<(HashLayout, u64)> {
        let n = u64::from(geo.max_entries);
        let buckets = n.div_ceil(LOAD);
        // See `index` for why so many overflow lines are enough.
        let lines = u32::try_from(2 * buckets + n / SLOTS as u64 + u64::from(geo.cpus) + 1).ok()?;
        let spare = if geo.is_per_cpu() { 0 } else { geo.cpus };
        let elements = geo.max_entries.checked_add(spare)?;
        let line_base = 64 + 64 * u64::from(geo.cpus);
        let slab = line_base + u64::from(lines) * LINE;
        let key_area = if geo.is_lru() {
            round8(geo.key_size.checked_add(1)?)
        } else {
            round8(geo.key_size)
        };
        let value_area = round8(geo.value_size);
        let mut l = HashLayout {
            buckets: buckets as u32,
            lines,
            line_base,
            capacity: geo.max_entries,
            elements,
            slab,
            key_stride: key_area + value_area,
            values: slab + key_area,
            value_stride: key_area + value_area,
            cpu_stride: 0,
        };
        let count = u64::from(elements);
        if !geo.is_per_cpu() {
            return Some((l, count.checked_mul(l.key_stride)?.checked_add(slab)?));
        }
        l.key_stride = key_area;
        l.value_stride = value_area;
        l.values = (slab + count.checked_mul(key_area)?).next_multiple_of(64);
        l.cpu_stride = count
            .checked_mul(value_area)?
            .checked_next_multiple_of(64)?;
        let len = l
            .cpu_stride
            .checked_mul(u64::from(geo.cpus))?
            .checked_add(l.values)?;
        Some((l, len))
    }
}

/// A hash table's storage.
pub(super) struct Hash {
    region: Region,
    l: HashLayout,
    hasher: Hasher,
    key_size: usize,
    value_size: usize,
    /// CPUs with values of their own; 1 where they share.
    value_cpus: u32,
    cpus: u32,
    per_cpu: bool,
    lru: bool,
    map_type: MapType,
    fields: Fields,
}

impl Hash {
    pub(super) fn new(
        geo: &Geometry,
        l: HashLayout,
        region: Region,
        seed: u64,
        fields: Fields,
    ) -> Hash {
        Hash {
            region,
            l,
            hasher: Hasher::new(seed),
            key_size: geo.key_size as usize,
            value_size: geo.value_size as usize,
            value_cpus: if geo.is_per_cpu() { geo.cpus } else { 1 },
            cpus: geo.cpus,
            per_cpu: geo.is_per_cpu(),
            lru: geo.is_lru(),
            map_type: geo.map_type,
            fields,
        }
    }

    /// Offset of an element's key.
    #[inline(always)]
    fn key_off(&self, elem: u32) -> u64 {
        self.l.slab + u64::from(elem) * self.l.key_stride
    }

    /// Offset of an element's value.
    #[inline(always)]
    fn value_off(&self, elem: u32, cpu: u32) -> u64 {
        self.l.values + u64::from(elem) * self.l.value_stride + u64::from(cpu) * self.l.cpu_stride
    }

    /// Length of a value as `bpf()` passes it.
    fn user_value_size(&self) -> usize {
        if self.per_cpu {
            self.value_size.next_multiple_of(8) * self.value_cpus as usize
        } else {
            self.value_size
        }
    }

    /// Copies an element's value (every CPU's) out.
    fn copy_value(&self, elem: u32, out: &mut [u8]) {
        if !self.per_cpu {
            return self
                .fields
                .copy_out(&self.region, self.value_off(elem, 0), out);
        }
        let step = self.value_size.next_multiple_of(8);
        for (cpu, o) in (0..self.value_cpus).zip(out.chunks_exact_mut(step)) {
            self.region.copy_out(self.value_off(elem, cpu), o);
        }
    }
}
