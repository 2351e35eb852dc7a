//! Updates of per-CPU hash tables: values are written in place, since each CPU
//! writes its own.

use super::super::error::MapError;
use super::Hash;
use super::read::Seen;
use crate::uapi::errno;

impl Hash {
    /// The program's update: this CPU's value; for a new key the others are 0.
    pub(super) fn update_own(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        if cpu >= self.value_cpus {
            return Err(MapError::invalid("no such CPU"));
        }
        self.write(cpu, key, flags, |e, new| {
            for c in 0..self.value_cpus {
                let off = self.value_off(e, c);
                if c == cpu {
                    self.region.copy_in(off, value);
                } else if new {
                    self.region.zero(off, self.value_size as u64);
                }
            }
        })
    }

    /// The system call's update: every CPU's value.
    pub(super) fn update_each(
        &self,
        cpu: u32,
        key: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        let step = self.value_size.next_multiple_of(8);
        self.write(cpu, key, flags, |e, _| {
            for (c, v) in (0..self.value_cpus).zip(values.chunks_exact(step)) {
                let v = v.get(..self.value_size).unwrap_or(v);
                self.region.copy_in(self.value_off(e, c), v);
            }
        })
    }

    /// Writes to the key's element, which is made where it is not there.
    fn write(
        &self,
        cpu: u32,
        key: &[u8],
        flags: u64,
        write: impl Fn(u32, bool),
    ) -> Result<(), MapError> {
        if !self.lru {
            return self.write_with(cpu, key, flags, write, None);
        }
        Self::check_presence(self.find(key).is_some(), flags)?;
        self.persist(|| {
            let reserve = self.reserve(cpu, key)?;
            self.write_with(cpu, key, flags, &write, reserve)
        })
    }

    fn write_with(
        &self,
        cpu: u32,
        key: &[u8],
        flags: u64,
        write: impl Fn(u32, bool),
        mut reserve: Option<u32>,
    ) -> Result<(), MapError> {
        let result = self.on_key(key, |h, p| {
            let seen = self.seek(p, key, self.l.lines);
            Self::check_presence(matches!(seen, Seen::At(..)), flags)?;
            if let Seen::At(_, e) = seen {
                write(e, false);
                if self.lru {
                    self.set_used(e);
                }
                return Ok(());
            }
            let e = reserve
                .take()
                .or_else(|| self.take_elem(cpu))
                .ok_or(MapError::FULL)?;
            self.region.copy_in(self.key_off(e), key);
            write(e, true);
            if self.lru {
                self.set_fresh(e, false);
            }
            if !self.insert(h, p, e) {
                self.give_elem(cpu, e);
                return Err(MapError::new(errno::ENOMEM, "no index line is left"));
            }
            Ok(())
        });
        if let Some(unneeded) = reserve {
            self.give_elem(cpu, unneeded);
        }
        result
    }
}
