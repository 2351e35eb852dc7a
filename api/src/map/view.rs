//! Arrays that are mapped.

use super::{Map, MapInfo};
use crate::error::{CallerError, Error, Result};
use bpf_core::map::Region;
use bpf_core::uapi::{errno, map_flags};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The values of a `BPF_F_MMAPABLE` array, as `mmap(2)` shows them: one after
/// the other, each rounded up to 8 bytes ([`ArrayView::stride`]).
///
/// Programs change them at any time, so they are only ever copied; aligned words
/// of 8 bytes are never torn.
#[derive(Debug)]
pub struct ArrayView {
    map: Map,
    region: Region,
    writer: Option<Writer>,
}

/// Somebody who writes into a map's storage from this side. As long as there is
/// one, the map can't be frozen.
#[derive(Debug)]
pub(super) struct Writer(Arc<MapInfo>);

impl Writer {
    /// EPERM where the map is frozen, or may not be written from outside.
    pub fn new(map: &Map) -> Result<Self> {
        // Counted before the look at `frozen`, which `freeze` sets before it
        // looks at the count.
        map.core().info.writers.fetch_add(1, SeqCst);
        let writer = Self(Arc::clone(&map.core().info));
        map.core().writable().map(|()| writer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, SeqCst);
    }
}

impl Map {
    /// Maps the values for reading.
    ///
    /// # Errors
    /// EINVAL for a map that was not created with `BPF_F_MMAPABLE`, EPERM for one
    /// that may not be read.
    pub fn mmap(&self) -> Result<ArrayView> {
        self.view(false)
    }

    /// Maps the values for reading and writing. As long as such a view is there,
    /// the map can't be frozen.
    ///
    /// # Errors
    /// As [`Map::mmap`], and EPERM for a map that is frozen, or that may not be
    /// written from outside.
    pub fn mmap_mut(&self) -> Result<ArrayView> {
        self.view(true)
    }

    fn view(&self, writable: bool) -> Result<ArrayView> {
        let core = self.core();
        let region = core.info.reader.as_ref().map(|r| r.region());
        let Some(region) = region.filter(|_| self.flags() & map_flags::MMAPABLE != 0) else {
            return Err(Error::argument(format!(
                "map {:?} was not created with BPF_F_MMAPABLE",
                self.name()
            )));
        };
        core.readable()?;
        let writer = writable.then(|| Writer::new(self)).transpose()?;
        Ok(ArrayView {
            map: self.clone(),
            region: region.clone(),
            writer,
        })
    }
}

impl ArrayView {
    /// Bytes from one value to the next.
    pub fn stride(&self) -> usize {
        self.map.value_size().next_multiple_of(8)
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.stride() * self.map.max_entries() as usize
    }

    /// Never: arrays have at least one element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word at byte `offset`, a multiple of 8; `None` outside.
    #[inline]
    pub fn load(&self, offset: usize) -> Option<u64> {
        self.inside(offset, 8)
            .then(|| self.region.load_u64(offset as u64))
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// EINVAL for a range outside, or one that begins at no multiple of 8.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        self.region.copy_out(offset as u64, into);
        Ok(())
    }

    /// Stores a word at byte `offset`, a multiple of 8.
    ///
    /// # Errors
    /// As [`ArrayView::write`].
    #[inline]
    pub fn store(&self, offset: usize, word: u64) -> Result<()> {
        self.check(offset, 8)?;
        self.check_writable()?;
        self.region.store_u64(offset as u64, word);
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// EINVAL for a range outside, or one that begins at no multiple of 8; EPERM
    /// for a view made by [`Map::mmap`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.check(offset, from.len())?;
        self.check_writable()?;
        self.region.copy_in(offset as u64, from);
        Ok(())
    }

    #[inline]
    fn inside(&self, offset: usize, len: usize) -> bool {
        let end = offset.checked_add(len);
        offset.is_multiple_of(8) && end.is_some_and(|end| end <= self.len())
    }

    fn check(&self, offset: usize, len: usize) -> Result<()> {
        if self.inside(offset, len) {
            return Ok(());
        }
        Err(Error::argument(format!(
            "{len} bytes at {offset}: the array has {} bytes, and offsets are multiples of 8",
            self.len()
        )))
    }

    fn check_writable(&self) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        let (op, errno) = ("write", errno::EPERM);
        Err(CallerError::Refused { op, errno }.into())
    }
}

/// `BPF_MAP_FREEZE`, as far as this side keeps count: EBUSY where there are
/// writable views, or a consumer of the ring.
pub(super) fn freeze(info: &Arc<MapInfo>, guest: impl FnOnce() -> Result<()>) -> Result<()> {
    let was = info.frozen.swap(true, SeqCst);
    let done = match info.writers.load(SeqCst) {
        0 => guest(),
        _ => Err(CallerError::Refused {
            op: "freeze",
            errno: errno::EBUSY,
        }
        .into()),
    };
    if done.is_err() {
        info.frozen.store(was, Relaxed);
    }
    done
}
