//! Programs that apply something to many values and fold the results.

use super::{Fixup, Line, Table};
use crate::generate::{Code, Operand};
use bpf_core::insn::op;

/// 64-bit numbers at the edges of every size.
pub const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    7,
    u64::MAX,
    u64::MAX - 1,
    0x7f,
    0x80,
    0xff80,
    0x7fff,
    0x8000,
    0xffff_8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0xffff_ffff_0000_0000,
    0xffff_ffff_7fff_ffff,
    0xffff_ffff_8000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0x0123_4567_89ab_cdef,
    0xfedc_ba98_7654_3210,
];

/// 32-bit immediates at the edges of their encodings.
pub const IMMEDIATES: [i32; 20] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    10,
    31,
    63,
    127,
    128,
    -128,
    -129,
    255,
    0x7fff,
    0xffff,
    0x10000,
    i32::MAX,
    i32::MIN,
    0x1234_5678,
];

/// Where the operands come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Immediate loads: the compiler knows them.
    Constants,
    /// A map's value: nobody does.
    Memory,
}

impl From {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Constants, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Constants => "known",
            Self::Memory => "unknown",
        }
    }
}

/// A program in the making. The sum of results lies on the stack at
/// [`Fold::SUM`], so that every register is free for what is tried.
pub struct Fold {
    pub code: Code,
    from: From,
    fixups: Vec<Fixup>,
}

impl Fold {
    /// The stack slot of the sum so far.
    pub const SUM: i16 = -8;
    /// A stack slot that is free.
    pub const FREE: i16 = -16;

    /// An empty one.
    pub fn new(from: From) -> Self {
        let mut code = Code::default();
        code.store(op::DW, 10, Self::SUM, Operand::Imm(0));
        code.store(op::DW, 10, Self::FREE, Operand::Imm(0));
        Self {
            code,
            from,
            fixups: Vec::new(),
        }
    }

    /// `reg = NUMBERS[index]`.
    pub fn number(&mut self, reg: u8, index: usize) {
        match self.from {
            From::Constants => self.code.number(reg, NUMBERS[index]),
            From::Memory => {
                self.value(reg);
                self.code.load(op::MEM, op::DW, reg, reg, 8 * index as i16);
            }
        }
    }

    /// `reg =` the address of the map's value.
    pub fn value(&mut self, reg: u8) {
        let insn = self.code.len();
        self.fixups.push(Fixup {
            insn,
            map: 0,
            value: true,
        });
        self.code.imm64(reg, 0, 0, 0);
    }

    /// Takes a register's value into the sum; changes R0 to R2 but for `reg`.
    pub fn take(&mut self, reg: u8) {
        let (sum, scratch) = match reg {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        };
        let code = &mut self.code;
        code.load(op::MEM, op::DW, sum, 10, Self::SUM);
        code.mov(scratch, Operand::Reg(sum));
        code.alu(op::ALU64, op::LSH, scratch, Operand::Imm(7), 0);
        code.alu(op::ALU64, op::RSH, sum, Operand::Imm(57), 0);
        code.alu(op::ALU64, op::OR, sum, Operand::Reg(scratch), 0);
        code.alu(op::ALU64, op::XOR, sum, Operand::Reg(reg), 0);
        code.store(op::DW, 10, Self::SUM, Operand::Reg(sum));
    }

    /// The program, which gives the sum with its halves folded.
    pub fn finish(mut self, name: impl AsRef<str>) -> Line {
        let code = &mut self.code;
        code.load(op::MEM, op::DW, 0, 10, Self::SUM);
        code.mov(1, Operand::Reg(0));
        code.alu(op::ALU64, op::RSH, 1, Operand::Imm(32), 0);
        code.alu(op::ALU64, op::XOR, 0, Operand::Reg(1), 0);
        code.exit();
        let name = format!("{}, {}", name.as_ref(), self.from.name());
        let bytes = NUMBERS.iter().flat_map(|n| n.to_le_bytes()).collect();
        Line {
            maps: vec![Table::Value(bytes)],
            fixups: self.fixups,
            ..Line::new(name, self.code.finish())
        }
    }
}
