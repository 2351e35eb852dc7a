//! The part of BTF that describes maps and functions.
//!
//! Layout: `Documentation/bpf/btf.rst`. A header (magic, version, flags, header
//! length, offset and length of types, offset and length of strings), then
//! types, numbered from 1, then strings.

use super::elf::Elf;
use super::link::Functions;
use crate::error::{Error, Result};
use bpf_core::btf::{kind, linkage};
use std::collections::BTreeSet;

/// Types by id; 0 is `void`.
#[derive(Default)]
pub(crate) struct Btf {
    types: Vec<Type>,
    strings: Vec<u8>,
}

/// One type, as far as maps, functions and relocations need it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Type {
    /// Integers and floats: their size.
    Scalar(u32),
    Enum {
        name: String,
        size: u32,
        /// Upper halves of 32-bit ones are zero.
        values: Vec<(String, u64)>,
    },
    Pointer(u32),
    Array {
        element: u32,
        len: u32,
    },
    Struct {
        name: String,
        size: u32,
        members: Vec<Member>,
    },
    /// `typedef`, `const`, `volatile`, `restrict`, type tags.
    Alias(u32),
    Function {
        name: String,
    },
    Variable {
        name: String,
        of: u32,
        linkage: u32,
    },
    DataSection {
        name: String,
        variables: Vec<u32>,
    },
    #[default]
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: String,
    pub of: u32,
    /// In bits.
    pub offset: u32,
}

/// `BTF_VAR_GLOBAL_EXTERN`.
const EXTERN: u32 = 2;
/// Longest chain of aliases and nested arrays followed.
const DEPTH: u32 = 32;

/// Reads little-endian words, never beyond the end.
pub(super) struct Reader<'d> {
    pub data: &'d [u8],
    pub at: usize,
}

impl Reader<'_> {
    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.data.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl Btf {
    /// Reads a `.BTF` section.
    pub fn parse(data: &[u8]) -> Result<Self> {
        Self::read(data).ok_or_else(|| Error::object("the object's BTF is damaged"))
    }

    fn read(data: &[u8]) -> Option<Self> {
        let mut header = Reader { data, at: 0 };
        if header.u32()? & 0xffff != 0xeb9f {
            return None;
        }
        let header_len = header.u32()? as usize;
        let part = |off: u32, len: u32| {
            let start = header_len.checked_add(off as usize)?;
            data.get(start..start.checked_add(len as usize)?)
        };
        let types = part(header.u32()?, header.u32()?)?;
        let strings = part(header.u32()?, header.u32()?)?;
        let mut reader = Reader { data: types, at: 0 };
        let mut out = vec![Type::Other];
        while reader.at < types.len() {
            out.push(read_type(&mut reader, strings)?);
        }
        Some(Self {
            types: out,
            strings: strings.to_vec(),
        })
    }

    /// A string of it, by its offset.
    pub fn string(&self, at: u32) -> Option<String> {
        string(&self.strings, at)
    }

    /// A type, aliases followed.
    pub fn resolve(&self, mut id: u32) -> Option<&Type> {
        for _ in 0..DEPTH {
            match self.types.get(id as usize)? {
                Type::Alias(of) => id = *of,
                found => return Some(found),
            }
        }
        None
    }

    /// Bytes that a value of the type takes.
    pub fn size(&self, id: u32) -> Option<u32> {
        self.size_within(id, DEPTH)
    }

    fn size_within(&self, id: u32, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        match self.resolve(id)? {
            Type::Scalar(size) | Type::Enum { size, .. } | Type::Struct { size, .. } => Some(*size),
            Type::Pointer(_) => Some(8),
            Type::Array { element, len } => self.size_within(*element, depth)?.checked_mul(*len),
            _ => None,
        }
    }

    /// Offset of a `struct bpf_spin_lock` among a structure's members.
    pub fn spin_lock(&self, of: u32) -> Option<u32> {
        let Type::Struct { members, .. } = self.resolve(of)? else {
            return None;
        };
        members.iter().find_map(|m| match self.resolve(m.of)? {
            Type::Struct { name, .. } if name == "bpf_spin_lock" => Some(m.offset / 8),
            _ => None,
        })
    }

    /// Variables of a section: names and types.
    pub fn variables(&self, section: &str) -> Vec<(&str, u32)> {
        let found = self.types.iter().find_map(|t| match t {
            Type::DataSection { name, variables } if name == section => Some(variables),
            _ => None,
        });
        found
            .into_iter()
            .flatten()
            .filter_map(|&id| match self.types.get(id as usize)? {
                Type::Variable { name, of, .. } => Some((name.as_str(), *of)),
                _ => None,
            })
            .collect()
    }

    /// Whether a section names this variable or function: what the program
    /// expects of others stands in `.ksyms`, `.kconfig` and the like.
    pub fn names_in(&self, section: &str, wanted: &str) -> bool {
        self.types.iter().any(|t| match t {
            Type::DataSection { name, variables } if name == section => {
                variables
                    .iter()
                    .any(|&id| match self.types.get(id as usize) {
                        Some(Type::Variable { name, .. } | Type::Function { name, .. }) => {
                            name == wanted
                        }
                        _ => false,
                    })
            }
            _ => false,
        })
    }

    /// Variables that are declared only, to be given by whoever loads.
    pub fn externs(&self, section: &str) -> Vec<(&str, u32)> {
        let is_extern = |(name, of): &(&str, u32)| {
            self.types.iter().any(|t| {
                matches!(t, Type::Variable { name: n, of: o, linkage: EXTERN } if n == name && o == of)
            })
        };
        let mut found = self.variables(section);
        found.retain(is_extern);
        found
    }
}

