//! Checking a hash table whole, and listing anew what is free.

use super::super::error::MapError;
use super::super::mend::{Seen, damage};
use super::Hash;
use super::index::Slot;
use super::slab::{FREE_ELEMS, FREE_LINES, FRESH_ELEMS, FRESH_LINES};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What the buckets have in use.
struct Used {
    lines: Seen,
    elems: Seen,
}

impl Hash {
    /// See [`mend`](super::super::mend).
    pub(in super::super) fn mend(&self) -> Result<(), MapError> {
        let mut used = Used {
            lines: Seen::none_of(self.l.lines),
            elems: Seen::none_of(self.l.elements),
        };
        for bucket in 0..self.l.buckets {
            self.mend_bucket(bucket, &mut used)?;
        }
        if used.elems.count() > self.l.capacity {
            return Err(damage("the table has more keys than it may have"));
        }
        self.list_lines(&used.lines);
        self.list_elems(&used.elems);
        Ok(())
    }

    /// Checks one chain, and frees its lock.
    fn mend_bucket(&self, bucket: u32, used: &mut Used) -> Result<(), MapError> {
        let word = self.region.load_u32(self.version_off(bucket));
        let mut keys = BTreeMap::new();
        let mut line = bucket;
        loop {
            for no in self.taken(line) {
                self.mend_slot(bucket, Slot { line, no }, word & 1 != 0, used, &mut keys)?;
            }
            let next = self.line(line).link();
            if next == 0 {
                break;
            }
            if next < self.l.buckets || next >= self.l.lines || !used.lines.add(next) {
                return Err(damage("a chain of the table leads astray"));
            }
            line = next;
        }
        // Free, and another version: what is listed as free may be read no more.
        let free = (word | 1).wrapping_add(1);
        self.region.store_u32(self.version_off(bucket), free);
        Ok(())
    }

    fn mend_slot(
        &self,
        bucket: u32,
        slot: Slot,
        held: bool,
        used: &mut Used,
        keys: &mut BTreeMap<Vec<u8>, u32>,
    ) -> Result<(), MapError> {
        let elem = self
            .elem(slot)
            .ok_or(damage("a slot of the table names no element"))?;
        let mut key = alloc::vec![0; self.key_size];
        self.region.copy_out(self.key_off(elem), &mut key);
        let place = self.place(self.hasher.hash(&key));
        if place.bucket != bucket || place.tag != self.tag(slot) {
            return Err(damage("a key of the table is in the wrong place"));
        }
        match keys.insert(key, elem) {
            None if used.elems.add(elem) => {}
            // It was being moved from one slot to another.
            Some(other) if held && other == elem => {
                self.set_tag(slot, 0);
                return Ok(());
            }
            _ => return Err(damage("a key or an element of the table is there twice")),
        }
        if let Some(lock) = self.fields.spin_lock {
            let off = self.value_off(elem, 0) + u64::from(lock);
            self.region.store_u32(off, 0);
        }
        if self.lru {
            self.set_fresh(elem, false);
        }
        Ok(())
    }

    fn list_lines(&self, used: &Seen) {
        let end = used
            .last_below(self.l.lines)
            .map_or(self.l.buckets, |l| l + 1);
        self.region.store_u64(FREE_LINES, 0);
        self.region.store_u32(FRESH_LINES, end - self.l.buckets);
        for line in (self.l.buckets..end).filter(|l| !used.has(*l)) {
            self.give_line(line);
        }
    }

    fn list_elems(&self, used: &Seen) {
        let mut fresh = used.last_below(self.l.capacity).map_or(0, |e| e + 1);
        for cpu in 0..self.cpus {
            self.region.store_u64(self.cpu_line(cpu) + FREE_ELEMS, 0);
        }
        let mut free = (self.l.capacity..self.l.elements)
            .chain(0..fresh)
            .filter(|e| !used.has(*e));
        let spares = if self.per_cpu { 0 } else { self.cpus };
        for cpu in 0..spares {
            let spare = free.next().unwrap_or_else(|| {
                fresh += 1;
                fresh - 1
            });
            if self.lru {
                self.set_unused(spare);
            }
            self.set_spare(cpu, spare);
        }
        for elem in free {
            self.give_elem(elem, elem);
        }
        self.region.store_u32(FRESH_ELEMS, fresh);
    }
}
