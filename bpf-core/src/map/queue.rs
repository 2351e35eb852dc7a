//! Queues and stacks: a ring of values behind one lock.
//!
//! ```text
//! control  +0 head: the slot that the next push fills
//!          +4 tail: the slot of the oldest value
//!          +8 lock
//! slots    capacity + 1; the ring is empty where head = tail
//! ```
//!
//! Both indices are brought into range as they are read.

use super::error::MapError;
use super::geometry::{Geometry, QueueLayout};
use super::mend::damage;
use super::region::Region;
use crate::uapi::{MapType, elem_flags as f, errno};

const HEAD: u64 = 0;
const TAIL: u64 = 4;
const LOCK: u64 = 8;

/// A queue's or stack's storage.
pub(super) struct Queue {
    region: Region,
    l: QueueLayout,
    value_size: usize,
    stack: bool,
}

impl Queue {
    pub(super) fn new(geo: &Geometry, l: QueueLayout, region: Region) -> Queue {
        let stack = geo.map_type == MapType::Stack;
        Queue {
            region,
            l,
            value_size: geo.value_size as usize,
            stack,
        }
    }

    fn index(&self, off: u64) -> u32 {
        self.region.load_u32(off) % self.l.slots
    }

    fn after(&self, i: u32) -> u32 {
        if i + 1 == self.l.slots { 0 } else { i + 1 }
    }

    fn before(&self, i: u32) -> u32 {
        if i == 0 { self.l.slots - 1 } else { i - 1 }
    }

    fn slot(&self, i: u32) -> u64 {
        self.l.base + u64::from(i) * self.l.stride
    }

    /// `bpf_map_push_elem`: `E2BIG` when full, unless `BPF_EXIST` lets the
    /// oldest value go.
    pub(super) fn push(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        if flags != f::ANY && flags != f::EXIST {
            return Err(MapError::FLAGS);
        }
        if value.len() != self.value_size {
            return Err(MapError::VALUE_SIZE);
        }
        self.locked(|| {
            let (head, tail) = (self.index(HEAD), self.index(TAIL));
            let next = self.after(head);
            if next == tail {
                if flags != f::EXIST {
                    return Err(MapError::FULL);
                }
                self.region.store_u32(TAIL, self.after(tail));
            }
            self.copy_in(self.slot(head), value);
            self.region.store_u32(HEAD, next);
            Ok(())
        })
    }

    /// `bpf_map_pop_elem` or, without `remove`, `bpf_map_peek_elem`.
    pub(super) fn take(&self, out: &mut [u8], remove: bool) -> Result<(), MapError> {
        if out.len() != self.value_size {
            return Err(MapError::VALUE_SIZE);
        }
        self.locked(|| {
            let (head, tail) = (self.index(HEAD), self.index(TAIL));
            if head == tail {
                out.fill(0);
                return Err(MapError::new(errno::ENOENT, "the map is empty"));
            }
            let slot = if self.stack { self.before(head) } else { tail };
            self.copy_out(self.slot(slot), out);
            if remove && self.stack {
                self.region.store_u32(HEAD, slot);
            } else if remove {
                self.region.store_u32(TAIL, self.after(tail));
            }
            Ok(())
        })
    }

    fn copy_in(&self, off: u64, value: &[u8]) {
        if off.is_multiple_of(8) {
            return self.region.copy_in(off, value);
        }
        for (at, b) in (off..).zip(value) {
            self.region.store_u8(at, *b);
        }
    }

    fn copy_out(&self, off: u64, out: &mut [u8]) {
        if off.is_multiple_of(8) {
            return self.region.copy_out(off, out);
        }
        for (at, b) in (off..).zip(out) {
            *b = self.region.load_u8(at);
        }
    }

    /// See [`mend`](super::mend).
    pub(super) fn mend(&self) -> Result<(), MapError> {
        let inside = |off| self.region.load_u32(off) < self.l.slots;
        if !inside(HEAD) || !inside(TAIL) {
            return Err(damage("an index of the queue is out of range"));
        }
        self.region.unlock(LOCK);
        Ok(())
    }

    fn locked<T>(&self, op: impl FnOnce() -> Result<T, MapError>) -> Result<T, MapError> {
        if !self.region.lock(LOCK) {
            return Err(MapError::BUSY);
        }
        let result = op();
        self.region.unlock(LOCK);
        result
    }
}
