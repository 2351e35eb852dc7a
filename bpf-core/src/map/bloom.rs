//! Bloom filters: sets that may claim to hold what they don't, never the opposite.
//!
//! As many bits as the kernel's, set one by one: a reader that looks while a value
//! is being added may miss it, as in Linux. The hash functions are made of the two
//! halves of one hash.

use super::error::MapError;
use super::geometry::{BloomLayout, Geometry};
use super::hash::Hasher;
use super::region::Region;
use crate::uapi::{elem_flags as f, errno};

/// Hash functions where `map_extra` doesn't say how many.
const HASHES: u32 = 5;

impl BloomLayout {
    /// The kernel's size: `max_entries * hashes / ln 2` bits (by 7/5), up to the
    /// next power of two.
    pub(super) fn new(max_entries: u32, map_extra: u64) -> BloomLayout {
        let hashes = match map_extra as u32 & 15 {
            0 => HASHES,
            n => n,
        };
        let bits = max_entries
            .checked_mul(hashes)
            .and_then(|n| (n / 5).checked_mul(7))
            .filter(|n| *n <= 1 << 31);
        let mask = match bits {
            None => u32::MAX,
            Some(n) => n.max(64).next_power_of_two() - 1,
        };
        BloomLayout { mask, hashes }
    }

    /// Bytes of the bits.
    pub(super) fn len(&self) -> u64 {
        (u64::from(self.mask) + 1) / 8
    }
}

/// A Bloom filter's storage.
pub(super) struct Bloom {
    region: Region,
    l: BloomLayout,
    hasher: Hasher,
    value_size: usize,
}

impl Bloom {
    pub(super) fn new(geo: &Geometry, l: BloomLayout, region: Region, seed: u64) -> Bloom {
        Bloom {
            region,
            l,
            hasher: Hasher::new(seed),
            value_size: geo.value_size as usize,
        }
    }

    /// Word and bit for each hash function.
    fn bits(&self, value: &[u8]) -> impl Iterator<Item = (u64, u64)> {
        let hash = self.hasher.hash(value);
        let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
        let mask = self.l.mask;
        (0..self.l.hashes).map(move |i| {
            let bit = first.wrapping_add(i.wrapping_mul(step)) & mask;
            (u64::from(bit / 64) * 8, 1 << (bit % 64))
        })
    }

    /// `bpf_map_push_elem`.
    pub(super) fn push(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        if flags != f::ANY {
            return Err(MapError::FLAGS);
        }
        self.check(value)?;
        for (word, bit) in self.bits(value) {
            let mut now = self.region.load_u64(word);
            while now & bit == 0 {
                match self.region.cas_u64(word, now, now | bit) {
                    Ok(_) => break,
                    Err(other) => now = other,
                }
            }
        }
        Ok(())
    }

    /// `bpf_map_peek_elem`: `ENOENT` where the value was never added.
    pub(super) fn peek(&self, value: &[u8]) -> Result<(), MapError> {
        self.check(value)?;
        let there = |(word, bit)| self.region.load_u64(word) & bit != 0;
        match self.bits(value).all(there) {
            true => Ok(()),
            false => Err(MapError::new(errno::ENOENT, "the value was never added")),
        }
    }

    fn check(&self, value: &[u8]) -> Result<(), MapError> {
        match value.len() == self.value_size {
            true => Ok(()),
            false => Err(MapError::VALUE_SIZE),
        }
    }
}
