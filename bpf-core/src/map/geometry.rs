//! What a map's attributes say about its storage.
//!
//! Host and guest compute the same [`Geometry`] from the same attributes. It
//! holds offsets, counts and strides, never pointers, and nothing that either
//! side reads from shared memory: the host's copy bounds all it does.

use super::check;
use super::error::MapError;
use super::hash::HashLayout;
use super::lpm::LpmLayout;
use crate::uapi::{MapType, map_flags};

/// Rounds up to whole 64-bit words, as Linux does with keys and values.
pub(super) const fn round8(n: u32) -> u64 {
    (n as u64).next_multiple_of(8)
}

/// A page, for everything that may be mapped by itself.
pub const PAGE: u64 = 4096;

/// The most bytes that one map's storage may take (8 TiB): beyond lies `ENOMEM`.
const STORAGE_MAX: u64 = 1 << 43;

/// A map's attributes, checked, and the layout that follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The type.
    pub map_type: MapType,
    /// Bytes per key.
    pub key_size: u32,
    /// Bytes per value, as created.
    pub value_size: u32,
    /// Capacity, as Linux reports it (rounded for per-CPU LRU lists).
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// CPUs that have values of their own in per-CPU maps.
    pub cpus: u32,
    /// `map_extra`.
    pub map_extra: u64,
    /// Where things lie.
    pub layout: Layout,
    /// Bytes of storage.
    pub storage_len: u64,
}

/// Where things lie in a map's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `ARRAY`, `PERCPU_ARRAY` and the arrays of handles.
    Array(ArrayLayout),
    /// Hash tables of every kind.
    Hash(HashLayout),
    /// `LPM_TRIE`.
    Lpm(LpmLayout),
    /// `QUEUE` and `STACK`.
    Queue(QueueLayout),
    /// `RINGBUF`.
    Ring(RingLayout),
    /// `BLOOM_FILTER`.
    Bloom(BloomLayout),
}

/// Element `i` of CPU `c` lies at `c * cpu_stride + i * stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Bytes from one element to the next.
    pub stride: u64,
    /// Bytes from one CPU's elements to the next CPU's; 0 where CPUs share.
    pub cpu_stride: u64,
}

/// A control line, then `slots` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Slots, one more than the capacity.
    pub slots: u32,
    /// Offset of slot 0.
    pub base: u64,
    /// Bytes from one slot to the next: a value, as in Linux at any alignment.
    pub stride: u64,
}

/// Bits, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BloomLayout {
    /// Number of bits less one.
    pub mask: u32,
    /// Bits per value.
    pub hashes: u32,
}

/// As Linux maps it to user space: a page with the consumer's position, a page
/// with the producer's, then the data, with room for a whole ring behind it. A
/// record that would wrap runs on into that room instead, so every record is
/// contiguous at `data + (position & mask)`, as with Linux's double mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Size of the ring less one.
    pub mask: u64,
    /// Offset of the data.
    pub data: u64,
}

impl Geometry {
    /// Checks the attributes of `BPF_MAP_CREATE` as Linux does and lays the
    /// storage out.
    ///
    /// `EINVAL` for wrong sizes and flags, `E2BIG` for sizes beyond the kernel's
    /// limits, `ENOMEM` where no memory could hold the map, `ENOTSUPP` for an LRU
    /// without preallocation, `EOPNOTSUPP` for types that have no meaning here.
    pub fn new(
        map_type: MapType,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        cpus: u32,
        map_extra: u64,
    ) -> Result<Geometry, MapError> {
        let cpus = cpus.max(1);
        let mut geo = Geometry {
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            cpus,
            map_extra,
            layout: Layout::Array(ArrayLayout {
                stride: 0,
                cpu_stride: 0,
            }),
            storage_len: 0,
        };
        check::attributes(&geo)?;
        if flags & map_flags::NO_COMMON_LRU != 0 {
            geo.max_entries = per_cpu_capacity(max_entries, cpus);
        }
        let (layout, len) = geo.lay_out().ok_or(TOO_LARGE)?;
        geo.layout = layout;
        geo.storage_len = len
            .checked_next_multiple_of(geo.storage_align())
            .ok_or(TOO_LARGE)?;
        if geo.storage_len > STORAGE_MAX {
            Err(TOO_LARGE)
        } else {
            Ok(geo)
        }
    }

