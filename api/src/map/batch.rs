//! Many elements at a time.

use super::core::{Batch, MapCore};
use super::{Map, link};
use crate::error::{CallerError, Result};
use bpf_core::uapi::{MapType, elem_flags, errno};
use bpfvisor_abi::op::batch as select;

/// Where a walk by batches goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(At);

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// A bucket or an index.
    Number(u64),
    /// Behind a key.
    Key(Vec<u8>),
}

/// Elements that a batch gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// The keys, one after the other.
    pub keys: Vec<u8>,
    /// The values, one after the other.
    pub values: Vec<u8>,
    /// How many.
    pub count: usize,
    /// Where to go on; `None` at the end.
    pub next: Option<Position>,
}

impl Map {
    /// Copies up to `count` elements out, read from shared memory. A hash table
    /// gives whole buckets.
    ///
    /// # Errors
    /// ENOSPC where not even one bucket fits, ENOTSUPP for types that Linux has
    /// no batches for (524), EPERM for a map that may not be read.
    #[doc(alias = "BPF_MAP_LOOKUP_BATCH")]
    pub fn lookup_batch(&self, from: Option<&Position>, count: u32) -> Result<Elements> {
        self.core().readable()?;
        match way(self.map_type(), select::LOOKUP) {
            Way::None => Err(refused(errno::ENOTSUPP)),
            Way::Keys => self.by_keys(from, count),
            Way::Numbers => self.by_numbers(from, count, false),
        }
    }

    /// The same, and deletes them.
    ///
    /// # Errors
    /// As [`Map::lookup_batch`], and EPERM for a map that may not be written.
    #[doc(alias = "BPF_MAP_LOOKUP_AND_DELETE_BATCH")]
    pub fn lookup_and_delete_batch(&self, from: Option<&Position>, count: u32) -> Result<Elements> {
        self.core().writable()?;
        self.core().readable()?;
        match way(self.map_type(), select::LOOKUP_AND_DELETE) {
            Way::Numbers => self.by_numbers(from, count, true),
            Way::Keys => {
                let taken = self.by_keys(from, count)?;
                let keys = taken.keys.chunks(self.key_size());
                keys.into_iter().try_for_each(|key| self.remove(key))?;
                Ok(taken)
            }
            Way::None => Err(refused(errno::ENOTSUPP)),
        }
    }

    /// Sets many elements, whose keys and values lie one after the other, up to
    /// the first that is refused. Gives how many were set.
    ///
    /// # Errors
    /// EINVAL for keys and values that don't fit together, and for flags other than
    /// `BPF_F_LOCK`, ENOTSUPP (524), EPERM.
    #[doc(alias = "BPF_MAP_UPDATE_BATCH")]
    pub fn update_batch(&self, keys: &[u8], values: &[u8], flags: u64) -> (usize, Result<()>) {
        self.change(select::UPDATE, keys, Some(values), flags)
    }

    /// Removes many keys, up to the first that is not there. Gives how many were
    /// removed.
    ///
    /// # Errors
    /// ENOENT for a key that is not there, EINVAL, ENOTSUPP (524), EPERM.
    #[doc(alias = "BPF_MAP_DELETE_BATCH")]
    pub fn delete_batch(&self, keys: &[u8]) -> (usize, Result<()>) {
        self.change(select::DELETE, keys, None, 0)
    }

