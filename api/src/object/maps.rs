//! Maps that an object defines: BTF maps (`.maps`), legacy maps (`maps`), and
//! the sections of global data.

mod legacy;

use super::btf::{Btf, Member, Type};
use super::elf::{Elf, Section};
use crate::error::{Error, Result};
use bpf_core::uapi::{MapType, map_flags};

/// A map to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapDef {
    /// Name of the variable, or of the data section.
    pub name: String,
    /// Where it is defined.
    pub section: usize,
    /// Offset of its definition in that section.
    pub offset: u64,
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    pub extra: u64,
    pub spin_lock_off: Option<u32>,
    /// Template of a map of maps.
    pub inner: Option<Box<MapDef>>,
    /// Offset in the definition of the initial values (`values`).
    pub values_off: Option<u64>,
    /// Initial contents of a data section.
    pub data: Option<Vec<u8>>,
    /// Name under which it is shared between objects of a VM, below the root of
    /// all pins.
    pub pin: Option<String>,
}

impl MapDef {
    fn named(name: &str, section: usize, offset: u64) -> Self {
        Self {
            name: name.into(),
            section,
            offset,
            map_type: 0,
            key_size: 0,
            value_size: 0,
            max_entries: 0,
            flags: 0,
            extra: 0,
            spin_lock_off: None,
            inner: None,
            values_off: None,
            data: None,
            pin: None,
        }
    }

    /// Constants that are in no section of the object.
    pub fn constants(name: &str, data: Vec<u8>) -> Self {
        Self {
            map_type: MapType::Array as u32,
            key_size: 4,
            value_size: data.len() as u32,
            max_entries: 1,
            flags: map_flags::RDONLY_PROG,
            data: Some(data),
            ..Self::named(name, usize::MAX, 0)
        }
    }

    /// Whether it holds constants: frozen before programs are loaded.
    pub fn is_constant(&self) -> bool {
        self.data.is_some() && self.flags & map_flags::RDONLY_PROG != 0
    }
}

/// All maps of an object.
pub(super) fn collect(elf: &Elf<'_>, btf: &Btf) -> Result<Vec<MapDef>> {
    let mut maps = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        match section.name {
            ".maps" => btf_maps(elf, index, btf, &mut maps)?,
            "maps" => legacy::maps(elf, index, section, &mut maps)?,
            name if is_data(name) && section.size > 0 => maps.push(data_map(index, section)?),
            _ => {}
        }
    }
    for map in &mut maps {
        adjust(map);
    }
    Ok(maps)
}

