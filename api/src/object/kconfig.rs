//! Values that a program expects of the kernel's configuration
//! (`extern … __kconfig`). A VM has few of them.

use super::btf::Btf;
use super::elf::Elf;
use super::maps::MapDef;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Where each value lies in the map that holds them.
#[derive(Default)]
pub(super) struct Kconfig {
    /// Index of the map.
    pub map: usize,
    pub offsets: BTreeMap<String, u32>,
}

/// What is known. The rest is not set.
const KNOWN: &[(&str, u64)] = &[
    // What the interface is modelled on, as KERNEL_VERSION has it: 6.18.0.
    ("LINUX_KERNEL_VERSION", 6 << 16 | 18 << 8),
    ("LINUX_HAS_BPF_COOKIE", 0),
    ("LINUX_HAS_SYSCALL_WRAPPER", 0),
    // Ticks of bpf_jiffies64 per second.
    ("CONFIG_HZ", 250),
];

/// Lays the values out, and adds the map that holds them.
pub(super) fn collect(elf: &Elf<'_>, btf: &Btf, maps: &mut Vec<MapDef>) -> Result<Kconfig> {
    let mut data = Vec::new();
    let mut offsets = BTreeMap::new();
    for (name, of) in btf.externs(".kconfig") {
        let symbol = elf.symbols.iter().find(|s| s.name == name);
        let weak = symbol.is_none_or(|s| s.weak);
        let value = KNOWN.iter().find(|k| k.0 == name).map(|k| k.1);
        if value.is_none() && !weak {
            return Err(Error::unsupported(format!(
                "kconfig value {name:?} is not known in a VM: declare it __weak to read it as \
                 zero, or use one of: {}",
                known_names()
            )));
        }
        let size = btf.size(of).filter(|s| (1..=4096).contains(s));
        let size = size.ok_or_else(|| {
            Error::object(format!(
                "kconfig value {name:?} has no type of a known size"
            ))
        })? as usize;
        data.resize(
            data.len().next_multiple_of(size.next_power_of_two().min(8)),
            0,
        );
        offsets.insert(name.to_string(), data.len() as u32);
        let bytes = value.unwrap_or(0).to_le_bytes();
        data.extend((0..size).map(|i| bytes.get(i).copied().unwrap_or(0)));
    }
    let map = maps.len();
    if !data.is_empty() {
        maps.push(MapDef::constants(".kconfig", data));
    }
    Ok(Kconfig { map, offsets })
}

fn known_names() -> String {
    let names: Vec<&str> = KNOWN.iter().map(|k| k.0).collect();
    names.join(", ")
}
