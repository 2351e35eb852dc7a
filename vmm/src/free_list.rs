//! A set of free ranges: taken from either end, given back and merged.

use std::collections::BTreeMap;
use std::ops::Range;

/// From which end to search.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Lowest addresses first, and none that reaches past `limit`.
    Bottom {
        /// End of what may be taken.
        limit: u64,
    },
    /// Highest addresses first.
    Top,
}

/// Free ranges by their start; never empty, overlapping or adjacent.
#[derive(Debug, Default)]
pub(crate) struct FreeList {
    free: BTreeMap<u64, u64>,
    used: u64,
}

impl FreeList {
    pub(crate) fn new(range: Range<u64>) -> Self {
        Self {
            free: BTreeMap::from([(range.start, range.end)]),
            used: 0,
        }
    }

    /// Takes `len` bytes at a multiple of `align`, a power of two.
    pub(crate) fn take(&mut self, len: u64, align: u64, end: End) -> Option<u64> {
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        let fit = |start: u64, stop: u64| match end {
            End::Bottom { limit } => {
                let at = start.checked_next_multiple_of(align)?;
                (at.checked_add(len)? <= stop.min(limit)).then_some(at)
            }
            End::Top => {
                let at = stop.checked_sub(len)? & !(align - 1);
                (at >= start).then_some(at)
            }
        };
        let found = |(&start, &stop): (&u64, &u64)| Some((start, stop, fit(start, stop)?));
        let (start, stop, at) = match end {
            End::Bottom { .. } => self.free.iter().find_map(found),
            End::Top => self.free.iter().rev().find_map(found),
        }?;
        self.free.remove(&start);
        if start < at {
            self.free.insert(start, at);
        }
        if at + len < stop {
            self.free.insert(at + len, stop);
        }
        self.used += len;
        Some(at)
    }

    /// Gives a taken range back.
    pub(crate) fn give(&mut self, range: Range<u64>) {
        self.used -= range.end - range.start;
        self.add(range);
    }

    /// Adds a range that is new.
    pub(crate) fn add(&mut self, range: Range<u64>) {
        let (mut start, mut stop) = (range.start, range.end);
        if let Some((&before, &end)) = self.free.range(..start).next_back()
            && end == start
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(end) = self.free.remove(&stop) {
            stop = end;
        }
        self.free.insert(start, stop);
    }

    /// Bytes taken.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

#[cfg(test)]
mod tests;
