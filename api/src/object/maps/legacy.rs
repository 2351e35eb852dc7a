//! Maps as they were defined before BTF: structures in the section `maps`, of
//! the size that the section divided by the number of its symbols has.
//!
//! | bytes | structure |
//! |---|---|
//! | 20 | libbpf's `bpf_map_def`: type, key size, value size, capacity, flags |
//! | 28 | the kernel samples' one: that, index of the inner map, NUMA node |
//! | 36 | iproute2's `bpf_elf_map`: that, id, pinning, id of the inner map, index in it |

use super::super::elf::{Elf, Kind, Section, Symbol};
use super::MapDef;
use crate::error::{Error, Result};

const SAMPLES: usize = 7;
const IPROUTE2: usize = 9;
/// Where iproute2 pins maps, below the root of all pins.
const GLOBALS: &str = "tc/globals";

pub(super) fn maps(
    elf: &Elf<'_>,
    index: usize,
    section: &Section<'_>,
    maps: &mut Vec<MapDef>,
) -> Result<()> {
    let mut symbols: Vec<&Symbol<'_>> = elf
        .symbols
        .iter()
        .filter(|s| s.section == Some(index) && matches!(s.kind, Kind::Data | Kind::Other))
        .filter(|s| !s.name.is_empty())
        .collect();
    symbols.sort_by_key(|s| s.value);
    let Some(size) = section.data.len().checked_div(symbols.len()) else {
        return Ok(());
    };
    let mut words = Vec::new();
    for symbol in &symbols {
        words.push(read(section.data, symbol, size)?);
    }
    for (symbol, own) in symbols.iter().zip(&words) {
        let mut def = basic(symbol, index, own);
        if let Some(inner) = inner(own, &words) {
            let name = format!("{}.inner", symbol.name);
            let template = basic(symbol, usize::MAX, &words[inner]);
            def.inner = Some(Box::new(MapDef { name, ..template }));
        }
        if own.len() >= IPROUTE2 && own[6] != 0 {
            def.pin = Some(format!("{GLOBALS}/{}", symbol.name));
        }
        maps.push(def);
    }
    Ok(())
}

fn basic(symbol: &Symbol<'_>, section: usize, words: &[u32]) -> MapDef {
    MapDef {
        map_type: words[0],
        key_size: words[1],
        value_size: words[2],
        max_entries: words[3],
        flags: words[4],
        ..MapDef::named(symbol.name, section, symbol.value)
    }
}

/// Which of the definitions is the template of this map of maps.
fn inner(own: &[u32], all: &[Vec<u32>]) -> Option<usize> {
    use bpf_core::uapi::MapType::{ArrayOfMaps, HashOfMaps};
    if ![ArrayOfMaps as u32, HashOfMaps as u32].contains(&own[0]) {
        return None;
    }
    if own.len() >= IPROUTE2 {
        let wanted = own[7];
        return all.iter().position(|w| w.get(5) == Some(&wanted));
    }
    let index = *own.get(SAMPLES - 2)? as usize;
    (index < all.len()).then_some(index)
}

/// The words of a definition, at least five.
fn read(data: &[u8], symbol: &Symbol<'_>, size: usize) -> Result<Vec<u32>> {
    let at = usize::try_from(symbol.value).unwrap_or(usize::MAX);
    let bytes = at.checked_add(size).and_then(|end| data.get(at..end));
    let words: Vec<u32> = bytes
        .unwrap_or_default()
        .chunks_exact(4)
        .map(|w| w.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
        .collect();
    if words.len() < 5 {
        return Err(Error::object(format!(
            "map {:?}: its definition in section \"maps\" has {} bytes, expected at least 20",
            symbol.name,
            bytes.unwrap_or_default().len()
        )));
    }
    let known = if words.len() >= IPROUTE2 {
        IPROUTE2
    } else {
        SAMPLES
    };
    if words.iter().skip(known).any(|&w| w != 0) {
        return Err(Error::unsupported(format!(
            "map {:?}: its definition in section \"maps\" has fields behind byte {}, which no \
             loader known here gives a meaning",
            symbol.name,
            known * 4
        )));
    }
    Ok(words)
}
