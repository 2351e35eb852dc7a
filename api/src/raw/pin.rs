//! `BPF_OBJ_PIN` and `BPF_OBJ_GET`: names inside a VM, see [`crate::Vm::pin`].

use super::UserMemory;
use super::attr::ObjPin;
use super::call::{Call, Result, answer, fd, invalid, refuse};
use crate::pins::LONGEST_PATH;
use crate::registry::Pinned;
use crate::source;
use bpf_core::uapi::{errno, map_flags};

/// `BPF_F_PATH_FD`.
const PATH_FD: u32 = 1 << 14;

fn path<M: UserMemory>(call: &Call<'_, M>, attr: &ObjPin) -> Result<String> {
    if attr.file_flags & PATH_FD != 0 {
        return Err(refuse(
            errno::EOPNOTSUPP,
            "names are of a VM, not relative to a folder",
        ));
    }
    if attr.path_fd != 0 {
        return Err(invalid("path_fd without BPF_F_PATH_FD"));
    }
    call.read_string(attr.pathname, LONGEST_PATH)
}

pub(super) fn pin<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: ObjPin = call.get()?;
    if attr.file_flags & !PATH_FD != 0 {
        return Err(invalid(format!(
            "unknown file_flags {:#x}",
            attr.file_flags
        )));
    }
    let path = path(call, &attr)?;
    let vm = call.session.vm();
    let number = fd(attr.bpf_fd);
    let what = match vm.inner.registry.links.resolve(number) {
        Some(link) => Pinned::Link(link),
        None => Pinned::Object(vm.any_object(number)?),
    };
    vm.pin_any(&path, what)?;
    Ok(0)
}

pub(super) fn get<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    const MODE: u32 = map_flags::RDONLY | map_flags::WRONLY;
    let attr: ObjPin = call.get()?;
    if attr.bpf_fd != 0 || attr.file_flags & !(PATH_FD | MODE) != 0 {
        return Err(invalid(
            "bpf_fd is for pinning, and file_flags has unknown bits",
        ));
    }
    if attr.file_flags & MODE == MODE {
        return Err(invalid("BPF_F_RDONLY and BPF_F_WRONLY together"));
    }
    let path = path(call, &attr)?;
    let vm = call.session.vm();
    let found = vm.pinned(&path)?;
    if attr.file_flags & MODE != 0 {
        return Err(refuse(
            errno::EOPNOTSUPP,
            "descriptors that only read or only write are not supported",
        ));
    }
    match found {
        Pinned::Object(object) => answer(vm.export(&object)?),
        Pinned::Link(link) => answer(source::export(vm, &link)?),
    }
}
