//! The lines of the index: buckets and their overflow.
//!
//! # How many overflow lines are enough
//! An overflow line is linked when all slots before it are taken, unlinked when
//! it is empty, and a chain of two or more that could do with one less and still
//! have eight slots free is shortened ([`Hash::tidy`]). So a chain of `l >= 2`
//! overflow lines has more than `8 * (l - 1)` keys, and all chains together have
//! at most one line per bucket and one per eight keys.

use super::super::region::Line;
use super::super::version::{Held, bump};
use super::Hash;

/// Bytes per line.
pub(super) const LINE: u64 = 64;
/// Slots per line.
pub(super) const SLOTS: u32 = 8;
/// Offset of lock and version (buckets only).
const VERSION: u64 = 0;
/// Offset of the next line of the chain; 0 is none.
const LINK: u64 = 4;
/// Offset of eight 16-bit tags; 0 is an empty slot.
const TAGS: u64 = 16;
/// Offset of eight 32-bit element indices.
const ELEMS: u64 = 32;

/// Where a key would be: its bucket, and its tag there.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub bucket: u32,
    pub tag: u16,
}

/// A slot: its line and its number there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub line: u32,
    pub no: u32,
}

/// Slots of one line, as a set.
#[derive(Clone, Copy)]
pub(super) struct SlotSet(u32);

impl Iterator for SlotSet {
    type Item = u32;
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let no = self.0.trailing_zeros() / 2;
        self.0 &= self.0 - 1;
        Some(no)
    }
}

impl SlotSet {
    fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// A line, to read from.
#[derive(Clone, Copy)]
pub(super) struct IndexLine<'a>(Line<'a>);

impl IndexLine<'_> {
    #[inline(always)]
    pub(super) fn version(self) -> u32 {
        self.0.load_u32(VERSION as u32 / 4) >> 1
    }

    #[inline(always)]
    pub(super) fn link(self) -> u32 {
        self.0.load_u32(LINK as u32 / 4)
    }

    #[inline(always)]
    pub(super) fn tagged(self, tag: u16) -> SlotSet {
        SlotSet(self.0.lanes_equal(TAGS as u32 / 8, tag))
    }

    #[inline(always)]
    pub(super) fn elem(self, no: u32) -> u32 {
        self.0.load_u32(ELEMS as u32 / 4 + no)
    }
}

impl Hash {
    #[inline(always)]
    pub(super) fn place(&self, hash: u64) -> Place {
        let bucket = ((hash >> 32) * u64::from(self.l.buckets)) >> 32;
        Place {
            bucket: bucket as u32,
            tag: (hash as u16).max(1),
        }
    }

    #[inline(always)]
    fn line_off(&self, line: u32) -> u64 {
        self.l.line_base + u64::from(line) * LINE
    }

