//! Every form with every operand shape, read back by an independent decoder.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::forms::{ALUS, FORMS, Form, Imm, Map, Operands, SHIFTS};
use super::{Mem, Reg, Rm, Size, encode};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::D];
const IMMS: [i64; 8] = [0, 1, -1, 127, -128, 0x1234, 0x7fff_ffff, -0x8000_0000];
const DISPS: [i32; 8] = [0, 1, -1, 127, 128, -128, -129, i32::MIN];

fn regs() -> impl Iterator<Item = Reg> {
    (0..16).map(Reg)
}

fn memories() -> Vec<Mem> {
    let mut all = Vec::new();
    for base in regs() {
        all.extend(DISPS.map(|d| Mem::new(base, d)));
        for index in regs().filter(|&r| r != Reg::RSP) {
            all.extend([0, 5, 500].map(|d| Mem::indexed(base, index, index.0 & 3, d)));
        }
    }
    for index in regs().filter(|&r| r != Reg::RSP) {
        all.extend(DISPS.map(|d| Mem::table(index, index.0 & 3, d)));
    }
    all
}

fn all_forms() -> Vec<Form> {
    let alus = ALUS.iter().flat_map(|a| [a.mr, a.rm, a.i8, a.i32]);
    let shifts = SHIFTS.iter().flat_map(|s| [s.i8, s.cl]);
    alus.chain(shifts).chain(FORMS.iter().copied()).collect()
}

/// Sizes that a form is used with.
fn sizes(form: &Form) -> &'static [Size] {
    match (form.name, form.map) {
        _ if form.default64 => &SIZES[3..],
        ("mov" | "test" | "seto", _) if form.byte => &SIZES[..1],
        ("movsxd", _) => &SIZES[3..],
        ("movzx" | "movsx" | "bswap" | "cdq" | "xadd" | "cmpxchg", _) | (_, Map::Vex(..)) => {
            &SIZES[2..]
        }
        _ => &SIZES[1..],
    }
}

/// What a register is called as an operand of this width.
fn register(r: Reg, bytes: usize) -> Register {
    let first = match bytes {
        1 => return byte_register(r),
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    };
    first + u32::from(r.0)
}

fn byte_register(r: Reg) -> Register {
    match r.0 {
        0..4 => Register::AL + u32::from(r.0),
        n => Register::SPL + u32::from(n - 4),
    }
}

fn width(size: Size) -> usize {
    match size {
        Size::B => 1,
        Size::H => 2,
        Size::W => 4,
        Size::D => 8,
    }
}

/// Width of the `r/m` operand, which differs from the other's in extensions.
fn rm_width(form: &Form, size: Size) -> usize {
    match (form.name, form.opcode) {
        ("movzx" | "movsx", 0xb6 | 0xbe) => 1,
        ("movzx" | "movsx", _) => 2,
        ("movsxd", _) => 4,
        _ => width(size),
    }
}

fn same_memory(i: &Instruction, m: Mem) -> bool {
    let index = m.index.map_or(Register::None, |(r, _)| register(r, 8));
    let scale = m.index.map_or(1, |(_, s)| 1 << s);
    let base = match m.base {
        Reg::NONE => Register::None,
        base => register(base, 8),
    };
    i.memory_base() == base
        && i.memory_index() == index
        && i.memory_index_scale() == scale
        && i.memory_displacement64() == m.disp as i64 as u64
}

fn check_operand(i: &Instruction, n: u32, form: &Form, size: Size, operand: Rm, is_rm: bool) {
    let bytes = if is_rm {
        rm_width(form, size)
    } else {
        width(size)
    };
    match operand {
        Rm::Reg(r) => assert_eq!(i.op_register(n), register(r, bytes), "{form:?} {operand:?}"),
        Rm::Mem(m) => {
            assert_eq!(i.op_kind(n), OpKind::Memory, "{form:?}");
            assert!(same_memory(i, m), "{form:?} {size:?} {m:?}: {i}");
        }
    }
}

