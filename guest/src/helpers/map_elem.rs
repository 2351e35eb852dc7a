//! Elements of maps.
use super::Args;
use crate::env::Env;
use crate::map::MapObject;
use crate::memory::{self, bytes, bytes_mut};
use bpf_core::map::MapError;
use bpf_core::uapi::MapType;

fn number(e: MapError) -> i32 {
    e.errno
}

#[inline(always)]
fn key<'a>(m: &MapObject, at: u64) -> &'a [u8] {
    bytes(at, m.map.geometry().key_size.into())
}

#[inline(always)]
fn value<'a>(m: &MapObject, at: u64) -> &'a [u8] {
    bytes(at, m.map.geometry().value_size.into())
}

/// `bpf_map_lookup_elem(map, key)`: in a map of maps, the inner map.
#[inline]
pub fn lookup(env: &Env<'_>, [map, at, ..]: Args) -> u64 {
    let m = memory::map(map);
    if matches!(m.map_type(), MapType::ArrayOfMaps | MapType::HashOfMaps) {
        let handle = m.map.lookup_handle(key(m, at));
        return handle
            .and_then(|h| env.rt.objects.map(h))
            .map_or(0, |inner| inner.address());
    }
    m.map.lookup(env.vcpu, key(m, at)).unwrap_or(0)
}

/// `bpf_map_update_elem(map, key, value, flags)`.
#[inline]
pub fn update(env: &Env<'_>, [map, at, from, flags, _]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    m.map
        .update(env.vcpu, key(m, at), value(m, from), flags)
        .map_err(number)
}

/// `bpf_map_delete_elem(map, key)`.
#[inline]
pub fn delete(env: &Env<'_>, [map, at, ..]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    m.map.delete(env.vcpu, key(m, at)).map_err(number)
}

/// `bpf_map_push_elem(map, value, flags)`.
pub fn push(_env: &Env<'_>, [map, from, flags, ..]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    m.map.push(value(m, from), flags).map_err(number)
}

/// `bpf_map_pop_elem(map, value)`.
pub fn pop(_env: &Env<'_>, [map, to, ..]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    m.map
        .pop(bytes_mut(to, m.map.geometry().value_size.into()))
        .map_err(number)
}

/// `bpf_map_peek_elem(map, value)`.
pub fn peek(_env: &Env<'_>, [map, to, ..]: Args) -> Result<(), i32> {
    let m = memory::map(map);
    m.map
        .peek(bytes_mut(to, m.map.geometry().value_size.into()))
        .map_err(number)
}

/// `bpf_map_lookup_percpu_elem(map, key, cpu)`: null for a CPU that is not there.
pub fn lookup_percpu(_env: &Env<'_>, [map, at, cpu, ..]: Args) -> u64 {
    let m = memory::map(map);
    let cpu = cpu as u32;
    if cpu >= m.map.geometry().cpus {
        return 0;
    }
    m.map.lookup(cpu, key(m, at)).unwrap_or(0)
}