    #[inline(always)]
    pub(super) fn line(&self, line: u32) -> IndexLine<'_> {
        IndexLine(self.region.line(self.line_off(line)))
    }

    /// Offset of a bucket's lock and version.
    #[inline(always)]
    pub(super) fn version_off(&self, bucket: u32) -> u64 {
        self.line_off(bucket) + VERSION
    }

    /// The line after `line` in its chain.
    #[inline(always)]
    pub(super) fn link(&self, line: u32) -> Option<u32> {
        let next = self.line(line).link();
        (next != 0 && next < self.l.lines).then_some(next)
    }

    /// Slots of a line whose tag is `tag` (0: that are empty).
    #[inline(always)]
    pub(super) fn tagged(&self, line: u32, tag: u16) -> SlotSet {
        self.line(line).tagged(tag)
    }

    /// Slots of a line that are taken.
    #[inline(always)]
    pub(super) fn taken(&self, line: u32) -> SlotSet {
        SlotSet(!self.tagged(line, 0).0 & 0x5555)
    }

    fn elem_word(&self, s: Slot) -> u64 {
        self.line_off(s.line) + ELEMS + u64::from(s.no) * 4
    }

    /// The element that a slot names; `None` where there is no such element.
    #[inline(always)]
    pub(super) fn elem(&self, s: Slot) -> Option<u32> {
        let e = self.line(s.line).elem(s.no);
        (e < self.l.elements).then_some(e)
    }

    pub(super) fn tag(&self, s: Slot) -> u16 {
        self.region
            .load_u16(self.line_off(s.line) + TAGS + u64::from(s.no) * 2)
    }

    pub(super) fn set_tag(&self, s: Slot, tag: u16) {
        self.region
            .store_u16(self.line_off(s.line) + TAGS + u64::from(s.no) * 2, tag);
    }

    /// Puts another element in a taken slot: old or new, a reader sees one.
    #[inline(always)]
    pub(super) fn replace(&self, h: &mut Held, s: Slot, elem: u32) {
        h.changed = true;
        self.region.store_u32(self.elem_word(s), elem);
    }

    /// Takes an empty slot.
    #[inline(always)]
    fn fill(&self, s: Slot, elem: u32, tag: u16) {
        self.region.store_u32(self.elem_word(s), elem);
        self.set_tag(s, tag);
    }

    /// Adds an element whose key is not there. `false` where no line is left.
    #[inline(always)]
    pub(super) fn insert(&self, h: &mut Held, p: Place, elem: u32) -> bool {
        h.changed = true;
        let mut line = p.bucket;
        for _ in 0..self.l.lines {
            if let Some(no) = self.tagged(line, 0).next() {
                self.fill(Slot { line, no }, elem, p.tag);
                return true;
            }
            match self.link(line) {
                Some(next) => line = next,
                None => return self.append(line, elem, p.tag),
            }
        }
        false
    }

    #[cold]
    fn append(&self, last: u32, elem: u32, tag: u16) -> bool {
        let Some(line) = self.take_line() else {
            return false;
        };
        self.region.zero(self.line_off(line), LINE);
        self.fill(Slot { line, no: 0 }, elem, tag);
        self.region.store_u32(self.line_off(last) + LINK, line);
        true
    }

    /// Empties a slot. Gives the overflow line that went out of use, to be given
    /// back with [`Hash::give_line`] after the bucket was released.
    #[inline(always)]
    pub(super) fn remove(&self, h: &mut Held, bucket: u32, s: Slot) -> Option<u32> {
        h.changed = true;
        self.set_tag(s, 0);
        self.link(bucket)?;
        self.tidy(h, bucket)
    }

    /// Unlinks a line that is empty or can be spared.
    #[cold]
    fn tidy(&self, h: &mut Held, bucket: u32) -> Option<u32> {
        let (mut before, mut line) = (bucket, self.link(bucket)?);
        let mut keys = self.taken(bucket).len();
        for overflow in 1..self.l.lines {
            let here = self.taken(line).len();
            keys += here;
            let next = self.link(line);
            if here == 0 {
                self.unlink(before, line);
                return Some(line);
            }
            let Some(next) = next else {
                if overflow < 2 || keys > SLOTS * (overflow - 1) {
                    return None;
                }
                self.empty_into_holes(h, bucket, line);
                self.unlink(before, line);
                return Some(line);
            };
            (before, line) = (line, next);
        }
        None
    }

    fn unlink(&self, before: u32, line: u32) {
        let next = self.link(line).unwrap_or(0);
        self.region.store_u32(self.line_off(before) + LINK, next);
    }

    /// Moves the elements of the last line to empty slots before it. Whoever
    /// reads meanwhile finds each in one place or both, or reads again.
    fn empty_into_holes(&self, h: &mut Held, bucket: u32, last: u32) {
        let mut line = bucket;
        let mut moving = self.taken(last);
        for _ in 0..self.l.lines {
            if line == last {
                break;
            }
            for no in self.tagged(line, 0) {
                let Some(from) = moving.next() else { break };
                let from = Slot {
                    line: last,
                    no: from,
                };
                if let Some(e) = self.elem(from) {
                    bump(&self.region, h);
                    self.fill(Slot { line, no }, e, self.tag(from));
                }
            }
            match self.link(line) {
                Some(next) => line = next,
                None => break,
            }
        }
        bump(&self.region, h);
        for no in self.taken(last) {
            self.set_tag(Slot { line: last, no }, 0);
        }
    }
}
