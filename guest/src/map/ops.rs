//! The host's map operations ([`bpfvisor_abi::op::code`]).
use super::MapObject;
use crate::dispatch::{Answer, Call};
use crate::hal::headroom;
use crate::object::Object;
use alloc::boxed::Box;
use alloc::sync::Arc;
use bpf_core::map::MapError;
use bpf_core::uapi::{MapType, errno};
use bpfvisor_abi::op::{MapRecord, NO_KEY};
use core::sync::atomic::Ordering;

type Done = Result<(), i32>;

const OK: Answer = Ok([0; 7]);

/// `MAP_CREATE`.
pub fn create(c: &Call<'_>) -> Answer {
    let rec: MapRecord = c.rt.shared.read(c.arg[0]).ok_or(errno::EFAULT)?;
    // Of maps only the tables of tail calls lie in the heap.
    let table = match MapType::from_u32(rec.map_type) {
        Some(MapType::ProgArray) => rec.max_entries as usize * size_of::<u64>(),
        _ => 0,
    };
    headroom(table)?;
    let map = MapObject::new(c.rt, &rec)?;
    let object = Object::Map(Arc::clone(&map));
    let handle = c.rt.objects.place(object, rec.handle)?;
    map.handle.store(handle, Ordering::Relaxed);
    Ok([u64::from(handle), 0, 0, 0, 0, 0, 0])
}

/// `MAP_FREE`. A program array lets its programs go: one of them may refer to the
/// array, and neither would ever be dropped.
pub fn free(c: &Call<'_>) -> Answer {
    let map = map(c)?;
    empty(c, map);
    let inner = map.inner;
    if inner != 0 {
        c.rt.objects.remove(inner, &c.rt.grace, c.vcpu);
    }
    match c.rt.objects.remove(c.arg[0] as u32, &c.rt.grace, c.vcpu) {
        true => OK,
        false => Err(errno::EBADF),
    }
}

/// `MAP_CLEAR`.
pub fn clear(c: &Call<'_>) -> Answer {
    empty(c, map(c)?);
    OK
}

/// `MAP_FREEZE`.
pub fn freeze(c: &Call<'_>) -> Answer {
    match map(c)?.frozen.swap(true, Ordering::Relaxed) {
        false => OK,
        true => Err(errno::EBUSY),
    }
}

/// `MAP_UPDATE`.
pub fn update(c: &Call<'_>) -> Answer {
    let m = writable(c)?;
    let key = key(c, m, c.arg[1])?;
    let value = bytes(c, c.arg[2], m.map.geometry().user_value_size())?;
    update_one(c, m, key, value, c.arg[3])?;
    OK
}

/// `MAP_LOOKUP`.
pub fn lookup(c: &Call<'_>) -> Answer {
    let m = map(c)?;
    let key = key(c, m, c.arg[1])?;
    let out = bytes_mut(c, c.arg[2], m.map.geometry().user_value_size())?;
    m.map.sys_lookup(key, out, c.arg[3]).map_err(number)?;
    OK
}

/// `MAP_DELETE`.
pub fn delete(c: &Call<'_>) -> Answer {
    let m = writable(c)?;
    delete_one(c, m, key(c, m, c.arg[1])?)?;
    OK
}

/// `MAP_NEXT_KEY`.
pub fn next_key(c: &Call<'_>) -> Answer {
    let m = map(c)?;
    let key = match c.arg[1] {
        NO_KEY => None,
        off => Some(key(c, m, off)?),
    };
    let out = bytes_mut(c, c.arg[2], m.map.geometry().key_size.into())?;
    m.map.sys_next_key(key, out).map_err(number)?;
    OK
}

/// `MAP_LOOKUP_AND_DELETE`.
pub fn lookup_and_delete(c: &Call<'_>) -> Answer {
    let m = writable(c)?;
    let key = key(c, m, c.arg[1])?;
    let out = bytes_mut(c, c.arg[2], m.map.geometry().user_value_size())?;
    m.map.sys_take(c.vcpu, key, out, c.arg[3]).map_err(number)?;
    OK
}

/// `MAP_BATCH`: see [`bpfvisor_abi::op::batch`] for the selector. Where an
/// element fails, the answer is its errno and `val` still counts those before.
pub fn batch(c: &Call<'_>) -> (i32, [u64; 7]) {
    let mut done = [0; 7];
    let status = match batch_of(c, &mut done) {
        Ok(()) => 0,
        Err(e) => -e,
    };
    (status, done)
}

