//! Walking over the whole table: next key, batches, `bpf_for_each_map_elem`.

use super::super::error::{MapError, ReadError};
use super::super::guest::{Cursor, Entry};
use super::super::version::release;
use super::Hash;
use super::index::{SLOTS, Slot};
use super::ops::Left;
use super::read::CHAIN;
use crate::uapi::errno;
use alloc::vec::Vec;

/// The taken slots of a bucket's chain, in order.
pub(super) struct Slots<'a> {
    hash: &'a Hash,
    line: Option<u32>,
    here: super::index::SlotSet,
    left: u32,
}

impl Iterator for Slots<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        loop {
            let line = self.line?;
            if let Some(no) = self.here.next() {
                return Some(Slot { line, no });
            }
            self.left = self.left.saturating_sub(1);
            self.line = if self.left == 0 {
                None
            } else {
                self.hash.link(line)
            };
            self.here = self.hash.taken(self.line?);
        }
    }
}

/// What one bucket says about the key after another.
enum Next {
    /// It was copied out.
    Copied,
    /// The bucket ends before one.
    End,
    /// The key to begin after is not there.
    Unknown,
}

/// A bucket did not fit.
const NO_ROOM: MapError = MapError::new(errno::ENOSPC, "a bucket has more keys than there is room");

impl Hash {
    pub(super) fn slots(&self, bucket: u32, limit: u32) -> Slots<'_> {
        Slots {
            hash: self,
            line: Some(bucket),
            here: self.taken(bucket),
            left: limit,
        }
    }

    fn next_in(&self, bucket: u32, after: Option<&[u8]>, out: &mut [u8], limit: u32) -> Next {
        let mut begun = after.is_none();
        for s in self.slots(bucket, limit) {
            let Some(e) = self.elem(s) else { continue };
            if begun {
                self.region.copy_out(self.key_off(e), out);
                return Next::Copied;
            }
            begun = after.is_some_and(|k| self.region.equals(self.key_off(e), k));
        }
        if begun { Next::End } else { Next::Unknown }
    }

    /// The key after `key`, each bucket read by `read`.
    fn next_by<E: From<MapError>>(
        &self,
        key: Option<&[u8]>,
        out: &mut [u8],
        read: impl Fn(u32, Option<&[u8]>, &mut [u8]) -> Result<Next, E>,
    ) -> Result<(), E> {
        if out.len() != self.key_size || key.is_some_and(|k| k.len() != self.key_size) {
            return Err(MapError::KEY_SIZE.into());
        }
        let mut bucket = 0;
        if let Some(key) = key {
            let own = self.place(self.hasher.hash(key)).bucket;
            match read(own, Some(key), out)? {
                Next::Copied => return Ok(()),
                Next::End => bucket = own + 1,
                Next::Unknown => {}
            }
        }
        while bucket < self.l.buckets {
            if let Next::Copied = read(bucket, None, out)? {
                return Ok(());
            }
            bucket += 1;
        }
        Err(MapError::NO_KEY.into())
    }

    /// The host's.
    pub(in super::super) fn next_key(
        &self,
        key: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), ReadError> {
        self.next_by(key, out, |b, k, out| {
            self.steady(b, || self.next_in(b, k, out, CHAIN))
                .ok_or(ReadError::AskGuest)
        })
    }

    /// The guest's.
    pub(in super::super) fn next_key_locked(
        &self,
        key: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), MapError> {
        self.next_by(key, out, |b, k, out| {
            match self.steady(b, || self.next_in(b, k, out, CHAIN)) {
                Some(next) => Ok(next),
                None => self.held(b, || self.next_in(b, k, out, self.l.lines)),
            }
        })
    }

    /// Copies a bucket's keys and values out. `None` where there is no room.
    fn copy_bucket(
        &self,
        bucket: u32,
        keys: &mut [u8],
        values: &mut [u8],
        limit: u32,
    ) -> Option<u32> {
        let mut k = keys.chunks_exact_mut(self.key_size);
        let mut v = values.chunks_exact_mut(self.user_value_size());
        let mut n = 0;
        for s in self.slots(bucket, limit) {
            let Some(e) = self.elem(s) else { continue };
            self.region.copy_out(self.key_off(e), k.next()?);
            self.copy_value(e, v.next()?);
            n += 1;
        }
        Some(n)
    }

    /// Whole buckets from `position` on, each copied by `copy`.
    fn batch_by<E: From<MapError>>(
        &self,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
        copy: impl Fn(u32, &mut [u8], &mut [u8]) -> Result<Option<u32>, E>,
    ) -> Result<(u32, Option<u64>), E> {
        let (ks, vs) = (self.key_size, self.user_value_size());
        let mut bucket = u32::try_from(position).unwrap_or(u32::MAX);
        let mut count = 0;
        while bucket < self.l.buckets {
            let done = count as usize;
            let (Some(k), Some(v)) = (keys.get_mut(done * ks..), values.get_mut(done * vs..))
            else {
                break;
            };
            match copy(bucket, k, v)? {
                Some(n) => count += n,
                None if count == 0 => return Err(NO_ROOM.into()),
                None => break,
            }
            bucket += 1;
        }
        Ok((
            count,
            (bucket < self.l.buckets).then_some(u64::from(bucket)),
        ))
    }

    /// The host's.
    pub(in super::super) fn batch(
        &self,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(u32, Option<u64>), ReadError> {
        self.batch_by(position, keys, values, |b, k, v| {
            self.steady(b, || self.copy_bucket(b, k, v, CHAIN))
                .ok_or(ReadError::AskGuest)
        })
    }

    /// The guest's, which can delete what it copied.
    pub(in super::super) fn batch_locked(
        &self,
        cpu: u32,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
        delete: bool,
    ) -> Result<(u32, Option<u64>), MapError> {
        self.batch_by(position, keys, values, |b, k, v| {
            let mut h = self.hold(b)?;
            let n = self.copy_bucket(b, k, v, self.l.lines);
            let mut left = Vec::new();
            if delete && n.is_some() {
                while let Some(s) = self.slots(b, self.l.lines).next() {
                    let line = self.remove(&mut h, b, s);
                    left.push(Left {
                        elem: self.elem(s),
                        line,
                    });
                }
            }
            release(&self.region, h);
            for l in left {
                self.give_back(cpu, l);
            }
            Ok(n)
        })
    }

    /// One step of a program's walk. The cursor is the bucket (upper half), and
    /// the slot's number along the chain.
    pub(in super::super) fn next_entry(&self, cpu: u32, cursor: &mut Cursor) -> Option<Entry> {
        let mut bucket = (cursor.0 >> 32) as u32;
        let mut from = cursor.0 as u32;
        while bucket < self.l.buckets {
            let mut line = Some(bucket);
            let mut first = 0;
            while let Some(l) = line.filter(|_| first / SLOTS < self.l.lines) {
                for no in self.taken(l).filter(|no| first + no >= from) {
                    if let Some(e) = self.elem(Slot { line: l, no }) {
                        cursor.0 = u64::from(bucket) << 32 | u64::from(first + no + 1);
                        return Some(self.entry(e, cpu));
                    }
                }
                first = first.saturating_add(SLOTS);
                line = self.link(l);
            }
            (bucket, from) = (bucket + 1, 0);
        }
        cursor.0 = u64::from(bucket) << 32;
        None
    }

    fn entry(&self, e: u32, cpu: u32) -> Entry {
        let cpu = if self.per_cpu {
            cpu % self.value_cpus
        } else {
            0
        };
        Entry {
            key: self.region.addr(self.key_off(e)),
            index: 0,
            value: self.region.addr(self.value_off(e, cpu)),
        }
    }
}
