//! `BPF_LINK_CREATE`, `BPF_LINK_UPDATE`, `BPF_LINK_DETACH`: XDP programs on the
//! packet sources of a VM, see [`crate::PacketSource`].

use super::UserMemory;
use super::attr::{GetInfo, LinkCreate, LinkDetach, LinkInfo, LinkUpdate};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use crate::program::ProgramCore;
use crate::source::{self, LinkState};
use bpf_core::uapi::{ProgType, errno};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// `BPF_XDP` of `enum bpf_attach_type`.
const XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP`.
const TYPE_XDP: u32 = 6;
/// `XDP_FLAGS_SKB_MODE`; all are the same here.
const SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE` and `XDP_FLAGS_HW_MODE`.
const DRV_MODE: u32 = 1 << 2;
const HW_MODE: u32 = 1 << 3;
/// `BPF_F_REPLACE`.
const REPLACE: u32 = 1 << 2;

pub(super) fn create<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: LinkCreate = call.get()?;
    let vm = call.session.vm();
    let program = ProgramCore::from_fd(vm, fd(attr.prog_fd))?;
    if program.prog_type() != ProgType::Xdp || attr.attach_type != XDP {
        return Err(invalid(
            "only XDP programs (attach_type BPF_XDP) can be linked to a packet source",
        ));
    }
    let source = vm.inner.registry.sources.get(attr.target_ifindex);
    let source = source.ok_or_else(|| {
        invalid(format!(
            "the VM has no packet source {}",
            attr.target_ifindex
        ))
    })?;
    match attr.flags {
        0 | SKB_MODE => {}
        DRV_MODE | HW_MODE => {
            return Err(refuse(
                errno::EOPNOTSUPP,
                "a packet source is no driver and no hardware",
            ));
        }
        other => return Err(invalid(format!("flags {other:#x} name no one mode"))),
    }
    let link = source::link(vm, &source, &program)?;
    answer(source::export(vm, &link)?)
}

fn from_fd<M: UserMemory>(call: &Call<'_, M>, number: u32) -> Result<Arc<LinkState>> {
    let fd = fd(number);
    let found = call.session.vm().inner.registry.links.resolve(fd);
    found.ok_or_else(|| match std::fs::metadata(format!("/proc/self/fd/{fd}")) {
        Ok(_) => invalid(format!("fd {fd} is no link of this VM")),
        Err(_) => refuse(errno::EBADF, format!("fd {fd} is not open")),
    })
}

pub(super) fn update<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: LinkUpdate = call.get()?;
    if attr.flags & !REPLACE != 0 {
        return Err(invalid(format!("unknown flags {:#x}", attr.flags)));
    }
    let vm = call.session.vm();
    let link = from_fd(call, attr.link_fd)?;
    let new = ProgramCore::from_fd(vm, fd(attr.new_prog_fd))?;
    let old = if attr.flags & REPLACE != 0 {
        Some(ProgramCore::from_fd(vm, fd(attr.old_prog_fd))?)
    } else if attr.old_prog_fd != 0 {
        return Err(invalid("old_prog_fd without BPF_F_REPLACE"));
    } else {
        None
    };
    link.update(&new, old.as_ref())?;
    Ok(0)
}

pub(super) fn detach<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: LinkDetach = call.get()?;
    from_fd(call, attr.link_fd)?.detach();
    Ok(0)
}

/// What `BPF_OBJ_GET_INFO_BY_FD` says; `None` where the descriptor is no link.
pub(super) fn info<M: UserMemory>(call: &Call<'_, M>, attr: &GetInfo) -> Result<Option<Vec<u8>>> {
    let registry = &call.session.vm().inner.registry;
    let Some(link) = registry.links.resolve(fd(attr.bpf_fd)) else {
        return Ok(None);
    };
    call.read_struct(attr.info, attr.info_len, size_of::<LinkInfo>())?;
    let info = LinkInfo {
        r#type: TYPE_XDP,
        id: link.id,
        prog_id: link.prog_id(),
        _ifindex: link.linked_index(),
        ..LinkInfo::default()
    };
    Ok(Some(info.as_bytes().to_vec()))
}
