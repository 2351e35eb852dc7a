//! Whether a blob is what Linux takes: its sections, and each type by itself
//! (`btf_parse_hdr` to `btf_check_all_metas`). What types say of each other is in
//! `resolve`.
use super::{Btf, HEADER, MAGIC, Type, extra_len, kind, linkage, resolve, word};
use crate::uapi::errno::{E2BIG, EINVAL, ENOTSUPP};
use alloc::format;
use alloc::string::String;
use core::fmt;

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Positive errno, as `BPF_BTF_LOAD` answers.
    pub errno: i32,
    /// One line; a type is named by its id.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl core::error::Error for Damage {}

/// What every check answers.
pub(super) type Res<T> = Result<T, Damage>;

pub(super) fn damage(errno: i32, what: impl Into<String>) -> Damage {
    let what = what.into();
    Damage { errno, what }
}

pub(super) fn invalid<T>(what: impl Into<String>) -> Res<T> {
    Err(damage(EINVAL, what))
}

/// `BTF_MAX_TYPE`.
const MOST_TYPES: u32 = 0xf_ffff;
/// `BTF_MAX_NAME_OFFSET`.
const LAST_NAME: usize = 0xff_ffff;
/// `KSYM_NAME_LEN`.
const LONGEST_NAME: usize = 512;
/// Bits of `info` that mean something.
const INFO: u32 = 0x9f00_ffff;

impl<'a> Btf<'a> {
    /// Reads a blob that Linux would load.
    ///
    /// # Errors
    /// With Linux's errno: EINVAL for what is malformed, E2BIG for what is too much
    /// or nested too deep, EEXIST and ELOOP for types that contain themselves,
    /// `ENOTSUPP` for what is newer.
    pub fn checked(blob: &'a [u8]) -> Result<Self, Damage> {
        let (types, strings) = sections(blob)?;
        let mut btf = Btf {
            types,
            strings,
            offset: blob.len() - strings.len() - types.len(),
            starts: alloc::vec::Vec::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let id = btf.starts.len() as u32 + 1;
            if id > MOST_TYPES {
                return Err(damage(E2BIG, "too many types"));
            }
            let len = btf.meta(types.get(at..).unwrap_or_default());
            let len = len.map_err(|d| damage(d.errno, format!("[{id}] {}", d.what)))?;
            btf.starts.push(at as u32);
            at += len;
        }
        resolve::all(&btf)?;
        btf.tags_first()?;
        Ok(btf)
    }

    /// Looks at the first of these types; gives its length.
    fn meta(&self, left: &[u8]) -> Res<usize> {
        let (Some(name), Some(info), Some(size)) = (word(left, 0), word(left, 4), word(left, 8))
        else {
            return invalid("a type is cut off");
        };
        if info & !INFO != 0 {
            return invalid(format!("Invalid btf_info:{info:x}"));
        }
        let t = Type {
            name,
            info,
            size_or_type: size,
            extra: &[],
        };
        let Some(extra) = extra_len(t.kind(), t.vlen()) else {
            return invalid("Invalid kind");
        };
        if !self.has_string(name) {
            return invalid(format!("Invalid name_offset:{name}"));
        }
        let Some(extra) = left.get(12..12 + extra) else {
            return invalid("a type is cut off");
        };
        self.members(&Type { extra, ..t })?;
        Ok(12 + extra.len())
    }

    fn members(&self, t: &Type<'_>) -> Res<()> {
        let tag = t.kind() == kind::TYPE_TAG;
        match t.kind() {
            kind::INT => int(t),
            kind::ARRAY => self.array(t),
            kind::STRUCT | kind::UNION => self.structure(t),
            kind::ENUM | kind::ENUM64 => self.enumeration(t),
            kind::FWD => {
                plain(t, true)?;
                if t.size_or_type != 0 {
                    return invalid("type != 0");
                }
                self.named(t.name)
            }
            kind::FUNC => {
                self.named(t.name)?;
                if t.vlen() > linkage::GLOBAL {
                    return invalid("Invalid func linkage");
                }
                no_flag(t)
            }
            kind::FUNC_PROTO => {
                unnamed(t)?;
                no_flag(t)
            }
            kind::VAR => {
                plain(t, false)?;
                self.named(t.name)?;
                refers(t.size_or_type, "Invalid type_id")?;
                match t.word(0) {
                    0 | 1 => Ok(()),
                    _ => invalid("Linkage not supported"),
                }
            }
            kind::DATASEC => self.section(t),
            kind::FLOAT => {
                plain(t, false)?;
                match t.size_or_type {
                    2 | 4 | 8 | 12 | 16 => Ok(()),
                    _ => invalid("Invalid type_size"),
                }
            }
            kind::DECL_TAG => {
                self.not_empty(t.name, "Invalid value")?;
                plain(t, true)?;
                match t.word(0) as i32 {
                    ..-1 => invalid("Invalid component_idx"),
                    _ => Ok(()),
                }
            }
            // Pointers and modifiers.
            other => {
                plain(t, tag)?;
                if t.size_or_type > MOST_TYPES {
                    return invalid("Invalid type_id");
                }
                match other {
                    kind::TYPEDEF => self.named(t.name),
                    kind::TYPE_TAG => self.not_empty(t.name, "Invalid name"),
                    _ => unnamed(t),
                }
            }
        }
    }