fn batch_of(c: &Call<'_>, done: &mut [u64; 7]) -> Done {
    use bpfvisor_abi::op::batch::*;
    let [_, select, keys, values, count, position, flags] = c.arg;
    let count = u32::try_from(count).map_err(|_| errno::EINVAL)?;
    let m = match select {
        LOOKUP => map(c)?,
        _ => writable(c)?,
    };
    if count == 0 {
        return Ok(());
    }
    let (key_size, value_size) = sizes(m);
    let keys_len = key_size * u64::from(count);
    let values_len = value_size
        .checked_mul(u64::from(count))
        .ok_or(errno::EINVAL)?;
    match select {
        LOOKUP | LOOKUP_AND_DELETE => {
            let k = bytes_mut(c, keys, keys_len)?;
            let v = bytes_mut(c, values, values_len)?;
            let delete = select == LOOKUP_AND_DELETE;
            let (n, next) = m
                .map
                .sys_batch(c.vcpu, position, k, v, delete)
                .map_err(number)?;
            *done = [n.into(), next.unwrap_or(0), 0, 0, 0, 0, 0];
            next.map(|_| ()).ok_or(errno::ENOENT)
        }
        UPDATE => {
            let k = bytes(c, keys, keys_len)?.chunks_exact(key_size.max(1) as usize);
            let v = bytes(c, values, values_len)?.chunks_exact(value_size.max(1) as usize);
            k.zip(v).try_for_each(|(k, v)| {
                update_one(c, m, k, v, flags)?;
                done[0] += 1;
                Ok(())
            })
        }
        DELETE => bytes(c, keys, keys_len)?
            .chunks_exact(key_size.max(1) as usize)
            .try_for_each(|k| {
                delete_one(c, m, k)?;
                done[0] += 1;
                Ok(())
            }),
        _ => Err(errno::EINVAL),
    }
}

fn update_one(c: &Call<'_>, m: &MapObject, key: &[u8], value: &[u8], flags: u64) -> Done {
    let handle = || {
        let b = value.get(..4).and_then(|v| <[u8; 4]>::try_from(v).ok());
        b.map(u32::from_le_bytes).ok_or(errno::EINVAL)
    };
    match m.map_type() {
        MapType::ProgArray => {
            let prog = c.rt.objects.prog(handle()?).ok_or(errno::EBADF)?;
            if !m.admits(prog.owner()) {
                return Err(errno::EINVAL);
            }
            m.map
                .sys_update(c.vcpu, key, value, flags)
                .map_err(number)?;
            set_prog(c, m, key, Some(Arc::clone(prog)));
            Ok(())
        }
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            let inner = c.rt.objects.map(handle()?).ok_or(errno::EBADF)?;
            if !m.admits_inner(inner) {
                return Err(errno::EINVAL);
            }
            m.map.sys_update(c.vcpu, key, value, flags).map_err(number)
        }
        MapType::PerfEventArray => {
            let ring = c.rt.objects.map(handle()?);
            match ring.is_some_and(|r| r.map_type() == MapType::Ringbuf) {
                true => m.map.sys_update(c.vcpu, key, value, flags).map_err(number),
                false => Err(errno::EBADF),
            }
        }
        _ => m.map.sys_update(c.vcpu, key, value, flags).map_err(number),
    }
}

fn delete_one(c: &Call<'_>, m: &MapObject, key: &[u8]) -> Done {
    m.map.sys_delete(c.vcpu, key).map_err(number)?;
    set_prog(c, m, key, None);
    Ok(())
}

/// Changes a slot of a program array; the program that was there may be running.
fn set_prog(c: &Call<'_>, m: &MapObject, key: &[u8], prog: Option<Arc<crate::program::Prog>>) {
    let (Some(slots), Ok(index)) = (&m.progs, <[u8; 4]>::try_from(key)) else {
        return;
    };
    if let Some(old) = slots.replace(u32::from_le_bytes(index), prog) {
        c.rt.grace.retire(c.vcpu, Box::new(old));
    }
}

/// Empties a program array.
fn empty(c: &Call<'_>, m: &MapObject) {
    for index in m.progs.iter().flat_map(|p| p.taken()) {
        // An index that is empty by now is as good.
        let _ = delete_one(c, m, &index.to_le_bytes());
    }
}

fn map<'a>(c: &Call<'a>) -> Result<&'a MapObject, i32> {
    c.rt.objects
        .map(c.arg[0] as u32)
        .map(|m| &**m)
        .ok_or(errno::EBADF)
}

fn writable<'a>(c: &Call<'a>) -> Result<&'a MapObject, i32> {
    let m = map(c)?;
    if m.frozen.load(Ordering::Relaxed) {
        Err(errno::EPERM)
    } else {
        Ok(m)
    }
}

/// Bytes per key and per value as the host passes them.
fn sizes(m: &MapObject) -> (u64, u64) {
    let geo = m.map.geometry();
    (geo.key_size.into(), geo.user_value_size())
}

fn key<'a>(c: &Call<'a>, m: &MapObject, off: u64) -> Result<&'a [u8], i32> {
    bytes(c, off, m.map.geometry().key_size.into())
}

fn bytes<'a>(c: &Call<'a>, off: u64, len: u64) -> Result<&'a [u8], i32> {
    match len {
        0 => Ok(&[]),
        _ => c.rt.shared.bytes(off, len).ok_or(errno::EFAULT),
    }
}

fn bytes_mut<'a>(c: &Call<'a>, off: u64, len: u64) -> Result<&'a mut [u8], i32> {
    match len {
        0 => Ok(&mut []),
        _ => c.rt.shared.bytes_mut(off, len).ok_or(errno::EFAULT),
    }
}

fn number(e: MapError) -> i32 {
    e.errno
}
