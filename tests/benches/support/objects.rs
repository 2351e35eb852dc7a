//! The programs of ELF objects as instructions, linked by aya: maps can be put into
//! them for the kernel and for a VM.

use aya_obj::generated::bpf_insn;
use aya_obj::{Map, Object, ProgramSection};
use bpf_core::insn::Insn;
use bpfvisor::uapi::{MapType, ProgType};
use bpfvisor::{MapSpec, Vm};
use bpfvisor_tests::kernel;
use std::collections::HashSet;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

/// A program with descriptors in it.
pub struct Linked {
    pub name: String,
    pub prog_type: ProgType,
    pub insns: Vec<Insn>,
}

/// Both forms of an object's programs, and the maps that their descriptors name.
pub struct Pair {
    pub kernel: Vec<Linked>,
    pub vm: Vec<Linked>,
    _kernel_maps: Vec<kernel::Map>,
    _vm_maps: Vec<bpfvisor::Map>,
}

impl Pair {
    /// Creates the maps on both sides. `None` where the kernel or aya does not take
    /// the object.
    pub fn open(vm: &Vm, path: &Path) -> Option<Self> {
        let object = Object::parse(&std::fs::read(path).unwrap()).ok()?;
        let mut maps: Vec<(&String, &Map)> = object.maps.iter().collect();
        maps.sort_by_key(|(name, _)| *name);
        let in_kernel: Vec<_> = maps
            .iter()
            .map(|(_, map)| in_kernel(map))
            .collect::<Option<_>>()?;
        let in_vm: Vec<_> = maps
            .iter()
            .map(|(_, map)| in_vm(vm, map))
            .collect::<Option<_>>()?;
        let fds = |fd: &dyn Fn(usize) -> RawFd| {
            let named = maps.iter().enumerate();
            let named = named.map(|(at, (name, map))| (name.as_str(), fd(at), *map));
            programs(object.clone(), named)
        };
        Some(Self {
            kernel: fds(&|at| in_kernel[at].as_raw_fd())?,
            vm: fds(&|at| in_vm[at].as_raw_fd())?,
            _kernel_maps: in_kernel,
            _vm_maps: in_vm,
        })
    }
}

/// Zeros for descriptors of the size of a map's key.
const KEY: [u8; 4] = [0; 4];

fn constant(map: &Map) -> bool {
    const RDONLY_PROG: u32 = 1 << 7;
    map.map_flags() & RDONLY_PROG != 0 && !map.data().is_empty()
}

fn in_kernel(map: &Map) -> Option<kernel::Map> {
    let map_type = MapType::from_u32(map.map_type())?;
    let spec = kernel::MapSpec::new(
        map_type,
        map.key_size(),
        map.value_size(),
        map.max_entries(),
    );
    let made = kernel::Map::create(&spec.flags(map.map_flags())).ok()?;
    if constant(map) {
        made.update(&KEY, map.data(), 0).ok()?;
        made.freeze().ok()?;
    }
    Some(made)
}

fn in_vm(vm: &Vm, map: &Map) -> Option<bpfvisor::Map> {
    let map_type = MapType::from_u32(map.map_type())?;
    let (key, value) = (map.key_size(), map.value_size());
    let spec = MapSpec::new("bench", map_type, key, value, map.max_entries());
    let made = vm.create_map(spec.flags(map.map_flags())).ok()?;
    if constant(map) {
        made.insert(&KEY, map.data()).ok()?;
        made.freeze().ok()?;
    }
    Some(made)
}

fn programs<'a>(
    mut object: Object,
    maps: impl Iterator<Item = (&'a str, RawFd, &'a Map)>,
) -> Option<Vec<Linked>> {
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    object.relocate_maps(maps, &text).ok()?;
    object.relocate_calls(&text).ok()?;
    let mut linked = Vec::new();
    for (name, program) in &object.programs {
        let prog_type = match program.section {
            ProgramSection::Xdp { .. } => ProgType::Xdp,
            ProgramSection::SchedClassifier => ProgType::SchedCls,
            ProgramSection::SocketFilter => ProgType::SocketFilter,
            ProgramSection::CgroupSkb { .. } => ProgType::CgroupSkb,
            _ => continue,
        };
        let function = object.functions.get(&program.function_key())?;
        linked.push(Linked {
            name: name.clone(),
            prog_type,
            insns: function.instructions.iter().map(insn).collect(),
        });
    }
    linked.sort_by(|a, b| a.name.cmp(&b.name));
    Some(linked)
}

fn insn(i: &bpf_insn) -> Insn {
    Insn::new(i.code, i.dst_reg(), i.src_reg(), i.off, i.imm)
}
