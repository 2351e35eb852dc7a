//! `BPF_OBJ_PIN` and `BPF_OBJ_GET`: names inside a VM, see [`crate::Vm::pin`].

use super::UserMemory;
use super::attr::ObjPin;
use super::call::{Call, Result, answer, fd, invalid, refuse};
use crate::map::access;
use crate::pins::LONGEST_PATH;
use crate::registry::Pinned;
use crate::source;
use bpf_core::uapi::errno;
use bpfvisor_vmm::{Access, Kind};
use std::path::PathBuf;

const ENOTDIR: i32 = libc::ENOTDIR;
/// `BPF_F_PATH_FD`.
const PATH_FD: u32 = 1 << 14;

/// The name: with BPF_F_PATH_FD, and unless it begins with a slash, one in the folder
/// that `path_fd` is.
fn path<M: UserMemory>(call: &Call<'_, M>, attr: &ObjPin) -> Result<String> {
    let name = call.read_string(attr.pathname, LONGEST_PATH)?;
    if attr.file_flags & PATH_FD == 0 || name.starts_with('/') || name.is_empty() {
        return Ok(name);
    }
    let folder = match attr.path_fd {
        libc::AT_FDCWD => PathBuf::from("/proc/self/cwd"),
        fd => PathBuf::from(format!("/proc/self/fd/{fd}")),
    };
    let path = std::fs::read_link(&folder).map_err(|_| {
        refuse(
            errno::EBADF,
            format!("path_fd {} is not open", attr.path_fd),
        )
    })?;
    if !folder.is_dir() {
        return Err(refuse(
            ENOTDIR,
            format!("path_fd {} is no folder", attr.path_fd),
        ));
    }
    Ok(path.join(name).to_string_lossy().into_owned())
}

fn check_path_fd(attr: &ObjPin) -> Result<()> {
    match attr.file_flags & PATH_FD == 0 && attr.path_fd != 0 {
        true => Err(invalid("path_fd without BPF_F_PATH_FD")),
        false => Ok(()),
    }
}

pub(super) fn pin<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: ObjPin = call.get()?;
    if attr.file_flags & !PATH_FD != 0 {
        return Err(invalid(format!(
            "unknown file_flags {:#x}",
            attr.file_flags
        )));
    }
    check_path_fd(&attr)?;
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
    let attr: ObjPin = call.get()?;
    if attr.bpf_fd != 0 || attr.file_flags & !(PATH_FD | access::MODE) != 0 {
        return Err(invalid(
            "bpf_fd is for pinning, and file_flags has unknown bits",
        ));
    }
    check_path_fd(&attr)?;
    let access = access::of_flags(attr.file_flags)?;
    let path = path(call, &attr)?;
    let vm = call.session.vm();
    match vm.pinned(&path)? {
        Pinned::Object(object) => {
            // A descriptor of a program has no modes.
            let access = match object.kind() {
                Kind::Map => access,
                Kind::Program => Access::Both,
            };
            answer(vm.export_for(&object, access)?)
        }
        Pinned::Link(_) if access != Access::Both => {
            Err(invalid("descriptors of links have no modes"))
        }
        Pinned::Link(link) => answer(source::export(vm, &link)?),
    }
}
