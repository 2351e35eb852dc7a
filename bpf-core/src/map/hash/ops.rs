//! Updates and deletes, under the bucket's lock.

use super::super::error::MapError;
use super::super::value::locked;
use super::super::version::{Held, release};
use super::Hash;
use super::index::{Place, Slot};
use super::read::Seen;
use crate::uapi::{MapType, elem_flags as f, errno};

/// What an operation on a held bucket leaves to be given back after release.
#[derive(Default)]
pub(super) struct Left {
    pub elem: Option<u32>,
    pub line: Option<u32>,
}

impl Hash {
    /// Runs `op` with the key's bucket held.
    #[inline(always)]
    pub(super) fn on_key<T>(
        &self,
        key: &[u8],
        op: impl FnOnce(&mut Held, Place) -> Result<T, MapError>,
    ) -> Result<T, MapError> {
        let p = self.place(self.hasher.hash(key));
        let mut h = self.hold(p.bucket)?;
        let result = op(&mut h, p);
        release(&self.region, h);
        result
    }

    pub(super) fn with_value_lock(
        &self,
        elem: u32,
        flags: u64,
        op: impl FnOnce(),
    ) -> Result<(), MapError> {
        let lock = self.fields.lock_for(flags, self.value_off(elem, 0))?;
        locked(&self.region, lock, op)
    }

    #[inline(always)]
    pub(super) fn check_update(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        size: usize,
    ) -> Result<(), MapError> {
        let known = if self.lru || self.per_cpu {
            flags
        } else {
            flags & !f::F_LOCK
        };
        if known > f::EXIST {
            return Err(MapError::FLAGS);
        }
        if key.len() != self.key_size {
            return Err(MapError::KEY_SIZE);
        }
        if value.len() != size {
            return Err(MapError::VALUE_SIZE);
        }
        Ok(())
    }

    /// What `BPF_NOEXIST` and `BPF_EXIST` have to say.
    #[inline(always)]
    pub(super) fn check_presence(there: bool, flags: u64) -> Result<(), MapError> {
        if there && flags & f::NOEXIST != 0 {
            return Err(MapError::KEY_EXISTS);
        }
        if !there && flags & f::EXIST != 0 {
            return Err(MapError::NO_KEY);
        }
        Ok(())
    }

    /// The program's update.
    #[inline]
    pub(in super::super) fn update(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        self.check_update(key, value, flags, self.value_size)?;
        if self.per_cpu {
            return self.update_own(cpu, key, value, flags);
        }
        if flags & f::F_LOCK != 0 {
            self.fields.lock_for(flags, 0)?;
            if self.update_in_place(key, value, flags)? {
                return Ok(());
            }
        }
        if self.lru {
            self.update_lru(cpu, key, value, flags)
        } else {
            self.swap_in(cpu, key, value, flags, None)
        }
    }

    /// The system call's update: every CPU's value.
    pub(in super::super) fn update_all(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        if !self.per_cpu {
            return self.update(cpu, key, value, flags);
        }
        self.check_update(key, value, flags, self.user_value_size())?;
        self.update_each(cpu, key, value, flags)
    }

    /// `BPF_F_LOCK`: writes an existing value under its own lock. `Ok(false)`
    /// where the key is not there.
    #[cold]
    fn update_in_place(&self, key: &[u8], value: &[u8], flags: u64) -> Result<bool, MapError> {
        self.on_key(key, |_, p| match self.seek(p, key, self.l.lines) {
            Seen::At(_, e) => {
                Self::check_presence(true, flags)?;
                self.with_value_lock(e, flags, || {
                    self.fields
                        .copy_in(&self.region, self.value_off(e, 0), value);
                })?;
                Ok(true)
            }
            _ => Ok(false),
        })
    }

    /// Writes key and value to the spare element and swaps it in. A new key gets
    /// `reserve` or a free element as the CPU's next spare.
    #[inline(always)]
    pub(super) fn swap_in(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
        mut reserve: Option<u32>,
    ) -> Result<(), MapError> {
        let spare = self.spare(cpu).ok_or(MapError::FULL)?;
        self.region.copy_in(self.key_off(spare), key);
        self.fields
            .init(&self.region, self.value_off(spare, 0), value);
        let done = self.on_key(key, |h, p| {
            let seen = self.seek(p, key, self.l.lines);
            Self::check_presence(matches!(seen, Seen::At(..)), flags)?;
            if let Seen::At(slot, old) = seen {
                if self.lru {
                    self.set_fresh(spare, true);
                }
                self.replace(h, slot, spare);
                return Ok(old);
            }
            let next = reserve
                .take()
                .or_else(|| self.take_elem(cpu))
                .ok_or(MapError::FULL)?;
            if self.lru {
                self.set_fresh(spare, false);
            }
            if !self.insert(h, p, spare) {
                self.give_elem(cpu, next);
                return Err(MapError::new(errno::ENOMEM, "no index line is left"));
            }
            Ok(next)
        });
        if let Some(unneeded) = reserve {
            self.give_elem(cpu, unneeded);
        }
        let next = done?;
        if self.lru {
            self.set_unused(next);
        }
        self.set_spare(cpu, next);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn give_back(&self, cpu: u32, left: Left) {
        if let Some(line) = left.line {
            self.give_line(line);
        }
        if let Some(elem) = left.elem {
            self.give_elem(cpu, elem);
        }
    }

    /// Takes a key out of a held bucket.
    #[inline(always)]
    pub(super) fn unlink_key(&self, h: &mut Held, p: Place, slot: Slot, elem: u32) -> Left {
        Left {
            elem: Some(elem),
            line: self.remove(h, p.bucket, slot),
        }
    }

    #[inline]
    pub(in super::super) fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), MapError> {
        if key.len() != self.key_size {
            return Err(MapError::KEY_SIZE);
        }
        let left = self.on_key(key, |h, p| match self.seek(p, key, self.l.lines) {
            Seen::At(slot, e) => Ok(self.unlink_key(h, p, slot, e)),
            _ => Err(MapError::NO_KEY),
        })?;
        self.give_back(cpu, left);
        Ok(())
    }

    /// Copies a value out and deletes its key.
    pub(in super::super) fn take(
        &self,
        cpu: u32,
        key: &[u8],
        out: &mut [u8],
        flags: u64,
    ) -> Result<(), MapError> {
        if matches!(self.map_type, MapType::HashOfMaps | MapType::DevmapHash) {
            return Err(MapError::NO_OP);
        }
        self.check_read(key, out, flags)?;
        let left = self.on_key(key, |h, p| match self.seek(p, key, self.l.lines) {
            Seen::At(slot, e) => {
                self.with_value_lock(e, flags, || self.copy_value(e, out))?;
                Ok(self.unlink_key(h, p, slot, e))
            }
            _ => Err(MapError::NO_KEY),
        })?;
        self.give_back(cpu, left);
        Ok(())
    }
}