    fn change(
        &self,
        op: u64,
        keys: &[u8],
        values: Option<&[u8]>,
        flags: u64,
    ) -> (usize, Result<()>) {
        let (key, value) = (self.key_size().max(1), self.value_len().max(1));
        let count = keys.len() / key;
        let whole = keys.len() == count * key && values.is_none_or(|v| v.len() == count * value);
        if let Err(e) = self.core().writable() {
            return (0, Err(e));
        }
        if matches!(way(self.map_type(), op), Way::None) {
            return (0, Err(refused(errno::ENOTSUPP)));
        }
        // As in Linux, batches take no other flag.
        let lock = self.core().info.spin_lock.is_some();
        let known = if lock { elem_flags::F_LOCK } else { 0 };
        if !whole || flags & !known != 0 {
            return (0, Err(refused(errno::EINVAL)));
        }
        if link::holds_objects(self.map_type()) {
            return self.change_links(keys, values, flags);
        }
        let answer = self.core().batch(Batch {
            select: op,
            position: 0,
            keys: &mut keys.to_vec(),
            values: &mut values.unwrap_or_default().to_vec(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            flags,
        });
        match answer {
            Ok(done) => (done.count as usize, done.stopped),
            Err(e) => (0, Err(e)),
        }
    }

    /// Values that are fds are translated one by one.
    fn change_links(&self, keys: &[u8], values: Option<&[u8]>, flags: u64) -> (usize, Result<()>) {
        let core = self.core();
        for (i, key) in keys.chunks(self.key_size()).enumerate() {
            let value = values.and_then(|v| v.chunks(self.value_len()).nth(i));
            let done = match value {
                Some(value) => core.update(key, value, flags),
                None => core.delete(key),
            };
            if done.is_err() {
                return (i, done);
            }
        }
        (keys.len() / self.key_size(), Ok(()))
    }

    fn by_numbers(&self, from: Option<&Position>, count: u32, delete: bool) -> Result<Elements> {
        let position = match from {
            None => 0,
            Some(Position(At::Number(n))) => *n,
            Some(Position(At::Key(_))) => return Err(refused(errno::EINVAL)),
        };
        let core = self.core();
        let n = count as usize;
        let mut out = Elements {
            keys: vec![0; n * self.key_size()],
            values: vec![0; n * self.value_len()],
            ..Elements::default()
        };
        if count == 0 {
            out.next = Some(Position(At::Number(position)));
            return Ok(out);
        }
        let here = (core.info.reader.as_ref()).filter(|_| !delete);
        let read = here.and_then(|r| r.batch(position, &mut out.keys, &mut out.values));
        let (done, next) = match read {
            Some(read) => read.map_err(|e| refused(e.errno))?,
            None => ask(core, position, &mut out, (count, delete))?,
        };
        out.count = (done as usize).min(n);
        out.keys.truncate(out.count * self.key_size());
        out.values.truncate(out.count * self.value_len());
        out.next = next.map(|n| Position(At::Number(n)));
        Ok(out)
    }

    fn by_keys(&self, from: Option<&Position>, count: u32) -> Result<Elements> {
        let mut last = match from {
            None => None,
            Some(Position(At::Key(key))) => Some(key.clone()),
            Some(Position(At::Number(_))) => return Err(refused(errno::EINVAL)),
        };
        let mut out = Elements::default();
        // A map that never ends is cut off.
        for _ in 0..u64::from(self.max_entries()) * 2 + 16 {
            if out.count == count as usize {
                break;
            }
            let Some(key) = self.next_key(last.as_deref())? else {
                return Ok(out);
            };
            if let Some(value) = self.get(&key)? {
                out.keys.extend_from_slice(&key);
                out.values.extend_from_slice(&value);
                out.count += 1;
            }
            last = Some(key);
        }
        out.next = last.map(|key| Position(At::Key(key)));
        Ok(out)
    }
}

fn ask(
    core: &MapCore,
    position: u64,
    out: &mut Elements,
    (count, delete): (u32, bool),
) -> Result<(u32, Option<u64>)> {
    let answer = core.batch(Batch {
        select: match delete {
            true => select::LOOKUP_AND_DELETE,
            false => select::LOOKUP,
        },
        position,
        keys: &mut out.keys,
        values: &mut out.values,
        count,
        flags: 0,
    })?;
    match answer.stopped {
        Ok(()) => Ok((answer.count, Some(answer.next))),
        Err(e) if e.errno() == errno::ENOENT => Ok((answer.count, None)),
        Err(e) => Err(e),
    }
}

/// How a type is walked.
enum Way {
    None,
    Numbers,
    Keys,
}

/// By type and selector, which batches Linux has.
fn way(map_type: MapType, op: u64) -> Way {
    use MapType::*;
    match map_type {
        Hash | LruHash | PercpuHash | LruPercpuHash => Way::Numbers,
        Array | PercpuArray if op == select::LOOKUP || op == select::UPDATE => Way::Numbers,
        ArrayOfMaps if op == select::LOOKUP || op == select::UPDATE => Way::Keys,
        LpmTrie if op != select::LOOKUP_AND_DELETE => Way::Keys,
        HashOfMaps => Way::Keys,
        _ => Way::None,
    }
}

fn refused(errno: i32) -> crate::Error {
    let op = "batch";
    CallerError::Refused { op, errno }.into()
}
