//! As much of an ELF reader as the benchmark objects need: one program section,
//! data sections, one array map.

use bpf_core::insn::Insn;

/// A program with its relocations applied.
pub struct Object {
    pub insns: Vec<Insn>,
    /// Memory of the data sections; programs hold its addresses.
    pub data: Vec<Box<[u64]>>,
    /// Wide loads that name a map.
    pub map_loads: Vec<usize>,
    variables: Vec<Variable>,
}

/// A named piece of a data section.
struct Variable {
    name: String,
    section: usize,
    at: usize,
    len: usize,
}

fn u64_at(b: &[u8], at: usize) -> usize {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("8 bytes")) as usize
}

fn u32_at(b: &[u8], at: usize) -> usize {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes")) as usize
}

struct Section<'a> {
    name: &'a str,
    kind: usize,
    bytes: &'a [u8],
    size: usize,
    info: usize,
}

fn sections(elf: &[u8]) -> Vec<Section<'_>> {
    let table = u64_at(elf, 40);
    let count = usize::from(u16::from_le_bytes([elf[60], elf[61]]));
    let names = usize::from(u16::from_le_bytes([elf[62], elf[63]]));
    let header = |i: usize| &elf[table + 64 * i..][..64];
    let names = u64_at(header(names), 24);
    (0..count)
        .map(|i| {
            let h = header(i);
            let name = &elf[names + u32_at(h, 0)..];
            let end = name.iter().position(|&b| b == 0).expect("a final zero");
            let (at, size, kind) = (u64_at(h, 24), u64_at(h, 32), u32_at(h, 4));
            let bytes = if kind == 8 { &[] } else { &elf[at..at + size] };
            Section {
                name: std::str::from_utf8(&name[..end]).expect("a name"),
                kind,
                bytes,
                size,
                info: u32_at(h, 44),
            }
        })
        .collect()
}

impl Object {
    /// Reads the program in section `xdp`.
    pub fn read(elf: &[u8]) -> Self {
        let sections = sections(elf);
        let program = sections.iter().position(|s| s.name == "xdp").expect("xdp");
        let symbols = sections.iter().find(|s| s.kind == 2).expect("symbols");
        let data: Vec<Box<[u64]>> = sections.iter().map(section_data).collect();
        let slots = sections[program].bytes.chunks_exact(8);
        let mut object = Object {
            insns: slots
                .map(|s| Insn::from_bytes(s.try_into().expect("8")))
                .collect(),
            data,
            map_loads: Vec::new(),
            variables: variables(&sections, symbols),
        };
        let relocations = sections.iter().filter(|s| s.kind == 9 && s.info == program);
        for r in relocations.flat_map(|s| s.bytes.chunks_exact(16)) {
            let (at, symbol) = (u64_at(r, 0) / 8, u64_at(r, 8) >> 32);
            let symbol = &symbols.bytes[24 * symbol..][..24];
            let section = usize::from(u16::from_le_bytes([symbol[6], symbol[7]]));
            if sections[section].name == ".maps" {
                object.map_loads.push(at);
            } else {
                object.relocate(at, section, u64_at(symbol, 8));
            }
        }
        object
    }

    /// Sets a variable that the program finds in its data; false if there is none
    /// of this name and length.
    #[allow(dead_code, reason = "not all that read objects change them")]
    pub fn set(&mut self, name: &str, bytes: &[u8]) -> bool {
        let found = self.variables.iter().find(|v| v.name == name);
        let Some(v) = found.filter(|v| v.len == bytes.len()) else {
            return false;
        };
        for (i, &byte) in bytes.iter().enumerate() {
            let (word, shift) = ((v.at + i) / 8, (v.at + i) % 8 * 8);
            let word = &mut self.data[v.section][word];
            *word = *word & !(0xff << shift) | u64::from(byte) << shift;
        }
        true
    }

    fn relocate(&mut self, at: usize, section: usize, value: usize) {
        let base = self.data[section].as_ptr() as u64;
        let address = base + value as u64 + u64::from(self.insns[at].imm as u32);
        self.insns[at].imm = address as i32;
        self.insns[at + 1].imm = (address >> 32) as i32;
    }
}

/// Objects (`STT_OBJECT`) of the symbol table.
fn variables(sections: &[Section<'_>], symbols: &Section<'_>) -> Vec<Variable> {
    let names = sections.iter().find(|s| s.name == ".strtab");
    let names = names.expect("names of symbols").bytes;
    let objects = symbols.bytes.chunks_exact(24).filter(|s| s[4] & 15 == 1);
    objects
        .map(|s| {
            let name = &names[u32_at(s, 0)..];
            let end = name.iter().position(|&b| b == 0).expect("a final zero");
            Variable {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                section: usize::from(u16::from_le_bytes([s[6], s[7]])),
                at: u64_at(s, 8),
                len: u64_at(s, 16),
            }
        })
        .collect()
}

/// Zeros, or what the file has.
fn section_data(s: &Section<'_>) -> Box<[u64]> {
    let mut words = vec![0; s.size.div_ceil(8) + 1].into_boxed_slice();
    for (i, chunk) in s.bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        words[i] = u64::from_le_bytes(word);
    }
    words
}
