//! The parts of an ELF file that matter for BPF, checked once.

use crate::error::{Error, Result};
use object::read::elf::{ElfFile64, FileHeader};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags};
use object::{LittleEndian, RelocationTarget, SectionFlags, SymbolFlags, SymbolKind, elf};
use std::collections::BTreeMap;

/// Sections and symbols, both at their index in the file.
pub(super) struct Elf<'d> {
    pub sections: Vec<Section<'d>>,
    pub symbols: Vec<Symbol<'d>>,
}

#[derive(Default)]
pub(super) struct Section<'d> {
    pub name: &'d str,
    /// Empty for `.bss`.
    pub data: &'d [u8],
    pub size: u64,
    pub exec: bool,
    /// By offset in the section.
    pub relocs: BTreeMap<u64, Reloc>,
}

#[derive(Clone, Copy)]
pub(super) struct Reloc {
    pub symbol: usize,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Symbol<'d> {
    pub name: &'d str,
    /// `None`: defined elsewhere.
    pub section: Option<usize>,
    pub value: u64,
    pub size: u64,
    pub kind: Kind,
    pub global: bool,
    pub weak: bool,
    /// Visibility is not the default one.
    pub hidden: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Data,
    Section,
    #[default]
    Other,
}

fn damaged(e: object::Error) -> Error {
    Error::object(format!("the object file is damaged: {e}"))
}

impl<'d> Elf<'d> {
    /// Reads an object as clang writes it for `-target bpf`.
    pub fn parse(data: &'d [u8]) -> Result<Self> {
        check_header(data)?;
        let file = ElfFile64::<LittleEndian>::parse(data).map_err(damaged)?;
        if file.elf_header().e_machine(LittleEndian) != elf::EM_BPF {
            return Err(Error::object(
                "an ELF file, but not of BPF code: compile with clang -target bpf",
            ));
        }
        let mut out = Self {
            sections: Vec::new(),
            symbols: Vec::new(),
        };
        for section in file.sections() {
            let at = section.index().0;
            place(&mut out.sections, at, read_section(&section)?);
        }
        for symbol in file.symbols() {
            let at = symbol.index().0;
            place(&mut out.symbols, at, read_symbol(&symbol)?);
        }
        out.check()?;
        Ok(out)
    }

    /// Every index that others use must be one.
    fn check(&self) -> Result<()> {
        let symbols = self
            .symbols
            .iter()
            .all(|s| s.section.is_none_or(|i| i < self.sections.len()));
        let relocs = self
            .sections
            .iter()
            .flat_map(|s| s.relocs.values())
            .all(|r| r.symbol < self.symbols.len());
        if symbols && relocs {
            return Ok(());
        }
        Err(Error::object(
            "the object file is damaged: an index of a section or symbol is out of range",
        ))
    }

    /// The section with this name.
    pub fn section(&self, name: &str) -> Option<&Section<'d>> {
        self.sections.iter().find(|s| s.name == name)
    }
}

fn check_header(data: &[u8]) -> Result<()> {
    let what = match data {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => return Ok(()),
        [0x7f, b'E', b'L', b'F', 2, ..] => "a big-endian ELF file: compile with -target bpfel",
        [0x7f, b'E', b'L', b'F', ..] => "a 32-bit ELF file, expected a 64-bit BPF object",
        _ => "not an ELF file: expected a BPF object (clang -O2 -g -target bpf -c prog.c)",
    };
    Err(Error::object(what))
}

/// Puts an item at its index; what lies between is empty.
fn place<T: Default>(list: &mut Vec<T>, at: usize, item: T) {
    const MOST: usize = 1 << 20;
    if at < MOST {
        while list.len() <= at {
            list.push(T::default());
        }
        list[at] = item;
    }
}

type ElfSection<'d, 'f> = object::read::elf::ElfSection64<'d, 'f, LittleEndian>;
type ElfSymbol<'d, 'f> = object::read::elf::ElfSymbol64<'d, 'f, LittleEndian>;

fn read_section<'d>(section: &ElfSection<'d, '_>) -> Result<Section<'d>> {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return Ok(Section::default());
    };
    let mut relocs = BTreeMap::new();
    for (offset, reloc) in section.relocations() {
        let (RelocationTarget::Symbol(symbol), RelocationFlags::Elf { .. }) =
            (reloc.target(), reloc.flags())
        else {
            return Err(Error::object(format!(
                "section {:?}: a relocation without a symbol",
                section.name().unwrap_or("?")
            )));
        };
        relocs.insert(offset, Reloc { symbol: symbol.0 });
    }
    Ok(Section {
        name: section.name().map_err(damaged)?,
        data: section.data().map_err(damaged)?,
        size: section.size(),
        exec: sh_flags.0 & elf::SHF_EXECINSTR.0 != 0,
        relocs,
    })
}

fn read_symbol<'d>(symbol: &ElfSymbol<'d, '_>) -> Result<Symbol<'d>> {
    let other = match symbol.flags() {
        SymbolFlags::Elf { st_other, .. } => st_other.0,
        _ => 0,
    };
    Ok(Symbol {
        name: symbol.name().map_err(damaged)?,
        section: symbol.section_index().map(|i| i.0),
        value: symbol.address(),
        size: symbol.size(),
        kind: match symbol.kind() {
            SymbolKind::Text => Kind::Function,
            SymbolKind::Data => Kind::Data,
            SymbolKind::Section => Kind::Section,
            _ => Kind::Other,
        },
        global: symbol.is_global(),
        weak: symbol.is_weak(),
        hidden: other & 3 != 0,
    })
}
