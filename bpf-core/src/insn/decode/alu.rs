//! Arithmetic (RFC 9669, sections 4.1 and 4.2).
use super::Decoded;
use crate::insn::{AluOp, DecodeError, Field, Insn, Op, Operand, Size, Swap, Width, op};

impl Insn {
    pub(super) fn alu(&self, width: Width) -> Decoded<Op> {
        let op = match self.opcode & 0xf0 {
            op::ADD => AluOp::Add,
            op::SUB => AluOp::Sub,
            op::MUL => AluOp::Mul,
            op::DIV if self.off == 1 => AluOp::Sdiv,
            op::DIV => AluOp::Div,
            op::OR => AluOp::Or,
            op::AND => AluOp::And,
            op::LSH => AluOp::Lsh,
            op::RSH => AluOp::Rsh,
            op::MOD if self.off == 1 => AluOp::Smod,
            op::MOD => AluOp::Mod,
            op::XOR => AluOp::Xor,
            op::ARSH => AluOp::Arsh,
            op::MOV => return self.mov(width),
            op::NEG => return self.neg(width),
            op::END => return self.swap(width),
            _ => return self.unknown(),
        };
        if !matches!(op, AluOp::Sdiv | AluOp::Smod) {
            self.unused("BPF_ALU", &[Field::Off])?;
        }
        let src = self.operand("BPF_ALU")?;
        let dst = self.dst()?;
        check_constant(op, width, src)?;
        Ok(Op::Alu {
            width,
            op,
            dst,
            src,
        })
    }

    fn mov(&self, width: Width) -> Decoded<Op> {
        if width == Width::W64 && self.is_x() && self.off == 1 {
            return Err(DecodeError::AddrSpaceCast);
        }
        let src = self.operand("BPF_MOV")?;
        let from = match (src, self.off, width) {
            (_, 0, _) => None,
            (Operand::Reg(src), 8, _) => Some((Size::B, src)),
            (Operand::Reg(src), 16, _) => Some((Size::H, src)),
            (Operand::Reg(src), 32, Width::W64) => Some((Size::W, src)),
            _ => return Err(DecodeError::reserved("BPF_MOV", Field::Off, self)),
        };
        let dst = self.dst()?;
        Ok(match from {
            Some((from, src)) => Op::Movsx {
                width,
                from,
                dst,
                src,
            },
            None => Op::Alu {
                width,
                op: AluOp::Mov,
                dst,
                src,
            },
        })
    }

    fn neg(&self, width: Width) -> Decoded<Op> {
        if self.is_x() {
            return self.unknown();
        }
        self.unused("BPF_NEG", &[Field::Src, Field::Off, Field::Imm])?;
        Ok(Op::Neg {
            width,
            dst: self.dst()?,
        })
    }

    fn swap(&self, width: Width) -> Decoded<Op> {
        let swap = match (width, self.is_x()) {
            (Width::W32, false) => Swap::Le,
            (Width::W32, true) => Swap::Be,
            (Width::W64, false) => Swap::Always,
            (Width::W64, true) => return self.unknown(),
        };
        self.unused("BPF_END", &[Field::Src, Field::Off])?;
        let size = match self.imm {
            16 => Size::H,
            32 => Size::W,
            64 => Size::DW,
            _ => return Err(DecodeError::reserved("BPF_END", Field::Imm, self)),
        };
        let dst = self.dst()?;
        Ok(Op::Swap { swap, size, dst })
    }
}

/// Divisors and shift counts that no program can mean.
fn check_constant(op: AluOp, width: Width, src: Operand) -> Decoded<()> {
    let Operand::Imm(imm) = src else {
        return Ok(());
    };
    match op {
        AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod if imm == 0 => {
            Err(DecodeError::DivByZero)
        }
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if imm as u32 >= width.bits() => {
            Err(DecodeError::Shift(imm))
        }
        _ => Ok(()),
    }
}
