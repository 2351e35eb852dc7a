//! The encoder: prefixes, opcode, ModRM, SIB, displacement, immediate.

use super::forms::{Form, Imm, Map, Operands};
use super::operand::{Mem, Reg, Rm, Size};

/// The bytes of one instruction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoded {
    bytes: [u8; 16],
    len: usize,
}

impl Encoded {
    fn push(&mut self, b: u8) {
        // At most 15 bytes are ever pushed; the slot index stays in range.
        self.bytes[self.len & 15] = b;
        self.len += 1;
    }

    fn push_all(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.push(b);
        }
    }

    /// The instruction.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Encodes one instruction.
///
/// `reg` is the operand in ModRM's reg field (ignored where the form keeps an
/// opcode digit there), `rm` the other one, `vvvv` the third of VEX forms, `imm`
/// the immediate, truncated to the form's width.
pub fn encode(form: &Form, size: Size, reg: Reg, rm: Rm, vvvv: Reg, imm: i64) -> Encoded {
    let mut out = Encoded::default();
    let field = match form.operands {
        Operands::M(digit) => Reg(digit),
        Operands::O | Operands::Zo => Reg(0),
        _ => reg,
    };
    match form.map {
        Map::Vex(map, pp) => vex_prefix(&mut out, size, field, rm, vvvv, map, pp),
        _ => legacy_prefix(&mut out, form, size, field, rm),
    }
    if form.map == Map::Two {
        out.push(0x0f);
    }
    match (form.operands, rm) {
        (Operands::O, Rm::Reg(r)) => out.push(form.opcode | r.low()),
        (Operands::O | Operands::Zo, _) => out.push(form.opcode),
        _ => {
            out.push(form.opcode);
            mod_rm(&mut out, field, rm);
        }
    }
    immediate(&mut out, form.imm, size, imm);
    out
}

fn extension_bits(field: Reg, rm: Rm) -> u8 {
    let (x, b) = match rm {
        Rm::Reg(r) => (0, r.high()),
        Rm::Mem(m) => (m.index.map_or(0, |(i, _)| i.high()), m.base.high()),
    };
    field.high() << 2 | x << 1 | b
}

fn legacy_prefix(out: &mut Encoded, form: &Form, size: Size, field: Reg, rm: Rm) {
    if size == Size::H {
        out.push(0x66);
    }
    let w = u8::from(size == Size::D && !form.default64);
    let rm = match form.operands {
        Operands::Zo => Rm::Reg(Reg(0)),
        _ => rm,
    };
    let rex = w << 3 | extension_bits(field, rm);
    let byte_reg = |r: Reg| form.byte && (4..8).contains(&r.0);
    let uniform = match (form.operands, rm) {
        (Operands::Mr, _) => byte_reg(field),
        (_, Rm::Reg(r)) => byte_reg(r),
        _ => false,
    };
    let both = matches!((form.operands, rm), (Operands::Mr, Rm::Reg(r)) if byte_reg(r));
    if rex != 0 || uniform || both {
        out.push(0x40 | rex);
    }
}

fn vex_prefix(out: &mut Encoded, size: Size, field: Reg, rm: Rm, vvvv: Reg, map: u8, pp: u8) {
    let w = u8::from(size == Size::D);
    out.push(0xc4);
    out.push((!extension_bits(field, rm) & 7) << 5 | map);
    out.push(w << 7 | (!vvvv.0 & 15) << 3 | pp);
}

fn mod_rm(out: &mut Encoded, field: Reg, rm: Rm) {
    let reg = field.low() << 3;
    match rm {
        Rm::Reg(r) => out.push(0xc0 | reg | r.low()),
        Rm::Mem(m) => memory(out, reg, m),
    }
}

/// ModRM, SIB and displacement of a memory operand. RSP and R12 as base need a
/// SIB byte; RBP and R13 as base always have a displacement. No base is written
/// as RBP without a displacement, and has one of four bytes.
fn memory(out: &mut Encoded, reg: u8, m: Mem) {
    let without_base = m.base == Reg::NONE;
    let base = if without_base { 5 } else { m.base.low() };
    let mode = match i8::try_from(m.disp) {
        _ if without_base => 0x00,
        Ok(0) if base != 5 => 0x00,
        Ok(_) => 0x40,
        Err(_) => 0x80,
    };
    match m.index {
        None if base != 4 => out.push(mode | reg | base),
        None => out.push_all(&[mode | reg | 4, 0x24]),
        Some((i, scale)) => {
            out.push_all(&[mode | reg | 4, (scale & 3) << 6 | i.low() << 3 | base]);
        }
    }
    match mode {
        0x00 if !without_base => {}
        0x40 => out.push(m.disp as u8),
        _ => out.push_all(&m.disp.to_le_bytes()),
    }
}

fn immediate(out: &mut Encoded, kind: Imm, size: Size, imm: i64) {
    let bytes = imm.to_le_bytes();
    let len = match (kind, size) {
        (Imm::None, _) => 0,
        (Imm::I8, _) | (Imm::Full, Size::B) => 1,
        (Imm::I32 | Imm::Full, Size::H) => 2,
        (Imm::Full, Size::D) => 8,
        (Imm::I32 | Imm::Full, _) => 4,
    };
    out.push_all(bytes.get(..len).unwrap_or(&[]));
}