    fn lay_out(&self) -> Option<(Layout, u64)> {
        use MapType::*;
        Some(match self.map_type {
            Hash | PercpuHash | LruHash | LruPercpuHash | HashOfMaps | DevmapHash => {
                let (l, len) = HashLayout::new(self)?;
                (Layout::Hash(l), len)
            }
            LpmTrie => {
                let (l, len) = LpmLayout::new(self)?;
                (Layout::Lpm(l), len)
            }
            Queue | Stack => {
                let slots = self.max_entries.checked_add(1)?;
                let stride = u64::from(self.value_size);
                let len = u64::from(slots).checked_mul(stride)?.checked_add(64)?;
                (
                    Layout::Queue(QueueLayout {
                        slots,
                        base: 64,
                        stride,
                    }),
                    len,
                )
            }
            BloomFilter => {
                let l = BloomLayout::new(self.max_entries, self.map_extra);
                (Layout::Bloom(l), l.len())
            }
            Ringbuf => {
                let size = u64::from(self.max_entries);
                (
                    Layout::Ring(RingLayout {
                        mask: size - 1,
                        data: 2 * PAGE,
                    }),
                    2 * PAGE + 2 * size,
                )
            }
            _ => {
                let stride = round8(self.value_size);
                let one = u64::from(self.max_entries).checked_mul(stride)?;
                let cpu_stride = if self.is_per_cpu() {
                    one.checked_next_multiple_of(64)?
                } else {
                    0
                };
                let len = if self.is_per_cpu() {
                    cpu_stride.checked_mul(u64::from(self.cpus))?
                } else {
                    one
                };
                (Layout::Array(ArrayLayout { stride, cpu_stride }), len)
            }
        })
    }

    /// Alignment of the storage's begin and end: whole pages for what can be
    /// mapped by itself, cache lines for the rest.
    pub const fn storage_align(&self) -> u64 {
        match self.map_type {
            MapType::Ringbuf => PAGE,
            MapType::Array if self.flags & map_flags::MMAPABLE != 0 => PAGE,
            _ => super::region::ALIGN as u64,
        }
    }

    /// Whether every CPU has its own values.
    pub const fn is_per_cpu(&self) -> bool {
        use MapType::*;
        matches!(self.map_type, PercpuArray | PercpuHash | LruPercpuHash)
    }

    /// Whether the map forgets its least recently used key when it is full.
    pub const fn is_lru(&self) -> bool {
        matches!(self.map_type, MapType::LruHash | MapType::LruPercpuHash)
    }

    /// Whether values name other objects: what is stored is a handle (or an
    /// interface, for device maps), and 0 in an array means an empty slot.
    pub const fn is_slots(&self) -> bool {
        use MapType::*;
        matches!(
            self.map_type,
            ProgArray | PerfEventArray | ArrayOfMaps | Devmap | Cpumap | Xskmap
        )
    }

    /// Length of a value as `bpf()` passes it: for per-CPU maps every CPU's
    /// value, each rounded up to 8 bytes.
    pub const fn user_value_size(&self) -> u64 {
        if self.is_per_cpu() {
            round8(self.value_size) * self.cpus as u64
        } else {
            self.value_size as u64
        }
    }
}

const TOO_LARGE: MapError = MapError::new(
    crate::uapi::errno::ENOMEM,
    "no memory could hold a map of this size",
);

/// `max_entries` in whole entries per CPU, as Linux rounds it for
/// `BPF_F_NO_COMMON_LRU`.
const fn per_cpu_capacity(max_entries: u32, cpus: u32) -> u32 {
    match max_entries.checked_next_multiple_of(cpus) {
        Some(n) => n,
        None => max_entries / cpus * cpus,
    }
}
