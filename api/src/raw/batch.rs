//! The commands on many elements.
//!
//! A position is 4 bytes (a bucket or index), but a key for the types that are
//! walked by keys. Linux says as much: at least 4 bytes, at most a key.

use super::UserMemory;
use super::attr::Batch as Attr;
use super::call::{Call, Result, fd, invalid, refuse};
use crate::map::{Batch, MapCore};
use bpf_core::uapi::{Cmd, MapType, elem_flags, errno};
use bpfvisor_abi::op::batch as select;
use std::mem::offset_of;

/// Bytes of keys and values that one request carries, unless a bucket needs more.
const PORTION: usize = 256 << 10;

pub(super) fn batch<M: UserMemory>(call: &mut Call<'_, M>, cmd: Cmd) -> Result<i64> {
    let attr: Attr = call.get()?;
    let map = MapCore::from_fd(call.session.vm(), fd(attr.map_fd))?;
    permitted(&map, cmd)?;
    let Some(way) = way(map.map_type(), cmd) else {
        return Err(refuse(
            errno::ENOTSUPP,
            format!(
                "maps of type {} have no {}",
                map.map_type().name(),
                cmd.name()
            ),
        ));
    };
    if attr.elem_flags & !elem_flags::F_LOCK != 0 {
        return Err(invalid("elem_flags: only BPF_F_LOCK"));
    }
    if attr.elem_flags != 0 && map.info.spin_lock.is_none() {
        return Err(invalid("BPF_F_LOCK, but the values have no spin lock"));
    }
    if way == Way::Buckets && attr.flags != 0 {
        return Err(invalid("flags must be zero"));
    }
    if attr.count == 0 {
        return Ok(0);
    }
    let mut done = 0;
    let result = match cmd {
        Cmd::MapUpdateBatch => change(call, &map, &attr, true, &mut done),
        Cmd::MapDeleteBatch => change(call, &map, &attr, false, &mut done),
        _ if way == Way::Keys => {
            let delete = cmd == Cmd::MapLookupAndDeleteBatch;
            by_keys(call, &map, &attr, delete, &mut done)
        }
        _ => {
            let delete = cmd == Cmd::MapLookupAndDeleteBatch;
            by_position(call, &map, &attr, delete, &mut done)
        }
    };
    call.put(offset_of!(Attr, count), done);
    result.map(|()| 0)
}

fn permitted(map: &MapCore, cmd: Cmd) -> Result<()> {
    if cmd != Cmd::MapLookupBatch {
        map.writable()?;
    }
    if matches!(cmd, Cmd::MapLookupBatch | Cmd::MapLookupAndDeleteBatch) {
        map.readable()?;
    }
    Ok(())
}

/// How a type is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Buckets,
    Indices,
    Keys,
}

/// `None` where Linux has no such operation for the type.
fn way(map_type: MapType, cmd: Cmd) -> Option<Way> {
    use MapType::*;
    let changes_only = matches!(cmd, Cmd::MapUpdateBatch | Cmd::MapDeleteBatch);
    match map_type {
        Hash | LruHash | PercpuHash | LruPercpuHash if changes_only => Some(Way::Keys),
        Hash | LruHash | PercpuHash | LruPercpuHash => Some(Way::Buckets),
        Array | PercpuArray => match cmd {
            Cmd::MapLookupBatch | Cmd::MapUpdateBatch => Some(Way::Indices),
            _ => None,
        },
        ArrayOfMaps => match cmd {
            Cmd::MapLookupBatch | Cmd::MapUpdateBatch => Some(Way::Keys),
            _ => None,
        },
        LpmTrie if cmd == Cmd::MapLookupAndDeleteBatch => None,
        LpmTrie | HashOfMaps => Some(Way::Keys),
        _ => None,
    }
}

/// Updates or deletes element by element, as Linux does, up to the first that
/// fails.
fn change<M: UserMemory>(
    call: &Call<'_, M>,
    map: &MapCore,
    attr: &Attr,
    update: bool,
    done: &mut u32,
) -> Result<()> {
    let (key_len, value_len) = (map.key_size(), map.value_len());
    while *done < attr.count {
        let key = call.read_vec(element(attr.keys, *done, key_len), key_len)?;
        if update {
            let at = element(attr.values, *done, value_len);
            let value = call.read_vec(at, value_len)?;
            map.update(&key, &value, attr.elem_flags)?;
        } else {
            map.delete(&key)?;
        }
        *done += 1;
    }
    Ok(())
}

fn element(base: u64, index: u32, len: usize) -> u64 {
    base.wrapping_add(u64::from(index).wrapping_mul(len as u64))
}

