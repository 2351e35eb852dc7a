//! The maps that cases name, by handle.

use crate::kernel::{self, Btf, Map, MapSpec};
use bpf_core::program::{MapDesc, MapTable};
use bpf_core::uapi::{MapType, map_flags};
use std::os::fd::AsFd;

/// The maps as our verifier sees them.
pub struct Maps(pub Vec<MapDesc>);

/// Contents of map 7, which is frozen.
const TEXT: &[u8; 16] = b"hello %d\n\0abcdef";
const FROZEN: u32 = 7;

impl Maps {
    /// All of them.
    pub fn new() -> Self {
        use MapType::*;
        let lock = |m: MapDesc| MapDesc {
            spin_lock_off: Some(4),
            ..m
        };
        let mut all = vec![
            plain(Hash, 8, 48, 16, 0),
            plain(Array, 4, 48, 8, 0),
            plain(ProgArray, 4, 4, 4, 0),
            plain(Array, 4, 64, 1, 0),
            MapDesc {
                inner: Some(1),
                ..plain(ArrayOfMaps, 4, 4, 2, 0)
            },
            plain(Ringbuf, 0, 0, 4096, 0),
            lock(plain(Array, 4, 8, 2, 0)),
            MapDesc {
                frozen: true,
                ..plain(Array, 4, 16, 1, map_flags::RDONLY_PROG)
            },
            plain(Array, 4, 48, 1, map_flags::WRONLY_PROG),
            plain(Queue, 0, 8, 4, 0),
            plain(LpmTrie, 8, 8, 4, map_flags::NO_PREALLOC),
            plain(PercpuArray, 4, 16, 4, 0),
            plain(PerfEventArray, 4, 4, 2, 0),
            lock(plain(Hash, 4, 8, 4, 0)),
            plain(Array, 4, 48, 1, map_flags::RDONLY_PROG),
            plain(Hash, 16, 8, 4, 0),
            plain(Xskmap, 4, 4, 2, 0),
            plain(Devmap, 4, 4, 2, 0),
        ];
        for (nr, m) in all.iter_mut().enumerate() {
            m.handle = nr as u32;
        }
        Self(all)
    }
}

impl Default for Maps {
    fn default() -> Self {
        Self::new()
    }
}

fn plain(
    map_type: MapType,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
) -> MapDesc {
    MapDesc {
        handle: 0,
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        frozen: false,
        spin_lock_off: None,
        inner: None,
        object_addr: 0,
        values_addr: 0,
        value_stride: value_size,
    }
}

impl MapTable for Maps {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.0.get(handle as usize).cloned()
    }

    fn read_constant(&self, handle: u32, off: u32, size: u32) -> Option<u64> {
        if handle != FROZEN {
            return None;
        }
        let bytes = TEXT.get(off as usize..(off + size) as usize)?;
        Some(bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    }
}

/// The same maps in the kernel.
pub fn on_kernel(maps: &Maps) -> kernel::Result<Vec<Map>> {
    let types = Btf::load(&kernel::btf::locked())?;
    let mut made: Vec<Map> = Vec::new();
    for m in &maps.0 {
        let mut spec = MapSpec::new(m.map_type, m.key_size, m.value_size, m.max_entries);
        spec.flags = m.flags;
        spec.inner = m.inner.and_then(|i| made.get(i as usize)).map(Map::as_fd);
        if m.spin_lock_off.is_some() {
            spec.btf = Some((types.as_fd(), kernel::btf::INT, kernel::btf::LOCKED));
        }
        let map = Map::create(&spec)?;
        if m.frozen {
            map.update(&[0; 4], TEXT, 0)?;
            map.freeze()?;
        }
        made.push(map);
    }
    Ok(made)
}
