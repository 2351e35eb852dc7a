//! Elements and overflow lines: what is free, and who has it.
//!
//! Elements that were never used are counted, not listed, so that storage is
//! touched only as it is used. Freed ones are on a stack per CPU, linked through
//! their first word; whoever finds its own stack empty takes from the others, so
//! `max_entries` keys always fit and never more.

use super::super::region::SPINS;
use super::Hash;

/// How many elements were ever handed out.
pub(super) const FRESH_ELEMS: u64 = 0;
/// How many overflow lines were ever handed out.
pub(super) const FRESH_LINES: u64 = 4;
/// Stack of free overflow lines.
pub(super) const FREE_LINES: u64 = 8;
/// The LRU's hand.
pub(super) const HAND: u64 = 16;
/// Per CPU: stack of free elements.
pub(super) const FREE_ELEMS: u64 = 0;
/// Per CPU: the spare element.
const SPARE: u64 = 8;

impl Hash {
    /// Gives every CPU its spare element. Once, on zeroed storage.
    pub(in super::super) fn init(&self) {
        if !self.per_cpu {
            for cpu in 0..self.cpus {
                self.set_spare(cpu, self.l.capacity + cpu);
            }
        }
    }

    #[inline(always)]
    pub(super) fn cpu_line(&self, cpu: u32) -> u64 {
        64 + 64 * u64::from(cpu)
    }

    /// The element that this CPU writes its next update to. It is in no bucket.
    #[inline(always)]
    pub(super) fn spare(&self, cpu: u32) -> Option<u32> {
        let e = self.region.load_u32(self.cpu_line(cpu) + SPARE);
        (cpu < self.cpus && e < self.l.elements).then_some(e)
    }

    #[inline(always)]
    pub(super) fn set_spare(&self, cpu: u32, elem: u32) {
        self.region.store_u32(self.cpu_line(cpu) + SPARE, elem);
    }

    /// A free element; `None` when the map is full.
    #[inline]
    pub(super) fn take_elem(&self, cpu: u32) -> Option<u32> {
        let own = cpu % self.cpus;
        self.pop_elem(own)
            .or_else(|| self.fresh(FRESH_ELEMS, self.l.capacity))
            .or_else(|| {
                (0..self.cpus)
                    .filter(|c| *c != own)
                    .find_map(|c| self.pop_elem(c))
            })
    }

    /// Gives an element back that is in no bucket any more.
    #[inline]
    pub(super) fn give_elem(&self, cpu: u32, elem: u32) {
        if self.lru {
            self.set_unused(elem);
        }
        self.push(
            self.cpu_line(cpu % self.cpus) + FREE_ELEMS,
            elem,
            self.key_off(elem),
        );
    }

    fn pop_elem(&self, cpu: u32) -> Option<u32> {
        self.pop(self.cpu_line(cpu) + FREE_ELEMS, self.l.elements, |e| {
            self.key_off(e)
        })
    }

    /// A free overflow line.
    pub(super) fn take_line(&self) -> Option<u32> {
        self.pop(FREE_LINES, self.l.lines, |l| self.line_link(l))
            .or_else(|| {
                let n = self.fresh(FRESH_LINES, self.l.lines - self.l.buckets)?;
                Some(self.l.buckets + n)
            })
    }

    /// Gives an overflow line back that is in no chain any more.
    pub(super) fn give_line(&self, line: u32) {
        self.push(FREE_LINES, line, self.line_link(line));
    }

    fn line_link(&self, line: u32) -> u64 {
        self.l.line_base + u64::from(line) * super::LINE + 8
    }

    fn fresh(&self, counter: u64, limit: u32) -> Option<u32> {
        for _ in 0..SPINS {
            let n = self.region.load_u32(counter);
            if n >= limit {
                return None;
            }
            if self.region.cas_u32(counter, n, n + 1).is_ok() {
                return Some(n);
            }
        }
        None
    }

    /// Pops off a stack: the head's lower half is an index and 1, its upper half
    /// counts changes, so that an index that went and came back is noticed.
    #[inline]
    fn pop(&self, head: u64, limit: u32, link: impl Fn(u32) -> u64) -> Option<u32> {
        for _ in 0..SPINS {
            let old = self.region.load_u64(head);
            let top = (old as u32).checked_sub(1).filter(|t| *t < limit)?;
            let next = self.region.load_u32(link(top));
            let new = (old >> 32).wrapping_add(1) << 32 | u64::from(next);
            if self.region.cas_u64(head, old, new).is_ok() {
                return Some(top);
            }
        }
        None
    }

    #[inline]
    fn push(&self, head: u64, item: u32, link: u64) {
        for _ in 0..SPINS {
            let old = self.region.load_u64(head);
            self.region.store_u32(link, old as u32);
            let new = (old >> 32).wrapping_add(1) << 32 | u64::from(item + 1);
            if self.region.cas_u64(head, old, new).is_ok() {
                return;
            }
        }
    }
}
