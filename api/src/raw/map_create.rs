//! `BPF_MAP_CREATE`.

use super::attr::MapCreate;
use super::call::{Call, Result, answer, fd, invalid, name};
use super::{UserMemory, map_types};
use crate::map::MapCore;
use crate::spec::MapSpec;
use bpf_core::uapi::{MapType, map_flags};

/// `BPF_F_VTYPE_BTF_OBJ_FD` and `BPF_F_TOKEN_FD`: descriptors of kernel objects.
const KERNEL_FDS: u32 = 1 << 15 | 1 << 16;

pub(super) fn create<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: MapCreate = call.get()?;
    check(&attr)?;
    let map_type = MapType::from_u32(attr.map_type)
        .filter(|t| *t != MapType::Unspec)
        .ok_or_else(|| invalid(format!("there is no map type {}", attr.map_type)))?;
    let vm = call.session.vm();
    let inner = match map_type {
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            Some(MapCore::from_fd(vm, fd(attr.inner_map_fd))?)
        }
        _ => None,
    };
    let types = map_types::read(vm, &attr, map_type)?;
    let spec = MapSpec {
        name: name(&attr.map_name)?,
        map_type,
        key_size: attr.key_size,
        value_size: attr.value_size,
        max_entries: attr.max_entries,
        flags: attr.map_flags,
        extra: attr.map_extra,
        spin_lock_off: types.as_ref().and_then(|t| t.spin_lock),
        inner: None,
        types,
    };
    let (_, fd) = vm.new_map(spec, inner.as_ref())?;
    answer(fd)
}

fn check(attr: &MapCreate) -> Result<()> {
    if attr.map_flags & KERNEL_FDS != 0 {
        return Err(invalid("no BTF of modules and no tokens here"));
    }
    if attr.btf_vmlinux_value_type_id != 0 {
        return Err(invalid("btf_vmlinux_value_type_id is for struct_ops maps"));
    }
    if attr.btf_key_type_id != 0 && attr.btf_value_type_id == 0 {
        return Err(invalid("btf_key_type_id without btf_value_type_id"));
    }
    if attr.map_flags & map_flags::NUMA_NODE != 0 && attr.numa_node != 0 {
        return Err(invalid("a VM has NUMA node 0 only"));
    }
    if attr.map_ifindex != 0 {
        return Err(invalid("maps can't be offloaded to a device here"));
    }
    if attr.excl_prog_hash != 0 || attr.excl_prog_hash_size != 0 {
        return Err(invalid("maps of one program only are not supported"));
    }
    Ok(())
}