/// Looks up (and deletes) whole buckets.
fn by_position<M: UserMemory>(
    call: &Call<'_, M>,
    map: &MapCore,
    attr: &Attr,
    delete: bool,
    done: &mut u32,
) -> Result<()> {
    let mut position = [0; 4];
    if attr.in_batch != 0 {
        call.read(attr.in_batch, &mut position)?;
    }
    let mut position = u32::from_ne_bytes(position);
    let size = (map.key_size() + map.value_len()).max(1);
    // More than the map can hold is never needed, but it takes one more to find
    // the end.
    let most = attr.count.min(map.geometry().max_entries.saturating_add(1));
    let mut portion = most.min((PORTION / size).max(1) as u32);
    // No map has more buckets; a guest that goes on and on is cut off.
    let mut steps = u64::from(map.geometry().max_entries) * 2 + 64;
    let end = loop {
        steps -= 1;
        if steps == 0 {
            break Err(refuse(errno::EPROTO, "the guest's walk does not end"));
        }
        let room = portion.min(most - *done);
        match fetch(call, map, attr, *done, (position, room, delete)) {
            Ok((count, next)) => {
                *done += count;
                let Some(next) = next else {
                    position = u32::MAX;
                    break Err(refuse(errno::ENOENT, "the end of the map was reached"));
                };
                if next <= position {
                    break Err(refuse(errno::EPROTO, "the guest's walk stands still"));
                }
                position = next;
                if *done == most {
                    break Ok(());
                }
            }
            Err(e) if e.errno == errno::ENOSPC && room < most - *done => {
                portion = portion.saturating_mul(2);
            }
            // The next bucket does not fit any more.
            Err(e) if e.errno == errno::ENOSPC && *done > 0 => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    let told = end.as_ref().err().map_or(0, |e| e.errno);
    if told == 0 || told == errno::ENOENT {
        let written = call.write(attr.out_batch, &position.to_ne_bytes());
        if written.is_err() && way(map.map_type(), Cmd::MapLookupBatch) == Some(Way::Buckets) {
            *done = 0; // as Linux does, for hash tables only
        }
        written?;
    }
    end
}

/// One request of `room` elements; gives how many came, and the next position.
fn fetch<M: UserMemory>(
    call: &Call<'_, M>,
    map: &MapCore,
    attr: &Attr,
    done: u32,
    (position, room, delete): (u32, u32, bool),
) -> Result<(u32, Option<u32>)> {
    let (key_len, value_len) = (map.key_size(), map.value_len());
    let mut keys = vec![0; key_len * room as usize];
    let mut values = vec![0; value_len * room as usize];
    let answer = map.batch(Batch {
        select: match delete {
            true => select::LOOKUP_AND_DELETE,
            false => select::LOOKUP,
        },
        position: position.into(),
        keys: &mut keys,
        values: &mut values,
        count: room,
        flags: attr.elem_flags,
    })?;
    let next = match answer.stopped {
        Ok(()) => Some(u32::try_from(answer.next).unwrap_or(u32::MAX)),
        Err(e) if e.errno() == errno::ENOENT => None,
        Err(e) => return Err(e.into()),
    };
    let count = answer.count as usize;
    let at = |base, len| element(base, done, len);
    call.write(at(attr.keys, key_len), &keys[..count * key_len])?;
    call.write(at(attr.values, value_len), &values[..count * value_len])?;
    Ok((answer.count, next))
}

/// Looks up key by key; the position is the last key.
fn by_keys<M: UserMemory>(
    call: &Call<'_, M>,
    map: &MapCore,
    attr: &Attr,
    delete: bool,
    done: &mut u32,
) -> Result<()> {
    let (key_len, value_len) = (map.key_size(), map.value_len());
    let mut last = match attr.in_batch {
        0 => None,
        addr => Some(call.read_vec(addr, key_len)?),
    };
    let mut value = vec![0; value_len];
    let mut steps = u64::from(map.geometry().max_entries) * 2 + 16;
    let end = loop {
        if *done == attr.count {
            break Ok(());
        }
        let mut key = vec![0; key_len];
        if let Err(e) = map.next_key(last.as_deref(), &mut key) {
            break Err(e.into());
        }
        match map.lookup(&key, &mut value, attr.elem_flags) {
            Ok(()) => {
                call.write(element(attr.keys, *done, key_len), &key)?;
                call.write(element(attr.values, *done, value_len), &value)?;
                if delete {
                    map.delete(&key)?;
                }
                *done += 1;
            }
            Err(e) if e.errno() == errno::ENOENT => {} // gone meanwhile, or empty
            Err(e) => break Err(e.into()),
        }
        last = Some(key);
        steps -= 1;
        if steps == 0 {
            break Err(refuse(errno::EBUSY, "the map changes too fast"));
        }
    };
    if let (Some(last), true) = (&last, *done > 0) {
        call.write(attr.out_batch, last)?;
    }
    end
}
