//! Versioned reads: lookups by programs, and the host's.

use super::super::error::{MapError, ReadError};
use super::super::version::{self, Held, release};
use super::Hash;
use super::index::{Place, Slot};
use super::key::{Key, by_size};
use crate::uapi::elem_flags as f;

/// Lines per chain that a reader without a lock follows. With a secret seed no
/// bucket of an honest map comes near it.
pub(super) const CHAIN: u32 = 64;

/// What a walk along a bucket's chain found.
pub(super) enum Seen {
    /// The key, in this slot, with this element.
    At(Slot, u32),
    /// No such key.
    Nowhere,
    /// A chain longer than the bound.
    Endless,
}

/// What a first glance at a bucket gave.
enum Glance {
    /// The key, with this element.
    At(u32),
    /// No such key.
    Nowhere,
    /// A chain, or a change meanwhile: look closer.
    Unclear(Place),
}

impl Hash {
    /// Looks for a key in its bucket, along at most `limit` lines.
    #[inline]
    pub(super) fn seek(&self, p: Place, key: &[u8], limit: u32) -> Seen {
        by_size!(key, k => self.seek_as(p, k, limit))
    }

    #[inline(always)]
    fn seek_as(&self, p: Place, key: impl Key, limit: u32) -> Seen {
        let mut line = p.bucket;
        for _ in 0..limit {
            for no in self.tagged(line, p.tag) {
                let s = Slot { line, no };
                if let Some(e) = self.elem(s)
                    && key.is_at(&self.region, self.key_off(e))
                {
                    return Seen::At(s, e);
                }
            }
            match self.link(line) {
                Some(next) => line = next,
                None => return Seen::Nowhere,
            }
        }
        Seen::Endless
    }

    /// Reads a bucket until it stayed the same meanwhile; `None` where it never
    /// did.
    #[inline(always)]
    pub(super) fn steady<T>(&self, bucket: u32, read: impl FnMut() -> T) -> Option<T> {
        version::steady(&self.region, self.version_off(bucket), read)
    }

    /// Reads a bucket under its lock, for who may not fail.
    #[cold]
    pub(super) fn held<T>(&self, bucket: u32, read: impl FnOnce() -> T) -> Result<T, MapError> {
        let h = self.hold(bucket)?;
        let t = read();
        release(&self.region, h);
        Ok(t)
    }

    #[inline(always)]
    pub(super) fn hold(&self, bucket: u32) -> Result<Held, MapError> {
        version::hold(&self.region, self.version_off(bucket))
    }

    /// The element of a key, as a program looks it up.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        if key.len() != self.key_size {
            return None;
        }
        match by_size!(key, k => self.glance(k, |_| ())) {
            Glance::At(e) => Some(e),
            Glance::Nowhere => None,
            Glance::Unclear(p) => self.find_for_sure(p, key),
        }
    }

    /// The usual case of a read: the bucket has one line and stays as it is
    /// while `use_it` looks at the element.
    #[inline(always)]
    fn glance(&self, key: impl Key, use_it: impl FnOnce(u32)) -> Glance {
        let p = self.place(key.hash(&self.hasher));
        let line = self.line(p.bucket);
        let version = line.version();
        for no in line.tagged(p.tag) {
            let e = line.elem(no);
            if e < self.l.elements && key.is_at(&self.region, self.key_off(e)) {
                use_it(e);
                if line.version() != version {
                    return Glance::Unclear(p);
                }
                return Glance::At(e);
            }
        }
        if line.link() != 0 || line.version() != version {
            return Glance::Unclear(p);
        }
        Glance::Nowhere
    }

    #[inline(never)]
    fn find_for_sure(&self, p: Place, key: &[u8]) -> Option<u32> {
        let seen = match self.steady(p.bucket, || self.seek(p, key, CHAIN)) {
            Some(Seen::Endless) | None => self
                .held(p.bucket, || self.seek(p, key, self.l.lines))
                .ok()?,
            Some(seen) => seen,
        };
        match seen {
            Seen::At(_, e) => Some(e),
            _ => None,
        }
    }

    /// The address of this CPU's value.
    #[inline]
    pub(in super::super) fn lookup(&self, cpu: u32, key: &[u8]) -> Option<u64> {
        let e = self.find(key)?;
        if self.per_cpu && cpu >= self.value_cpus {
            return None;
        }
        if self.lru {
            self.set_used(e);
        }
        Some(
            self.region
                .addr(self.value_off(e, if self.per_cpu { cpu } else { 0 })),
        )
    }

    /// The handle that is a value, in maps of maps.
    pub(in super::super) fn handle(&self, key: &[u8]) -> Option<u32> {
        self.find(key)
            .map(|e| self.region.load_u32(self.value_off(e, 0)))
    }

    pub(super) fn check_read(&self, key: &[u8], out: &[u8], flags: u64) -> Result<bool, MapError> {
        if flags & !f::F_LOCK != 0 {
            return Err(MapError::FLAGS);
        }
        if key.len() != self.key_size {
            return Err(MapError::KEY_SIZE);
        }
        if out.len() != self.user_value_size() {
            return Err(MapError::VALUE_SIZE);
        }
        Ok(self.fields.lock_for(flags, 0)?.is_some())
    }

    fn read_at(&self, p: Place, key: &[u8], out: &mut [u8], limit: u32) -> Result<(), ReadError> {
        match self.seek(p, key, limit) {
            Seen::At(_, e) => {
                self.copy_value(e, out);
                Ok(())
            }
            Seen::Nowhere => Err(MapError::NO_KEY.into()),
            Seen::Endless => Err(ReadError::AskGuest),
        }
    }

    /// The host's lookup.
    #[inline]
    pub(in super::super) fn read(
        &self,
        key: &[u8],
        out: &mut [u8],
        flags: u64,
    ) -> Result<(), ReadError> {
        if self.check_read(key, out, flags)? {
            return Err(ReadError::AskGuest);
        }
        match by_size!(key, k => self.glance(k, |e| self.copy_value(e, out))) {
            Glance::At(_) => Ok(()),
            Glance::Nowhere => Err(MapError::NO_KEY.into()),
            Glance::Unclear(p) => self
                .steady(p.bucket, || self.read_at(p, key, out, CHAIN))
                .unwrap_or(Err(ReadError::AskGuest)),
        }
    }

    /// The guest's copying lookup.
    pub(in super::super) fn read_locked(
        &self,
        key: &[u8],
        out: &mut [u8],
        flags: u64,
    ) -> Result<(), MapError> {
        if !self.check_read(key, out, flags)?
            && let Some(Ok(())) = {
                let p = self.place(self.hasher.hash(key));
                self.steady(p.bucket, || self.read_at(p, key, out, CHAIN))
            }
        {
            return Ok(());
        }
        self.on_key(key, |_, p| match self.seek(p, key, self.l.lines) {
            Seen::At(_, e) => self.with_value_lock(e, flags, || self.copy_value(e, out)),
            _ => Err(MapError::NO_KEY),
        })
    }
}