fn is_data(name: &str) -> bool {
    [".data", ".rodata", ".bss"].iter().any(|base| {
        name.strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn data_map(index: usize, section: &Section<'_>) -> Result<MapDef> {
    const MOST: u64 = 64 << 20;
    if section.size > MOST {
        return Err(Error::object(format!(
            "section {} has {} bytes of global data, expected at most {MOST}",
            section.name, section.size
        )));
    }
    let mut data = section.data.to_vec();
    data.resize(section.size as usize, 0);
    let constant = section.name.starts_with(".rodata");
    Ok(MapDef {
        map_type: MapType::Array as u32,
        key_size: 4,
        value_size: section.size as u32,
        max_entries: 1,
        flags: if constant { map_flags::RDONLY_PROG } else { 0 },
        data: Some(data),
        ..MapDef::named(section.name, index, 0)
    })
}

fn btf_maps(elf: &Elf<'_>, index: usize, btf: &Btf, maps: &mut Vec<MapDef>) -> Result<()> {
    let variables = btf.variables(".maps");
    if variables.is_empty() {
        return Err(Error::object(
            "section .maps has no BTF that describes it: compile with clang -g",
        ));
    }
    for (name, of) in variables {
        // Offsets in BTF are only filled in by static linkers; symbols have them.
        let symbols = &elf.symbols;
        let symbol = symbols
            .iter()
            .find(|s| s.section == Some(index) && s.name == name);
        let offset = symbol.map(|s| s.value).ok_or_else(|| {
            Error::object(format!("map {name:?}: the object has no symbol for it"))
        })?;
        maps.push(btf_map(btf, of, MapDef::named(name, index, offset))?);
    }
    Ok(())
}

/// A map from its definition's structure type.
fn btf_map(btf: &Btf, of: u32, mut def: MapDef) -> Result<MapDef> {
    let Some(Type::Struct { members, .. }) = btf.resolve(of) else {
        return Err(bad(&def, "its definition is not a structure"));
    };
    for member in members {
        read_member(btf, member, &mut def)?;
    }
    Ok(def)
}

fn read_member(btf: &Btf, member: &Member, def: &mut MapDef) -> Result<()> {
    let number = || uint(btf, member).ok_or_else(|| bad(def, &member.name));
    let pointee = || match btf.resolve(member.of) {
        Some(Type::Pointer(to)) => btf.size(*to).map(|size| (*to, size)),
        _ => None,
    };
    match member.name.as_str() {
        "type" => def.map_type = number()?,
        "key_size" => def.key_size = number()?,
        "value_size" => def.value_size = number()?,
        "max_entries" => def.max_entries = number()?,
        "map_flags" => def.flags = number()?,
        "map_extra" => def.extra = long(btf, member).ok_or_else(|| bad(def, "map_extra"))?,
        "pinning" => match number()? {
            0 => {}
            1 => def.pin = Some(def.name.clone()),
            other => {
                let what = format!("pinning {other}: only LIBBPF_PIN_BY_NAME (1) is known");
                return Err(bad(def, &what));
            }
        },
        "key" => def.key_size = pointee().ok_or_else(|| bad(def, "key"))?.1,
        "value" => {
            let (to, size) = pointee().ok_or_else(|| bad(def, "value"))?;
            def.value_size = size;
            def.spin_lock_off = btf.spin_lock(to);
        }
        "values" => read_values(btf, member, def)?,
        _ => {} // numa_node: a VM has one
    }
    Ok(())
}

/// `__uint(name, n)` is a pointer to an array of `n` integers.
fn uint(btf: &Btf, member: &Member) -> Option<u32> {
    let Type::Pointer(to) = btf.resolve(member.of)? else {
        return None;
    };
    match btf.resolve(*to)? {
        Type::Array { len, .. } => Some(*len),
        _ => None,
    }
}

/// `__uint` or `__ulong(name, n)`, an enumeration of one constant.
fn long(btf: &Btf, member: &Member) -> Option<u64> {
    match btf.resolve(member.of)? {
        Type::Enum { values, .. } => values.first().map(|v| v.1),
        _ => uint(btf, member).map(u64::from),
    }
}

/// `__array(values, struct …)`: an array of pointers to inner maps or functions.
fn read_values(btf: &Btf, member: &Member, def: &mut MapDef) -> Result<()> {
    def.values_off = Some(u64::from(member.offset / 8));
    if def.value_size == 0 {
        def.value_size = 4;
    }
    let element = match btf.resolve(member.of) {
        Some(Type::Array { element, .. }) => btf.resolve(*element),
        _ => None,
    };
    let Some(Type::Pointer(to)) = element else {
        return Err(bad(def, "values"));
    };
    let is_outer = [MapType::ArrayOfMaps, MapType::HashOfMaps]
        .iter()
        .any(|t| *t as u32 == def.map_type);
    if is_outer {
        let inner = MapDef::named(&format!("{}.inner", def.name), usize::MAX, 0);
        let inner = btf_map(btf, *to, inner)?;
        if inner.inner.is_some() {
            return Err(bad(def, "values: a map of maps of maps"));
        }
        def.inner = Some(Box::new(inner));
    }
    Ok(())
}

fn bad(def: &MapDef, what: &str) -> Error {
    Error::object(format!("map {:?}: bad BTF definition: {what}", def.name))
}

/// What libbpf mends in definitions.
pub fn adjust(map: &mut MapDef) {
    if let Some(inner) = &mut map.inner {
        adjust(inner);
    }
    match MapType::from_u32(map.map_type) {
        Some(MapType::Ringbuf | MapType::UserRingbuf) => {
            let size = map.max_entries.max(4096);
            map.max_entries = size.checked_next_power_of_two().unwrap_or(size);
        }
        Some(MapType::PerfEventArray) => {
            map.key_size = 4;
            map.value_size = 4;
            map.max_entries = map.max_entries.max(1);
        }
        Some(MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps)
            if map.value_size == 0 =>
        {
            map.value_size = 4;
        }
        _ => {}
    }
}