    fn array(&self, t: &Type<'_>) -> Res<()> {
        unnamed(t)?;
        plain(t, false)?;
        if t.size_or_type != 0 {
            return invalid("size != 0");
        }
        refers(t.word(0), "Invalid elem")?;
        refers(t.word(1), "Invalid index")
    }

    fn structure(&self, t: &Type<'_>) -> Res<()> {
        self.maybe_named(t.name)?;
        let mut before = 0;
        for m in t.members() {
            if !self.has_string(m.name) {
                return invalid(format!("Invalid member name_offset:{}", m.name));
            }
            self.maybe_named(m.name)?;
            refers(m.of, "Invalid type_id")?;
            let at = m.bit_offset(t);
            if (t.kind() == kind::UNION && at != 0) || before > at {
                return invalid("Invalid member bits_offset");
            }
            if at.div_ceil(8) > t.size_or_type {
                return invalid("Member bits_offset exceeds its struct size");
            }
            before = at;
        }
        Ok(())
    }

    fn enumeration(&self, t: &Type<'_>) -> Res<()> {
        if t.size_or_type > 8 || !t.size_or_type.is_power_of_two() {
            return invalid("Unexpected size");
        }
        self.maybe_named(t.name)?;
        let words = if t.kind() == kind::ENUM64 { 3 } else { 2 };
        for nr in 0..t.vlen() as usize {
            let name = t.word(nr * words);
            if !self.has_string(name) {
                return invalid("Invalid name_offset");
            }
            self.named(name)?;
        }
        Ok(())
    }

    fn section(&self, t: &Type<'_>) -> Res<()> {
        if t.size_or_type == 0 {
            return invalid("size == 0");
        }
        no_flag(t)?;
        if t.name == 0 || !self.fits(t.name, |_, c| printable(c)) {
            return invalid("Invalid name");
        }
        let size = u64::from(t.size_or_type);
        let (mut end, mut sum) = (0, 0);
        for nr in 0..t.vlen() as usize {
            refers(t.word(nr * 3), "Invalid type_id")?;
            let (at, len) = (u64::from(t.word(nr * 3 + 1)), u64::from(t.word(nr * 3 + 2)));
            if at < end || at >= size {
                return invalid("Invalid offset");
            }
            if len == 0 || len > size {
                return invalid("Invalid size");
            }
            end = at + len;
            if end > size {
                return invalid("Invalid offset+size");
            }
            sum += len;
        }
        if size < sum {
            return invalid("Invalid btf_info size");
        }
        Ok(())
    }

    /// The name must be one of C.
    pub(super) fn named(&self, name: u32) -> Res<()> {
        if name == 0 || !self.is_identifier(name) {
            return invalid("Invalid name");
        }
        Ok(())
    }

    fn maybe_named(&self, name: u32) -> Res<()> {
        if name == 0 { Ok(()) } else { self.named(name) }
    }

    fn not_empty(&self, name: u32, what: &str) -> Res<()> {
        match self.tail(name).first() {
            Some(0) | None => invalid(what),
            _ => Ok(()),
        }
    }

    pub(super) fn is_identifier(&self, name: u32) -> bool {
        self.fits(name, |nr, c| match c {
            b'_' | b'.' => true,
            b'0'..=b'9' => nr > 0,
            _ => letter(c),
        })
    }

    /// A string that is not empty and not too long, all of whose characters may
    /// stand where they do.
    fn fits(&self, name: u32, good: impl Fn(usize, u8) -> bool) -> bool {
        let tail = self.tail(name);
        let len = tail.iter().take(LONGEST_NAME + 1).position(|&c| c == 0);
        let name = len.and_then(|len| tail.get(..len)).unwrap_or_default();
        !name.is_empty() && name.iter().enumerate().all(|(nr, &c)| good(nr, c))
    }

