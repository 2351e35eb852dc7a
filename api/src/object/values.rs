//! Initial values of maps of maps and program arrays:
//! `__array(values, …) .values = { [1] = &inner }`.

use super::ProgramDef;
use super::elf::Elf;
use super::maps::MapDef;
use crate::error::{Error, Result};

/// One initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Index of the map.
    pub map: usize,
    /// Its key.
    pub key: u32,
    pub target: Target,
}

/// What an initial value names, by index in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Map(usize),
    Program(usize),
}

/// Collects them from the relocations of `.maps`.
pub(super) fn collect(
    elf: &Elf<'_>,
    maps: &[MapDef],
    programs: &[ProgramDef],
) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    let sections = elf.sections.iter().enumerate();
    for (index, section) in sections.filter(|(_, s)| s.name == ".maps") {
        for (&offset, reloc) in &section.relocs {
            let symbol = &elf.symbols[reloc.symbol];
            let slot = slot(maps, index, offset);
            let target = target(symbol.name, symbol.section, symbol.value, maps, programs);
            let (Some((map, key)), Some(target)) = (slot, target) else {
                return Err(Error::object(format!(
                    "section .maps: {:?} can't be an initial value of a map",
                    symbol.name
                )));
            };
            out.push(Value { map, key, target });
        }
    }
    Ok(out)
}

/// The map and key that a place in `.maps` belongs to.
fn slot(maps: &[MapDef], section: usize, offset: u64) -> Option<(usize, u32)> {
    let (index, map) = maps
        .iter()
        .enumerate()
        .filter(|(_, m)| m.section == section && m.offset <= offset)
        .max_by_key(|(_, m)| m.offset)?;
    let from_values = offset
        .checked_sub(map.offset)?
        .checked_sub(map.values_off?)?;
    let key = u32::try_from(from_values / 8).ok()?;
    Some((index, key))
}

fn target(
    name: &str,
    section: Option<usize>,
    value: u64,
    maps: &[MapDef],
    programs: &[ProgramDef],
) -> Option<Target> {
    let section = section?;
    let map = maps
        .iter()
        .position(|m| m.section == section && m.offset == value && m.data.is_none());
    let program = || programs.iter().position(|p| p.name == name);
    map.map(Target::Map)
        .or_else(|| program().map(Target::Program))
}
