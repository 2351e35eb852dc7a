//! The commands on one element, and `BPF_MAP_FREEZE`. Checks come in Linux's
//! order: flags, descriptor, permission, key, value.

use super::UserMemory;
use super::attr::Elem;
use super::call::{Call, Result, fd, invalid};
use crate::map::MapCore;
use bpf_core::uapi::{MapType, elem_flags};

/// Ends of the fields that are last in some command.
const MAP_FD_END: usize = 4;
const KEY_END: usize = 16;
const NEXT_KEY_END: usize = 24;

pub(super) fn lookup<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get()?;
    lock_only(attr.flags)?;
    let map = map(call, &attr)?;
    map.readable()?;
    let key = key(call, &map, attr.key)?;
    let mut value = match map.map_type() {
        MapType::BloomFilter => call.read_vec(attr.value, map.value_len())?,
        _ => vec![0; map.value_len()],
    };
    map.lookup(&key, &mut value, attr.flags)?;
    call.write(attr.value, &value)?;
    Ok(0)
}

pub(super) fn update<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get()?;
    let map = map(call, &attr)?;
    map.writable()?;
    let key = key(call, &map, attr.key)?;
    let value = call.read_vec(attr.value, map.value_len())?;
    map.update(&key, &value, attr.flags)?;
    Ok(0)
}

pub(super) fn delete<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get_until(KEY_END)?;
    let map = map(call, &attr)?;
    map.writable()?;
    map.delete(&key(call, &map, attr.key)?)?;
    Ok(0)
}

pub(super) fn next_key<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get_until(NEXT_KEY_END)?;
    let map = map(call, &attr)?;
    map.readable()?;
    let key = match attr.key {
        0 => None,
        addr => Some(key(call, &map, addr)?),
    };
    let mut next = vec![0; map.key_size()];
    map.next_key(key.as_deref(), &mut next)?;
    call.write(attr.value, &next)?;
    Ok(0)
}

pub(super) fn lookup_and_delete<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get()?;
    lock_only(attr.flags)?;
    let map = map(call, &attr)?;
    map.readable()?;
    map.writable()?;
    let keyless = matches!(map.map_type(), MapType::Queue | MapType::Stack);
    if keyless && attr.flags != 0 {
        return Err(invalid("queues and stacks take no flags"));
    }
    let key = key(call, &map, attr.key)?;
    let mut value = vec![0; map.value_len()];
    map.take(&key, &mut value, attr.flags)?;
    call.write(attr.value, &value)?;
    Ok(0)
}

pub(super) fn freeze<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: Elem = call.get_until(MAP_FD_END)?;
    map(call, &attr)?.freeze()?;
    Ok(0)
}

fn lock_only(flags: u64) -> Result<()> {
    if flags & !elem_flags::F_LOCK == 0 {
        Ok(())
    } else {
        Err(invalid(format!("flags {flags:#x}: only BPF_F_LOCK")))
    }
}

fn map<M: UserMemory>(call: &Call<'_, M>, attr: &Elem) -> Result<MapCore> {
    Ok(MapCore::from_fd(call.session.vm(), fd(attr.map_fd))?)
}

/// The key; maps without keys must not be given one.
fn key<M: UserMemory>(call: &Call<'_, M>, map: &MapCore, addr: u64) -> Result<Vec<u8>> {
    match map.key_size() {
        0 if addr != 0 => Err(invalid("this map has no keys: key must be 0")),
        len => call.read_vec(addr, len),
    }
}
