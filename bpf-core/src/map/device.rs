//! What maps of interfaces and CPUs take as values: the first word names the
//! interface (or says how long the CPU's queue is), the second a program.
//!
//! Which interfaces and CPUs there are is the host's affair, so any may be named.
//! Programs that run behind a redirection have no meaning here.

use super::error::MapError;
use super::hash::Hash;
use crate::uapi::{MapType, elem_flags as f, errno};

/// Packets in a CPU's queue at most (`__cpu_map_entry_alloc`'s caller).
const QUEUE_MAX: u32 = 16384;

/// Whether this is such a map.
pub(super) const fn is_device(map_type: MapType) -> bool {
    use MapType::*;
    matches!(map_type, Devmap | DevmapHash | Cpumap | Xskmap)
}

/// The value as it is kept: all zeros for "nothing". Errors are the kernel's for a
/// program that is not there.
pub(super) fn kept(map_type: MapType, value: &[u8]) -> Result<[u8; 8], MapError> {
    let word = |at: usize| {
        let bytes = value.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (first, program) = (word(0), word(4) as i32);
    let no_program = MapError::invalid("no program can run behind a redirection");
    if map_type == MapType::Cpumap && first > QUEUE_MAX {
        return Err(MapError::new(
            errno::EOVERFLOW,
            "a CPU's queue holds 16384 packets at most",
        ));
    }
    match (map_type, first, program > 0) {
        (MapType::Cpumap, 0, _) | (_, _, false) => Ok(u64::from(first).to_le_bytes()),
        (MapType::Cpumap, ..) => Err(MapError::new(errno::ENOMEM, no_program.message)),
        (_, _, true) => Err(no_program),
    }
}

/// Sets an entry of a `DEVMAP_HASH`. As in Linux `BPF_EXIST` means nothing, and
/// an entry is never emptied but deleted.
pub(super) fn put(
    entries: &Hash,
    value_size: u32,
    key: &[u8],
    value: &[u8],
    flags: u64,
) -> Result<(), MapError> {
    if value.len() != value_size as usize {
        return Err(MapError::VALUE_SIZE);
    }
    if flags > f::EXIST || value.iter().take(4).all(|b| *b == 0) {
        return Err(MapError::FLAGS);
    }
    if flags == f::NOEXIST && entries.lookup(0, key).is_some() {
        return Err(MapError::KEY_EXISTS);
    }
    let kept = kept(MapType::DevmapHash, value)?;
    let kept = kept.get(..value.len()).unwrap_or_default();
    entries.update(0, key, kept, flags & f::NOEXIST)
}
