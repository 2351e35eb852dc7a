//! Which registers an instruction reads and writes.

use crate::insn::{Insn, op};

/// A set of BPF registers, one bit each.
pub type RegSet = u16;

/// R0 to R5: not preserved by calls.
pub const CALLER_SAVED: RegSet = 0x3f;
/// R1 to R5: the arguments of calls.
pub const ARGUMENTS: RegSet = 0x3e;
/// R6 to R9: preserved by calls.
pub const CALLEE_SAVED: RegSet = 0x3c0;
/// All registers.
pub const ALL: RegSet = 0x7ff;

/// The set with one register.
pub const fn bit(reg: u8) -> RegSet {
    1 << (reg & 15)
}

/// Registers read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Registers whose value matters.
    pub uses: RegSet,
    /// Registers that have a new (or no) value afterwards.
    pub defs: RegSet,
}

impl Effect {
    /// What an instruction reads and writes.
    pub fn of(i: Insn) -> Self {
        let (dst, src) = (bit(i.dst), bit(i.src));
        let (uses, defs) = match i.class() {
            op::ALU | op::ALU64 => alu(i, dst, src),
            op::JMP | op::JMP32 => return jump(i, dst, src),
            op::LD if i.is_wide() => (0, dst),
            // The second slot of a wide load.
            op::LD if i.opcode & 0xe0 == op::IMM => (0, 0),
            op::LD => {
                let index = if i.opcode & 0xe0 == op::IND { src } else { 0 };
                (index | bit(6), CALLER_SAVED)
            }
            op::LDX => (src, dst),
            op::ST => (dst, 0),
            _ => store(i, dst, src),
        };
        Self { uses, defs }
    }
}

fn alu(i: Insn, dst: RegSet, src: RegSet) -> (RegSet, RegSet) {
    let operand = if i.opcode & op::X != 0 { src } else { 0 };
    match i.opcode & 0xf0 {
        op::MOV => (operand, dst),
        op::NEG | op::END => (dst, dst),
        _ => (operand | dst, dst),
    }
}

fn jump(i: Insn, dst: RegSet, src: RegSet) -> Effect {
    let operand = if i.opcode & op::X != 0 { src } else { 0 };
    let (uses, defs) = match i.opcode & 0xf0 {
        op::JA | op::JCOND => (0, 0),
        op::EXIT => (bit(0), 0),
        op::CALL => (ARGUMENTS, CALLER_SAVED),
        _ => (dst | operand, 0),
    };
    Effect { uses, defs }
}

fn store(i: Insn, dst: RegSet, src: RegSet) -> (RegSet, RegSet) {
    if i.opcode & 0xe0 != op::ATOMIC {
        return (dst | src, 0);
    }
    match i.imm {
        op::LOAD_ACQ => (src, dst),
        op::CMPXCHG => (dst | src | bit(0), bit(0)),
        imm if imm & op::FETCH != 0 => (dst | src, src),
        _ => (dst | src, 0),
    }
}