    /// Type tags stand before other modifiers, and no chain of these is endless
    /// (`btf_check_type_tags`).
    fn tags_first(&self) -> Res<()> {
        use crate::uapi::errno::ELOOP;
        let mut good = 0;
        for (id, first) in self.all().filter(|(_, t)| t.is_modifier()) {
            let (mut at, mut t) = (id, first);
            let mut in_tags = t.kind() == kind::TYPE_TAG;
            let mut left = resolve::DEEPEST;
            while t.is_modifier() {
                if left == 0 {
                    return Err(damage(ELOOP, "Max chain length or cycle detected"));
                }
                left -= 1;
                match t.kind() == kind::TYPE_TAG {
                    true if !in_tags => return invalid("Type tags don't precede modifiers"),
                    true => {}
                    false => in_tags = false,
                }
                if at <= good {
                    break;
                }
                at = t.size_or_type;
                match self.get(at) {
                    Some(next) => t = next,
                    None => return invalid("a type refers to none"),
                }
            }
            good = id;
        }
        Ok(())
    }
}

/// Types and strings.
fn sections(blob: &[u8]) -> Res<(&[u8], &[u8])> {
    let Some(header_len) = word(blob, 4) else {
        return invalid("hdr_len not found");
    };
    let header_len = header_len as usize;
    let Some(header) = blob.get(..header_len) else {
        return invalid("btf_header not found");
    };
    if header.iter().skip(HEADER).any(|&b| b != 0) {
        return Err(damage(E2BIG, "Unsupported btf_header"));
    }
    let mut known = [0; HEADER];
    for (to, from) in known.iter_mut().zip(header) {
        *to = *from;
    }
    let [magic_0, magic_1, version, flags, ..] = known;
    if u16::from_ne_bytes([magic_0, magic_1]) != MAGIC {
        return invalid("Invalid magic");
    }
    if version != 1 {
        return Err(damage(ENOTSUPP, "Unsupported version"));
    }
    if flags != 0 {
        return Err(damage(ENOTSUPP, "Unsupported flags"));
    }
    let data = blob.get(header_len..).unwrap_or_default();
    if data.is_empty() {
        return invalid("No data");
    }
    let field = |at| word(&known, at).unwrap_or(0) as usize;
    let (types, strings) = ((field(8), field(12)), (field(16), field(20)));
    let mut parts = [types, strings];
    parts.sort_by_key(|&(off, len)| (off as u32 as i32, len as u32 as i32));
    let mut total = 0;
    for (off, len) in parts {
        match () {
            () if data.len() < off => return invalid("Invalid section offset"),
            () if total < off => return invalid("Unsupported section found"),
            () if total > off => return invalid("Section overlap found"),
            () if data.len() - total < len => return invalid("Total section length too long"),
            () => total += len,
        }
    }
    if total != data.len() {
        return invalid("Unsupported section found");
    }
    if strings.0 + strings.1 != data.len() {
        return invalid("String section is not at the end");
    }
    let string_data = data.get(strings.0..).unwrap_or_default();
    if string_data.len() > LAST_NAME + 1
        || string_data.first() != Some(&0)
        || string_data.last() != Some(&0)
    {
        return invalid("Invalid string section");
    }
    if types.0 % 4 != 0 {
        return invalid("Unaligned type_off");
    }
    match data.get(types.0..types.0 + types.1) {
        Some([]) | None => invalid("No type found"),
        Some(type_data) => Ok((type_data, string_data)),
    }
}

/// No members, and no flag unless the kind has one.
fn plain(t: &Type<'_>, flag: bool) -> Res<()> {
    if t.vlen() != 0 {
        return invalid("vlen != 0");
    }
    if flag { Ok(()) } else { no_flag(t) }
}

fn no_flag(t: &Type<'_>) -> Res<()> {
    if t.flag() {
        return invalid("Invalid btf_info kind_flag");
    }
    Ok(())
}

fn unnamed(t: &Type<'_>) -> Res<()> {
    if t.name != 0 {
        return invalid("Invalid name");
    }
    Ok(())
}

/// The id of something that is not void.
fn refers(id: u32, what: &str) -> Res<()> {
    if id == 0 || id > MOST_TYPES {
        return invalid(what);
    }
    Ok(())
}

fn int(t: &Type<'_>) -> Res<()> {
    plain(t, false)?;
    let data = t.word(0);
    if data & !0x0fff_ffff != 0 {
        return invalid(format!("Invalid int_data:{data:x}"));
    }
    let bits = t.int_bits() + t.int_offset();
    if bits > 128 {
        return invalid("nr_bits exceeds 128");
    }
    if bits.div_ceil(8) > t.size_or_type {
        return invalid("nr_bits exceeds type_size");
    }
    match data >> 24 {
        0 | 1 | 2 | 4 => Ok(()),
        _ => Err(damage(ENOTSUPP, "Unsupported encoding")),
    }
}

/// `isalpha` of the kernel, which knows Latin-1.
fn letter(c: u8) -> bool {
    c.is_ascii_alphabetic() || (c >= 0xc0 && c != 0xd7 && c != 0xf7)
}

/// `isprint` of the kernel.
fn printable(c: u8) -> bool {
    matches!(c, 0x20..=0x7e | 0xa0..)
}
