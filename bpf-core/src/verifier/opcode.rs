//! Which instructions exist at all, and their fixed fields.
//!
//! What is wrong with an instruction wherever it stands is said here; rules
//! that Linux applies only to instructions that some path reaches are asked by
//! the path exploration through [`check_reached`].
use super::reject::{Res, bail};
use crate::insn::{Insn, op};
use crate::uapi::errno::EINVAL;

/// Whether the kernel's instruction table has this opcode.
pub(crate) fn exists(code: u8) -> bool {
    let (class, high) = (code & 7, code & 0xf0);
    let by_reg = code & op::X != 0;
    match class {
        op::ALU | op::ALU64 => match high {
            op::NEG => !by_reg,
            op::END => class == op::ALU || !by_reg,
            h => h <= op::ARSH,
        },
        op::JMP => match high {
            op::JA | op::CALL | op::EXIT | op::JCOND => !by_reg,
            h => h < op::JCOND,
        },
        op::JMP32 => match high {
            op::JA => !by_reg,
            op::CALL | op::EXIT => false,
            h => h < op::JCOND,
        },
        op::LD => {
            code == op::LD_IMM64
                || (matches!(code & 0xe0, op::ABS | op::IND) && code & 0x18 != op::DW)
        }
        op::LDX => match code & 0xe0 {
            op::MEM => true,
            op::MEMSX => code & 0x18 != op::DW,
            _ => false,
        },
        op::ST => code & 0xe0 == op::MEM,
        _ => matches!(code & 0xe0, op::MEM | op::ATOMIC),
    }
}

/// The rules on fields that hold for an instruction which execution reaches.
pub(crate) fn check_reached(i: &Insn) -> Res<()> {
    check_registers(i)?;
    match i.class() {
        op::ALU | op::ALU64 => check_alu(i),
        op::JMP | op::JMP32 => check_jump(i),
        op::ST if i.src != 0 => bail!(EINVAL, "BPF_ST uses reserved fields"),
        op::STX if i.opcode & 0xe0 == op::MEM && i.imm != 0 => {
            bail!(EINVAL, "BPF_STX uses reserved fields")
        }
        op::STX if i.opcode & 0xe0 == op::ATOMIC => check_atomic(i),
        op::LD if i.opcode != op::LD_IMM64 => {
            let abs = i.opcode & 0xe0 == op::ABS;
            if i.dst != 0 || i.off != 0 || (abs && i.src != 0) {
                bail!(EINVAL, "BPF_LD_[ABS|IND] uses reserved fields");
            }
            Ok(())
        }
        op::LD if i.off != 0 => bail!(EINVAL, "BPF_LD_IMM64 uses reserved fields"),
        _ => Ok(()),
    }
}

fn check_registers(i: &Insn) -> Res<()> {
    let highest = if uses_src_register(i) { i.src } else { 0 };
    for r in [i.dst, highest] {
        if r > 10 {
            bail!(EINVAL, "R{r} is invalid");
        }
    }
    Ok(())
}

/// Whether `src` names a register (rather than nothing, or a kind).
pub(crate) fn uses_src_register(i: &Insn) -> bool {
    match i.class() {
        op::ALU | op::ALU64 => i.opcode & 0xf0 != op::END && i.opcode & op::X != 0,
        op::JMP | op::JMP32 => i.opcode & op::X != 0,
        op::LDX | op::STX => true,
        op::LD => i.opcode & 0xe0 == op::IND,
        _ => false,
    }
}

fn check_alu(i: &Insn) -> Res<()> {
    let wide = i.class() == op::ALU64;
    match i.opcode & 0xf0 {
        op::NEG if i.src != 0 || i.off != 0 || i.imm != 0 => {
            bail!(EINVAL, "BPF_NEG uses reserved fields")
        }
        op::END if i.src != 0 || i.off != 0 || !matches!(i.imm, 16 | 32 | 64) => {
            bail!(EINVAL, "BPF_END uses reserved fields")
        }
        op::NEG | op::END => Ok(()),
        op::MOV if i.opcode & op::X != 0 => {
            let widths: &[i16] = if wide { &[0, 8, 16, 32] } else { &[0, 8, 16] };
            if i.imm != 0 || !widths.contains(&i.off) {
                bail!(EINVAL, "BPF_MOV uses reserved fields");
            }
            Ok(())
        }
        op::MOV if i.src != 0 || i.off != 0 => bail!(EINVAL, "BPF_MOV uses reserved fields"),
        op::MOV => Ok(()),
        what => {
            let signed_ok = matches!(what, op::DIV | op::MOD);
            let off_ok = i.off == 0 || (i.off == 1 && signed_ok);
            let by_reg = i.opcode & op::X != 0;
            if !off_ok || (by_reg && i.imm != 0) || (!by_reg && i.src != 0) {
                bail!(EINVAL, "BPF_ALU uses reserved fields");
            }
            check_alu_imm(i, wide, what, by_reg)
        }
    }
}

fn check_alu_imm(i: &Insn, wide: bool, what: u8, by_reg: bool) -> Res<()> {
    if by_reg {
        return Ok(());
    }
    if matches!(what, op::DIV | op::MOD) && i.imm == 0 {
        bail!(EINVAL, "div by zero");
    }
    let size = if wide { 64 } else { 32 };
    if matches!(what, op::LSH | op::RSH | op::ARSH) && !(0..size).contains(&i.imm) {
        bail!(EINVAL, "invalid shift {}", i.imm);
    }
    Ok(())
}

fn check_jump(i: &Insn) -> Res<()> {
    let wide = i.class() == op::JMP;
    match i.opcode & 0xf0 {
        op::CALL => {
            let plain = i.src != op::PSEUDO_KFUNC_CALL && i.off != 0;
            if plain || i.src > op::PSEUDO_KFUNC_CALL || i.dst != 0 {
                bail!(EINVAL, "BPF_CALL uses reserved fields");
            }
        }
        // Linux does not look at the offset.
        op::EXIT if i.imm != 0 || i.src != 0 || i.dst != 0 => {
            bail!(EINVAL, "BPF_EXIT uses reserved fields")
        }
        op::EXIT => {}
        op::JA => {
            let unused = if wide { i.imm != 0 } else { i.off != 0 };
            if i.src != 0 || i.dst != 0 || unused {
                bail!(EINVAL, "BPF_JA uses reserved fields");
            }
        }
        op::JCOND if i.dst != 0 || i.imm != 0 || i.src != 0 => {
            bail!(EINVAL, "invalid may_goto imm {}", i.imm)
        }
        op::JCOND => {}
        _ => {
            let unused = if i.opcode & op::X != 0 {
                i.imm
            } else {
                i32::from(i.src)
            };
            if unused != 0 {
                bail!(EINVAL, "BPF_JMP/JMP32 uses reserved fields");
            }
        }
    }
    Ok(())
}

fn check_atomic(i: &Insn) -> Res<()> {
    let narrow = i.opcode & 0x18 == op::B || i.opcode & 0x18 == op::H;
    let ordered = matches!(i.imm, op::LOAD_ACQ | op::STORE_REL);
    let arith = matches!(i.imm & !op::FETCH, 0x00 | 0x40 | 0x50 | 0xa0) && i.imm & !0xff == 0;
    if !(ordered || arith || i.imm == op::XCHG || i.imm == op::CMPXCHG) {
        bail!(
            EINVAL,
            "BPF_ATOMIC uses invalid atomic opcode {:02x}",
            i.imm
        );
    }
    if narrow && !ordered {
        bail!(EINVAL, "invalid atomic operand size");
    }
    Ok(())
}
