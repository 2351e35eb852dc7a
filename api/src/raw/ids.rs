//! `BPF_*_GET_NEXT_ID` and `BPF_*_GET_FD_BY_ID`, `BPF_PROG_BIND_MAP`.

use super::attr::{BindMap, GetId};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use super::{UserMemory, btf};
use crate::map::MapCore;
use crate::program::ProgramCore;
use crate::registry::Known;
use crate::source;
use bpf_core::uapi::{Cmd, errno, map_flags};
use std::mem::offset_of;

fn is_map(known: &Known) -> bool {
    matches!(known, Known::Map(_))
}

fn is_program(known: &Known) -> bool {
    matches!(known, Known::Program(_))
}

/// The smallest id behind the one given.
pub(super) fn next<M: UserMemory>(call: &mut Call<'_, M>, cmd: Cmd) -> Result<i64> {
    let attr: GetId = call.get_until(offset_of!(GetId, open_flags))?;
    if attr.start_id >= i32::MAX as u32 {
        return Err(invalid(format!(
            "start_id {} is out of range",
            attr.start_id
        )));
    }
    let registry = &call.session.vm().inner.registry;
    registry.sweep();
    registry.btfs.sweep();
    let next = match cmd {
        Cmd::MapGetNextId => registry.id_after(attr.start_id, is_map),
        Cmd::ProgGetNextId => registry.id_after(attr.start_id, is_program),
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
    if matches!(cmd, Cmd::MapGetFdById | Cmd::BtfGetFdById) {
        check_flags(attr.open_flags, cmd)?;
    }
    let vm = call.session.vm();
    let registry = &vm.inner.registry;
    registry.sweep();
    registry.btfs.sweep();
    let id = attr.start_id;
    let none = || refuse(errno::ENOENT, format!("nothing has the id {id}"));
    match cmd {
        Cmd::MapGetFdById => {
            let map = registry.by_id(id, is_map).ok_or_else(none)?;
            answer(vm.export(&map)?)
        }
        Cmd::ProgGetFdById => {
            let program = registry.by_id(id, is_program).ok_or_else(none)?;
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

/// Linux has descriptors through which a map can only be read, or written.
fn check_flags(flags: u32, cmd: Cmd) -> Result<()> {
    const MODE: u32 = map_flags::RDONLY | map_flags::WRONLY;
    if flags == 0 {
        return Ok(());
    }
    if cmd == Cmd::MapGetFdById && flags & !MODE == 0 && flags != MODE {
        return Err(refuse(
            errno::EOPNOTSUPP,
            "descriptors that only read or only write are not supported",
        ));
    }
    Err(invalid(format!("unknown open_flags {flags:#x}")))
}

pub(super) fn bind<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: BindMap = call.get()?;
    if attr.flags != 0 {
        return Err(invalid(format!("unknown flags {:#x}", attr.flags)));
    }
    let vm = call.session.vm();
    let program = ProgramCore::from_fd(vm, fd(attr.prog_fd))?;
    let map = MapCore::from_fd(vm, fd(attr.map_fd))?;
    program.bind(&map);
    Ok(0)
}
