//! Whether members lie inside their structures (`check_member` of each kind).
use super::check::{Res, invalid};
use super::resolve::{Resolver, is_regular_int};
use super::{Member, Type, kind};

/// Checks a member whose type is known.
pub(super) fn check(r: &Resolver<'_, '_>, of: &Type<'_>, m: &Member) -> Res<()> {
    let Some(mut t) = r.btf.get(m.of) else {
        return invalid("Invalid member");
    };
    let mut id = m.of;
    if t.is_modifier() {
        let Some((down, found, _)) = r.sized(id) else {
            return invalid("Invalid member");
        };
        (id, t) = (down, found);
    }
    let (at, bits) = match of.flag() {
        true => (m.offset & 0xff_ffff, m.offset >> 24),
        false => (m.offset, 0),
    };
    let place = Place {
        room: of.size_or_type.into(),
        at: at.into(),
        bits: bits.into(),
    };
    match t.kind() {
        kind::INT if of.flag() => place.bit_field(&t),
        kind::INT => place.int(&t),
        kind::ENUM | kind::ENUM64 if of.flag() => place.enum_field(),
        _ if bits != 0 => invalid("Invalid member bitfield_size"),
        kind::FLOAT => place.float(&t),
        kind::PTR => place.bytes(8),
        kind::ENUM | kind::ENUM64 | kind::STRUCT | kind::UNION => {
            place.bytes(t.size_or_type.into())
        }
        kind::ARRAY => place.bytes(r.sized(id).map_or(0, |(_, _, size)| size.into())),
        _ => invalid("Unsupported check_member"),
    }
}

/// Of a member, in bits; of its structure, in bytes.
struct Place {
    room: u64,
    at: u64,
    bits: u64,
}

impl Place {
    /// Whole bytes.
    fn bytes(&self, len: u64) -> Res<()> {
        if !self.at.is_multiple_of(8) {
            return invalid("Member is not byte aligned");
        }
        self.inside(self.at + len * 8)
    }

    fn inside(&self, end: u64) -> Res<()> {
        if end.div_ceil(8) > self.room {
            return invalid("Member exceeds struct_size");
        }
        Ok(())
    }

    fn int(&self, t: &Type<'_>) -> Res<()> {
        let at = self.at + u64::from(t.int_offset());
        if at > u32::MAX.into() {
            return invalid("bits_offset exceeds U32_MAX");
        }
        self.copied(at, t.int_bits().into())
    }

    fn bit_field(&self, t: &Type<'_>) -> Res<()> {
        if !is_regular_int(t) {
            return invalid("Invalid member base type");
        }
        let most = u64::from(t.int_bits());
        match self.bits {
            0 if !self.at.is_multiple_of(8) => invalid("Invalid member offset"),
            0 => self.copied(self.at, most),
            bits if bits > most => invalid("Invalid member bitfield_size"),
            bits => self.copied(self.at, bits),
        }
    }

    /// Bits that are read as at most 16 bytes.
    fn copied(&self, at: u64, bits: u64) -> Res<()> {
        if bits + at % 8 > 128 {
            return invalid("nr_copy_bits exceeds 128");
        }
        self.inside(at + bits)
    }

    fn enum_field(&self) -> Res<()> {
        match self.bits {
            0 if !self.at.is_multiple_of(8) => invalid("Member is not byte aligned"),
            0 => self.inside(self.at + 32),
            bits if bits > 32 => invalid("Invalid member bitfield_size"),
            bits => self.inside(self.at + bits),
        }
    }

    fn float(&self, t: &Type<'_>) -> Res<()> {
        let align = u64::from(t.size_or_type.min(8)) * 8;
        if !self.at.is_multiple_of(align) {
            return invalid("Member is not properly aligned");
        }
        self.inside(self.at + u64::from(t.size_or_type) * 8)
    }
}
