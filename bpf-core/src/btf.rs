//! BTF, the type information of programs and maps.
//!
//! Layout (`Documentation/bpf/btf.rst`): a header (magic, version, flags, header
//! length, offset and length of types, offset and length of strings), then types,
//! numbered from 1, then strings. Type 0 is `void`.
//!
//! [`Btf::checked`] takes what Linux takes. [`Btf::parse`] asks only that every type lies inside, so what it gives may
//! still be nonsense: references that lead nowhere or in circles. Everything here
//! copes with that.

mod check;
mod member;
mod resolve;

pub use check::Damage;

use crate::uapi::errno::EINVAL;
use alloc::vec::Vec;

/// `BTF_KIND_*`.
#[allow(missing_docs)]
pub mod kind {
    pub const VOID: u32 = 0;
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Linkage of functions (`BTF_FUNC_*`).
#[allow(missing_docs)]
pub mod linkage {
    pub const STATIC: u32 = 0;
    pub const GLOBAL: u32 = 1;
    pub const EXTERN: u32 = 2;
}

/// Magic, version and flags of a header, in the byte order of the machine.
pub const MAGIC: u16 = 0xeb9f;
/// Bytes of a header.
pub const HEADER: usize = 24;
/// Longest chain of references followed.
const DEPTH: u32 = 32;
/// Bytes of a string that are looked at (`BPF_VERIFIER_TMP_LOG_SIZE`, less its zero).
pub const LONGEST_TEXT: usize = 1023;

/// Types by id, borrowed from a blob.
#[derive(Clone, Debug, Default)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Of the types, in the blob.
    offset: usize,
    /// Where each type begins; the first is number 1.
    starts: Vec<u32>,
}

/// One type: `struct btf_type` and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// Offset of its name, 0 for none.
    pub name: u32,
    /// Kind, number of members, flag.
    pub info: u32,
    /// Size in bytes, or the type that it refers to.
    pub size_or_type: u32,
    /// What follows, by kind.
    pub extra: &'a [u8],
}

/// `struct btf_member`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset of its name, 0 for none.
    pub name: u32,
    /// Its type.
    pub of: u32,
    /// In bits; where the structure has the flag, the lower 24 bits, and above them
    /// the bits of a bit field.
    pub offset: u32,
}

impl Member {
    /// Where it begins, in bits, as a member of `of`.
    pub const fn bit_offset(&self, of: &Type<'_>) -> u32 {
        match of.flag() {
            true => self.offset & 0xff_ffff,
            false => self.offset,
        }
    }
}

impl Type<'_> {
    /// Type 0.
    pub const VOID: Self = Self {
        name: 0,
        info: 0,
        size_or_type: 0,
        extra: &[],
    };

    /// [`kind`].
    pub const fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Number of members; linkage of functions.
    pub const fn vlen(&self) -> u32 {
        self.info & 0xffff
    }

    /// Bit fields (structures), signed (enumerations), union (forward).
    pub const fn flag(&self) -> bool {
        self.info >> 31 != 0
    }

    /// A word of what follows the type, 0 beyond its end.
    pub fn word(&self, nr: usize) -> u32 {
        self.extra
            .as_chunks::<4>()
            .0
            .get(nr)
            .map_or(0, |w| u32::from_ne_bytes(*w))
    }

    /// Bits of an integer.
    pub fn int_bits(&self) -> u32 {
        self.word(0) & 0xff
    }

    /// Bits before those of an integer.
    pub fn int_offset(&self) -> u32 {
        self.word(0) >> 16 & 0xff
    }

    /// Members of a structure or union.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        (0..self.vlen() as usize).map(|nr| Member {
            name: self.word(nr * 3),
            of: self.word(nr * 3 + 1),
            offset: self.word(nr * 3 + 2),
        })
    }

    /// `typedef`, `const`, `volatile`, `restrict`, type tags.
    pub const fn is_modifier(&self) -> bool {
        matches!(
            self.kind(),
            kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG
        )
    }

    /// An enumeration of either width.
    pub const fn is_enum(&self) -> bool {
        matches!(self.kind(), kind::ENUM | kind::ENUM64)
    }

    /// A structure or union.
    pub const fn is_struct(&self) -> bool {
        matches!(self.kind(), kind::STRUCT | kind::UNION)
    }

    /// A number that one register holds.
    pub const fn is_small_number(&self) -> bool {
        (self.kind() == kind::INT && self.size_or_type <= 8) || self.is_enum()
    }

    /// The kind, as in the kernel's messages.
    pub const fn kind_name(&self) -> &'static str {
        match self.kind() {
            kind::INT => "INT",
            kind::PTR => "PTR",
            kind::ARRAY => "ARRAY",
            kind::STRUCT => "STRUCT",
            kind::UNION => "UNION",
            kind::ENUM => "ENUM",
            kind::FWD => "FWD",
            kind::TYPEDEF => "TYPEDEF",
            kind::VOLATILE => "VOLATILE",
            kind::CONST => "CONST",
            kind::RESTRICT => "RESTRICT",
            kind::FUNC => "FUNC",
            kind::FUNC_PROTO => "FUNC_PROTO",
            kind::VAR => "VAR",
            kind::DATASEC => "DATASEC",
            kind::FLOAT => "FLOAT",
            kind::DECL_TAG => "DECL_TAG",
            kind::TYPE_TAG => "TYPE_TAG",
            kind::ENUM64 => "ENUM64",
            _ => "UNKNOWN",
        }
    }
}

