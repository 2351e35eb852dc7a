//! Maps against plain models, under concurrency, and over garbage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod array;
mod create;
mod hash;
mod hash_stress;
mod lpm;
mod mend;
mod queue;
mod ringbuf;

use super::*;
use crate::uapi::MapType;

/// By how much less is tried where an interpreter looks at each access.
pub const SLOWER: u32 = if cfg!(miri) { 100 } else { 1 };

/// A small generator of numbers; the same seed gives the same run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let z = (z ^ z >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        z ^ z >> 32
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A map with guest and host side over memory of its own.
pub struct Pair {
    pub map: Map,
    pub host: MapReader,
    pub region: Region,
}

pub fn pair_with(geo: Geometry, fields: Fields) -> Pair {
    let region = Region::zeroed(geo.storage_len);
    Pair {
        map: Map::create(geo, region.clone(), 42, fields).unwrap(),
        host: MapReader::new(geo, region.clone(), 42, fields).unwrap(),
        region,
    }
}

pub fn pair(t: MapType, key: u32, value: u32, max: u32, flags: u32, cpus: u32) -> Pair {
    pair_with(
        Geometry::new(t, key, value, max, flags, cpus, 0).unwrap(),
        Fields::default(),
    )
}

/// The errno of a result.
pub fn errno_of<T>(r: Result<T, MapError>) -> i32 {
    r.map_or_else(|e| e.errno, |_| 0)
}

impl Pair {
    /// The bytes that a program reads through a value pointer.
    pub fn at(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut v = alloc::vec![0; len];
        self.region
            .copy_out(self.region.offset_of(addr).unwrap(), &mut v);
        v
    }

    /// Writes through a value pointer, as a program does.
    pub fn poke(&self, addr: u64, bytes: &[u8]) {
        self.region
            .copy_in(self.region.offset_of(addr).unwrap(), bytes);
    }
}

use alloc::vec::Vec;