fn expected_immediate(form: &Form, size: Size, imm: i64) -> Option<u64> {
    let kept = match (form.imm, size) {
        (Imm::None, _) => return None,
        (Imm::I8, _) => i64::from(imm as i8),
        (Imm::Full, Size::D) => imm,
        (_, Size::H) => i64::from(imm as i16),
        _ => i64::from(imm as i32),
    };
    let mask = u64::MAX >> (64 - 8 * width(size));
    Some(kept as u64 & mask)
}

fn immediate(i: &Instruction, size: Size) -> u64 {
    let last = i.op_count() - 1;
    let mask = u64::MAX >> (64 - 8 * width(size));
    i.immediate(last) & mask
}

fn mnemonic(form: &Form, size: Size) -> &'static str {
    match (form.name, size) {
        ("cdq", Size::D) => "cqo",
        (name, _) => name,
    }
}

fn check(form: &Form, size: Size, reg: Reg, rm: Rm, vvvv: Reg, imm: i64) {
    // Forms with two operands leave vvvv unused, which is encoded as register 0.
    let vvvv = match form.operands {
        Operands::Rm => Reg::RAX,
        _ => vvvv,
    };
    let bytes = encode(form, size, reg, rm, vvvv, imm);
    let mut decoder = Decoder::new(64, bytes.as_slice(), DecoderOptions::NONE);
    let i = decoder.decode();
    let name: String = format!("{:?}", i.mnemonic()).to_lowercase();
    let shown = format!("{form:?} {size:?} {reg:?} {rm:?} {imm}: {i}");
    assert!(
        !i.is_invalid() && i.len() == bytes.as_slice().len(),
        "{shown}"
    );
    assert_eq!(name, mnemonic(form, size), "{shown}");
    let operands: &[(Rm, bool)] = match form.operands {
        Operands::Zo => &[],
        Operands::Mr => &[(rm, true), (Rm::Reg(reg), false)],
        Operands::Rm => &[(Rm::Reg(reg), false), (rm, true)],
        Operands::M(_) | Operands::O => &[(rm, true)],
        Operands::Rmv => &[(Rm::Reg(reg), false), (rm, true), (Rm::Reg(vvvv), false)],
    };
    for (n, &(operand, is_rm)) in operands.iter().enumerate() {
        check_operand(&i, n as u32, form, size, operand, is_rm);
    }
    if let Some(expected) = expected_immediate(form, size, imm) {
        let shift_mask = if i.op_kind(i.op_count() - 1) == OpKind::Immediate8 {
            0xff
        } else {
            !0
        };
        assert_eq!(
            immediate(&i, size) & shift_mask,
            expected & shift_mask,
            "{shown}"
        );
    }
}

fn takes_memory(form: &Form) -> bool {
    !matches!(form.operands, Operands::O | Operands::Zo)
}

fn takes_register(form: &Form) -> bool {
    form.name != "lea"
}

#[test]
fn every_form_decodes_to_itself() {
    let memories = memories();
    for form in all_forms() {
        for &size in sizes(&form) {
            for a in regs() {
                let imm = IMMS[usize::from(a.0) % IMMS.len()];
                for b in regs().filter(|_| takes_register(&form)) {
                    check(&form, size, a, b.into(), Reg(a.0 ^ b.0), imm);
                }
                let some = memories.iter().skip(usize::from(a.0)).step_by(7);
                for &m in some.filter(|_| takes_memory(&form)) {
                    check(&form, size, a, m.into(), Reg(15 - a.0), imm);
                }
            }
        }
    }
}

#[test]
fn every_immediate_decodes_to_itself() {
    for form in all_forms().iter().filter(|f| f.imm != Imm::None) {
        for &size in sizes(form) {
            for imm in IMMS {
                if takes_register(form) {
                    check(form, size, Reg::RDX, Reg::RSI.into(), Reg::RAX, imm);
                }
            }
        }
    }
}