/// Bytes that follow a type of this kind with so many members; `None` for kinds
/// that do not exist.
pub const fn extra_len(kind: u32, vlen: u32) -> Option<usize> {
    let vlen = vlen as usize;
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
        kind::ENUM | kind::FUNC_PROTO => vlen * 8,
        kind::PTR | kind::FWD | kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT => 0,
        kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

impl<'a> Btf<'a> {
    /// Reads a blob.
    ///
    /// # Errors
    /// EINVAL where it is cut off or has kinds of types that are not known.
    pub fn parse(blob: &'a [u8]) -> Result<Self, i32> {
        Self::read(blob).ok_or(EINVAL)
    }

    fn read(blob: &'a [u8]) -> Option<Self> {
        if word(blob, 0)? & 0xffff != u32::from(MAGIC) {
            return None;
        }
        let header = word(blob, 4)? as usize;
        let part = |at: usize| {
            let start = header.checked_add(word(blob, at)? as usize)?;
            let len = word(blob, at + 4)? as usize;
            blob.get(start..start.checked_add(len)?)
        };
        let (types, strings) = (part(8)?, part(16)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(at as u32);
            let info = word(types, at + 4)?;
            let extra = extra_len(info >> 24 & 0x1f, info & 0xffff)?;
            at = at.checked_add(12 + extra)?;
        }
        (at == types.len()).then_some(Self {
            types,
            strings,
            offset: header.checked_add(word(blob, 8)? as usize)?,
            starts,
        })
    }

    /// Number of types, `void` among them.
    pub fn len(&self) -> u32 {
        self.starts.len() as u32 + 1
    }

    /// Without a type.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// A type by its id.
    pub fn get(&self, id: u32) -> Option<Type<'a>> {
        let Some(nr) = id.checked_sub(1) else {
            return Some(Type::VOID);
        };
        let at = *self.starts.get(nr as usize)? as usize;
        let info = word(self.types, at + 4)?;
        let extra = extra_len(info >> 24 & 0x1f, info & 0xffff)?;
        Some(Type {
            name: word(self.types, at)?,
            info,
            size_or_type: word(self.types, at + 8)?,
            extra: self.types.get(at + 12..at + 12 + extra)?,
        })
    }

    /// Where a type begins in the blob.
    pub fn position(&self, id: u32) -> Option<usize> {
        let start = *self.starts.get(id.checked_sub(1)? as usize)?;
        Some(self.offset + start as usize)
    }

    /// All types with their ids, but for `void`.
    pub fn all(&self) -> impl Iterator<Item = (u32, Type<'a>)> {
        (1..self.len()).filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Whether a string begins at this offset.
    pub fn has_string(&self, at: u32) -> bool {
        (at as usize) < self.strings.len()
    }

    /// The strings from an offset on.
    pub fn tail(&self, at: u32) -> &'a [u8] {
        self.strings.get(at as usize..).unwrap_or_default()
    }

    /// The string at an offset, as far as it is UTF-8 and not longer than a line of
    /// the kernel's log ([`LONGEST_TEXT`]).
    pub fn text(&self, at: u32) -> &'a str {
        let tail = self.tail(at);
        let tail = tail.get(..LONGEST_TEXT).unwrap_or(tail);
        let len = tail.iter().position(|&b| b == 0).unwrap_or(tail.len());
        let bytes = tail.get(..len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => bytes
                .get(..e.valid_up_to())
                .and_then(|b| core::str::from_utf8(b).ok())
                .unwrap_or_default(),
        }
    }

    /// The type that is left when modifiers are taken off, and its id.
    pub fn resolve(&self, mut id: u32) -> Option<(u32, Type<'a>)> {
        for _ in 0..DEPTH {
            let found = self.get(id)?;
            if !found.is_modifier() {
                return Some((id, found));
            }
            id = found.size_or_type;
        }
        None
    }

    /// Bytes that a value of the type takes (`btf_resolve_size`).
    pub fn size(&self, id: u32) -> Option<u32> {
        let (mut id, mut count) = (id, 1u32);
        for _ in 0..DEPTH {
            let found = self.get(id)?;
            let size = match found.kind() {
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::FLOAT
                | kind::ENUM64 => found.size_or_type,
                kind::PTR => 8,
                kind::ARRAY => {
                    count = count.checked_mul(found.word(2))?;
                    id = found.word(0);
                    continue;
                }
                _ if found.is_modifier() => {
                    id = found.size_or_type;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(size);
        }
        None
    }
}

#[cfg(test)]
mod tests;
