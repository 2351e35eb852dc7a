//! `BPF_*_GET_NEXT_ID` and `BPF_*_GET_FD_BY_ID`, `BPF_PROG_BIND_MAP`.

use super::attr::{BindMap, GetId};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use super::{UserMemory, btf};
use crate::Vm;
use crate::map::{MapCore, access};
use crate::program::ProgramCore;
use crate::registry::Known;
use crate::source;
use bpf_core::uapi::{Cmd, errno};
use bpfvisor_vmm::{Kind, Object};
use std::mem::offset_of;
use std::sync::Arc;

/// The smallest id behind the one given.
pub(super) fn next<M: UserMemory>(call: &mut Call<'_, M>, cmd: Cmd) -> Result<i64> {
    let attr: GetId = call.get_until(offset_of!(GetId, open_flags))?;
    if attr.start_id >= i32::MAX as u32 {
        return Err(invalid(format!(
            "start_id {} is out of range",
            attr.start_id
        )));
    }
    let vm = call.session.vm();
    let registry = &vm.inner.registry;
    registry.sweep();
    registry.btfs.sweep();
    let next = match cmd {
        Cmd::MapGetNextId => next_object(vm, attr.start_id, Kind::Map)?,
        Cmd::ProgGetNextId => next_object(vm, attr.start_id, Kind::Program)?,
        Cmd::BtfGetNextId => registry.btf_ids.after(attr.start_id),
        _ => registry.link_ids.after(attr.start_id),
    };
    let next = next.ok_or_else(|| refuse(errno::ENOENT, "there is no further id"))?;
    call.put(offset_of!(GetId, next_id), next);
    Ok(0)
}

/// A descriptor for what has this id.
pub(super) fn get<M: UserMemory>(call: &mut Call<'_, M>, cmd: Cmd) -> Result<i64> {
    let end = match cmd {
        Cmd::MapGetFdById => 12,
        Cmd::BtfGetFdById => 16,
        _ => 4,
    };
    let attr: GetId = call.get_until(end)?;
    let known = match cmd {
        Cmd::MapGetFdById => access::MODE,
        Cmd::BtfGetFdById => 0,
        _ => u32::MAX,
    };
    if attr.open_flags & !known != 0 {
        return Err(invalid(format!(
            "unknown open_flags {:#x}",
            attr.open_flags
        )));
    }
    let access = access::of_flags(attr.open_flags)?;
    let vm = call.session.vm();
    let registry = &vm.inner.registry;
    registry.sweep();
    registry.btfs.sweep();
    let id = attr.start_id;
    let none = || refuse(errno::ENOENT, format!("nothing has the id {id}"));
    match cmd {
        Cmd::MapGetFdById => {
            let map = object(vm, id, Kind::Map)?.ok_or_else(none)?;
            answer(vm.export_for(&map, access)?)
        }
        Cmd::ProgGetFdById => {
            let program = object(vm, id, Kind::Program)?.ok_or_else(none)?;
            answer(vm.export(&program)?)
        }
        Cmd::BtfGetFdById => {
            let object = registry.btf_ids.get(id).ok_or_else(none)?;
            answer(btf::export(vm, &object)?)
        }
        _ => {
            let link = registry.link_ids.get(id).ok_or_else(none)?;
            answer(source::export(vm, &link)?)
        }
    }
}

/// The number of an object, of a kind.
fn next_object(vm: &Vm, after: u32, kind: Kind) -> Result<Option<u32>> {
    if vm.is_remote() {
        let all = vm.inner.vmm.list(kind);
        let all = all.map_err(|e| vm.inner.failed("list", e))?;
        return Ok(all.iter().map(|d| d.id).find(|&id| id > after));
    }
    let wanted = |known: &Known| known.kind() == kind;
    Ok(vm.inner.registry.id_after(after, wanted))
}

/// The object with a number.
fn object(vm: &Vm, id: u32, kind: Kind) -> Result<Option<Arc<Object>>> {
    if vm.is_remote() {
        let found = vm.inner.vmm.open_id(kind, id);
        return Ok(found.map_err(|e| vm.inner.failed("open", e))?);
    }
    let wanted = |known: &Known| known.kind() == kind;
    Ok(vm.inner.registry.by_id(id, wanted))
}

pub(super) fn bind<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: BindMap = call.get()?;
    if attr.flags != 0 {
        return Err(invalid(format!("unknown flags {:#x}", attr.flags)));
    }
    let vm = call.session.vm();
    let program = ProgramCore::from_fd(vm, fd(attr.prog_fd))?;
    let map = MapCore::from_fd(vm, fd(attr.map_fd))?;
    program.bind(&map)?;
    Ok(0)
}