/// An object's types as they are loaded with its programs. Functions that are hidden
/// from other objects count as static there, as libbpf has it: they are followed at
/// each call.
pub(super) fn as_loaded(elf: &Elf<'_>, functions: &Functions<'_>) -> Vec<u8> {
    let section = elf.section(".BTF").map_or(&[][..], |s| s.data);
    let mut out = section.to_vec();
    let Ok(btf) = bpf_core::btf::Btf::parse(section) else {
        return Vec::new(); // of another machine, or newer than this
    };
    let hidden: BTreeSet<&str> = functions
        .values()
        .filter(|f| !f.global)
        .map(|f| f.name)
        .collect();
    for (id, t) in btf.all() {
        let global = t.kind() == kind::FUNC && t.vlen() == linkage::GLOBAL;
        if global
            && hidden.contains(btf.text(t.name))
            && let Some(at) = btf.position(id)
            && let Some(info) = out.get_mut(at + 4..at + 8)
        {
            let fixed = t.info & !0xffff | linkage::STATIC;
            info.copy_from_slice(&fixed.to_ne_bytes());
        }
    }
    out
}

fn read_type(r: &mut Reader<'_>, strings: &[u8]) -> Option<Type> {
    let name = string(strings, r.u32()?)?;
    let info = r.u32()?;
    let size_or_type = r.u32()?;
    let count = info & 0xffff;
    let bitfields = info >> 31 != 0;
    Some(match info >> 24 & 0x1f {
        1 => {
            r.u32()?; // encoding
            Type::Scalar(size_or_type)
        }
        2 => Type::Pointer(size_or_type),
        3 => {
            let (element, _index, len) = (r.u32()?, r.u32()?, r.u32()?);
            Type::Array { element, len }
        }
        4 | 5 => Type::Struct {
            name,
            size: size_or_type,
            members: (0..count)
                .map(|_| read_member(r, strings, bitfields))
                .collect::<Option<_>>()?,
        },
        kind @ (6 | 19) => Type::Enum {
            name,
            size: size_or_type,
            values: (0..count)
                .map(|_| {
                    let (name, low) = (string(strings, r.u32()?)?, r.u32()?);
                    let high = if kind == 19 { r.u32()? } else { 0 };
                    Some((name, u64::from(high) << 32 | u64::from(low)))
                })
                .collect::<Option<_>>()?,
        },
        7 => Type::Other, // forward declaration
        8..=11 | 18 => Type::Alias(size_or_type),
        12 => Type::Function { name },
        13 => skip(r, count * 2, Type::Other)?, // function prototype
        14 => Type::Variable {
            name,
            of: size_or_type,
            linkage: r.u32()?,
        },
        15 => Type::DataSection {
            name,
            variables: (0..count)
                .map(|_| {
                    let (of, _offset, _size) = (r.u32()?, r.u32()?, r.u32()?);
                    Some(of)
                })
                .collect::<Option<_>>()?,
        },
        16 => Type::Scalar(size_or_type), // float
        17 => skip(r, 1, Type::Other)?,   // declaration tag
        _ => return None,
    })
}

fn skip(r: &mut Reader<'_>, words: u32, then: Type) -> Option<Type> {
    for _ in 0..words {
        r.u32()?;
    }
    Some(then)
}

fn read_member(r: &mut Reader<'_>, strings: &[u8], bitfields: bool) -> Option<Member> {
    let (name, of, offset) = (r.u32()?, r.u32()?, r.u32()?);
    Some(Member {
        name: string(strings, name)?,
        of,
        offset: if bitfields {
            offset & 0xff_ffff
        } else {
            offset
        },
    })
}

fn string(strings: &[u8], at: u32) -> Option<String> {
    let tail = strings.get(at as usize..)?;
    let len = tail.iter().position(|&b| b == 0)?;
    Some(String::from_utf8_lossy(&tail[..len]).into_owned())
}
