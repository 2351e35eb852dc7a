//! Is a map's storage whole, after whoever worked on it was stopped anywhere?
//!
//! Nobody may write to the storage meanwhile; readers may read. What a writer
//! that was stopped leaves behind at worst (a lock taken, an element in nobody's
//! hands, a record never committed) is mended: locks are freed, and what is free
//! is listed anew from what is in use. Everything else that does not fit the
//! geometry is damage, and the map not to be used as it is. Both are bounded by
//! the geometry, whatever the storage contains.

use super::error::MapError;
use super::guest::Store;
use super::host::MapReader;
use crate::uapi::errno;
use alloc::vec::Vec;

/// What was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Records of a ring buffer that were reserved and never committed: they are
    /// skipped.
    pub records: u32,
}

/// What is said of storage that is not whole.
pub(super) const fn damage(what: &'static str) -> MapError {
    MapError::new(errno::EIO, what)
}

impl MapReader {
    /// Checks the whole structure and mends what an interrupted writer leaves.
    ///
    /// `EIO` where it is damaged; then the storage is to be zeroed and created
    /// anew.
    pub fn mend(&self) -> Result<Mended, MapError> {
        match self.store() {
            Store::Array(a) => a.mend(),
            Store::Hash(h) => h.mend()?,
            Store::Lpm(t) => t.mend()?,
            Store::Queue(q) => q.mend()?,
            Store::Ring(r) => {
                let records = r.mend()?;
                return Ok(Mended { records });
            }
        }
        Ok(Mended::default())
    }
}

/// A set of small numbers.
pub(super) struct Seen(Vec<u64>);

impl Seen {
    pub(super) fn none_of(count: u32) -> Seen {
        Seen(alloc::vec![0; count as usize / 64 + 1])
    }

    /// Adds a number; `false` where it was there already (or is out of range).
    pub(super) fn add(&mut self, n: u32) -> bool {
        let Some(word) = self.0.get_mut(n as usize / 64) else {
            return false;
        };
        let bit = 1 << (n % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn has(&self, n: u32) -> bool {
        self.0
            .get(n as usize / 64)
            .is_some_and(|w| w >> (n % 64) & 1 != 0)
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    /// The greatest number below `limit`.
    pub(super) fn last_below(&self, limit: u32) -> Option<u32> {
        (0..limit).rev().find(|n| self.has(*n))
    }
}
