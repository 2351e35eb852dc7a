//! Map geometry and storage.
//!
//! A map's storage is a piece of shared memory that holds indices and data,
//! never pointers. [`Geometry`] says, from the creation attributes alone, where
//! everything lies; host and guest each compute their own. [`Map`] is the map as
//! the guest works on it, [`MapReader`] as the host reads it without asking.
//!
//! | file | is |
//! |---|---|
//! | `geometry`, `check` | the layout, and the kernel's checks before it |
//! | `region` | bounds-checked atomic access to shared memory (the one unsafe file) |
//! | `version` | locks of writers that are versions for readers |
//! | `array` | arrays, per-CPU arrays, arrays of handles |
//! | `hash` | hash tables: index, slab, operations, versioned reads, LRU |
//! | `lpm` | the longest-prefix-match trie |
//! | `queue` | queues and stacks |
//! | `ringbuf` | ring buffers: the producers, and the host's consumer |
//! | `mend` | the check after a writer was stopped anywhere |
//! | `guest`, `host` | [`Map`] and [`MapReader`]: one face for all types |
//!
//! ```
//! use bpf_core::map::{Fields, Geometry, Map, MapReader, Region};
//! use bpf_core::uapi::MapType;
//!
//! let geo = Geometry::new(MapType::Hash, 4, 8, 1024, 0, 1, 0)?;
//! let storage = Region::zeroed(geo.storage_len);
//! let guest = Map::create(geo, storage.clone(), 7, Fields::default())?;
//! let host = MapReader::new(geo, storage, 7, Fields::default())?;
//!
//! guest.update(0, &1u32.to_le_bytes(), &99u64.to_le_bytes(), 0)?;
//! let mut value = [0; 8];
//! host.lookup(&1u32.to_le_bytes(), &mut value, 0)?;
//! assert_eq!(u64::from_le_bytes(value), 99);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Invariant:** whatever the storage contains, reading it ends, and touches
//! nothing outside the region.

mod array;
mod check;
mod error;
mod geometry;
mod guest;
mod hash;
mod host;
mod lpm;
mod mend;
mod queue;
mod region;
mod ringbuf;
#[cfg(test)]
mod tests;
mod value;
mod version;

pub use error::{MapError, ReadError};
pub use geometry::{ArrayLayout, Geometry, Layout, PAGE, QueueLayout, RingLayout};
pub use guest::{Cursor, Entry, Map};
pub use hash::HashLayout;
pub use host::MapReader;
pub use lpm::LpmLayout;
pub use mend::Mended;
pub use region::{ALIGN, Region};
pub use ringbuf::{RingConsumer, ring_flags};

/// Fields of a value that belong to the runtime and are never copied in or out:
/// readers see zeros, updates in place leave them alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Offset of a `struct bpf_spin_lock` (4 bytes).
    pub spin_lock: Option<u32>,
    /// Offset of a `struct bpf_timer` (16 bytes).
    pub timer: Option<u32>,
}
