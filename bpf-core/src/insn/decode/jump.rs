//! Jumps and calls (RFC 9669, section 4.3).
use super::{Decoded, MAY_GOTO};
use crate::insn::{Cond, DecodeError, Field, Insn, Op, Width, op};

impl Insn {
    pub(super) fn jmp(&self) -> Decoded<Op> {
        const DST_SRC: &[Field] = &[Field::Dst, Field::Src];
        match (self.opcode & 0xf0, self.is_x()) {
            (op::JA, false) => {
                self.unused("BPF_JA", DST_SRC)?;
                self.unused("BPF_JA", &[Field::Imm])?;
                Ok(Op::Jump {
                    off: self.off.into(),
                    long: false,
                })
            }
            (op::CALL, false) => self.call(),
            (op::EXIT, false) => {
                self.unused("BPF_EXIT", DST_SRC)?;
                self.unused("BPF_EXIT", &[Field::Imm])?;
                Ok(Op::Exit)
            }
            (op::JCOND, false) => {
                if self.src != MAY_GOTO || self.dst != 0 || self.imm != 0 {
                    return Err(DecodeError::MayGoto(self.imm));
                }
                Ok(Op::MayGoto { off: self.off })
            }
            _ => self.jump_if(Width::W64),
        }
    }

    pub(super) fn jmp32(&self) -> Decoded<Op> {
        match (self.opcode & 0xf0, self.is_x()) {
            (op::JA, false) => {
                self.unused("BPF_JA", &[Field::Dst, Field::Src, Field::Off])?;
                Ok(Op::Jump {
                    off: self.imm,
                    long: true,
                })
            }
            _ => self.jump_if(Width::W32),
        }
    }

    fn jump_if(&self, width: Width) -> Decoded<Op> {
        let cond = match self.opcode & 0xf0 {
            op::JEQ => Cond::Eq,
            op::JNE => Cond::Ne,
            op::JGT => Cond::Gt,
            op::JGE => Cond::Ge,
            op::JLT => Cond::Lt,
            op::JLE => Cond::Le,
            op::JSGT => Cond::Sgt,
            op::JSGE => Cond::Sge,
            op::JSLT => Cond::Slt,
            op::JSLE => Cond::Sle,
            op::JSET => Cond::Set,
            _ => return self.unknown(),
        };
        let dst = self.dst()?;
        let src = self.operand("BPF_JMP/JMP32")?;
        Ok(Op::JumpIf {
            width,
            cond,
            dst,
            src,
            off: self.off,
        })
    }

    fn call(&self) -> Decoded<Op> {
        self.unused("BPF_CALL", &[Field::Dst])?;
        if self.src == op::PSEUDO_KFUNC_CALL {
            return Ok(Op::CallKfunc {
                id: self.imm,
                fd_idx: self.off,
            });
        }
        self.unused("BPF_CALL", &[Field::Off])?;
        match self.src {
            0 => Ok(Op::CallHelper {
                id: self.imm as u32,
            }),
            op::PSEUDO_CALL => Ok(Op::CallLocal { off: self.imm }),
            _ => Err(DecodeError::reserved("BPF_CALL", Field::Src, self)),
        }
    }
}
