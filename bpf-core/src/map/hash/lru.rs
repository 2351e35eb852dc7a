//! Forgetting the least recently used: a clock over the slab.
//!
//! Every element has a byte behind its key: unused, in the map, or looked up
//! since the hand last passed. When the map is full the hand goes round, takes
//! the mark off looked-up elements and evicts the first without one. A new key
//! lies where the hand just was, so it is the last to be met again.

use super::super::error::MapError;
use super::super::version::release;
use super::Hash;
use super::ops::Left;
use super::slab::HAND;
use crate::uapi::errno;

/// States of an element.
const UNUSED: u8 = 0;
const COLD: u8 = 1;
const HOT: u8 = 2;

/// Steps of the hand that spare looked-up elements, so that one insertion is
/// never slow.
const PATIENCE: u32 = 1024;

impl Hash {
    #[inline(always)]
    fn state_off(&self, elem: u32) -> u64 {
        let area = if self.per_cpu {
            self.l.key_stride
        } else {
            self.l.values - self.l.slab
        };
        self.key_off(elem) + area - 1
    }

    /// Marks an element that was looked up.
    #[inline(always)]
    pub(super) fn set_used(&self, elem: u32) {
        let off = self.state_off(elem);
        if self.region.load_u8(off) == COLD {
            self.region.store_u8(off, HOT);
        }
    }

    /// Marks an element that comes into the map.
    pub(super) fn set_fresh(&self, elem: u32, used: bool) {
        self.region
            .store_u8(self.state_off(elem), if used { HOT } else { COLD });
    }

    /// Marks an element that is in no bucket.
    pub(super) fn set_unused(&self, elem: u32) {
        self.region.store_u8(self.state_off(elem), UNUSED);
    }

    /// An element for a new key, got before any bucket is held, since evicting
    /// holds another one. `None` where the key is there already.
    pub(super) fn reserve(&self, cpu: u32, key: &[u8]) -> Result<Option<u32>, MapError> {
        if self.find(key).is_some() {
            return Ok(None);
        }
        let e = self.take_elem(cpu).or_else(|| self.evict(cpu));
        e.map(Some)
            .ok_or(MapError::new(errno::ENOMEM, "nothing could be evicted"))
    }

    pub(super) fn update_lru(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        Self::check_presence(self.find(key).is_some(), flags)?;
        self.persist(|| {
            let reserve = self.reserve(cpu, key)?;
            self.swap_in(cpu, key, value, flags, reserve)
        })
    }

    /// Tries again where a key that was there went away meanwhile, so that
    /// nothing had been set aside for it. An LRU map is never full.
    pub(super) fn persist(
        &self,
        mut update: impl FnMut() -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        for _ in 0..64 {
            match update() {
                Err(MapError::FULL) => {}
                done => return done,
            }
        }
        Err(MapError::BUSY)
    }

    #[cold]
    fn evict(&self, cpu: u32) -> Option<u32> {
        let steps = PATIENCE.saturating_add(self.l.elements);
        for step in 0..steps {
            let elem = self.region.fetch_add_u32(HAND, 1) % self.l.elements;
            let off = self.state_off(elem);
            match self.region.load_u8(off) {
                UNUSED => {}
                HOT if step < PATIENCE => self.region.store_u8(off, COLD),
                _ => {
                    if self.forget(elem) {
                        return Some(elem);
                    }
                }
            }
            // Someone may have deleted a key meanwhile.
            if step % 64 == 63
                && let Some(e) = self.take_elem(cpu)
            {
                return Some(e);
            }
        }
        None
    }

    /// Takes an element out of its bucket, if it still is in it.
    fn forget(&self, elem: u32) -> bool {
        let p = self.place(
            self.hasher
                .hash_at(&self.region, self.key_off(elem), self.key_size),
        );
        let Ok(mut h) = self.hold(p.bucket) else {
            return false;
        };
        let slot = self
            .slots(p.bucket, self.l.lines)
            .find(|s| self.elem(*s) == Some(elem));
        let line = slot.map(|s| self.remove(&mut h, p.bucket, s));
        release(&self.region, h);
        let Some(line) = line else { return false };
        self.set_unused(elem);
        self.give_back(0, Left { elem: None, line });
        true
    }
}
