//! From the raw form to the checked one. This is the one place that knows which
//! fields an instruction leaves unused; Linux 6.18 refuses the same ones.
use super::{
    AluOp, AtomicOp, Cond, DecodeError, Field, Insn, Op, Operand, Reg, Size, Swap, Wide, Width, op,
};

type Decoded<T> = Result<T, DecodeError>;

/// `src` of a `JCOND` that means `may_goto`.
pub(super) const MAY_GOTO: u8 = 0;

impl Insn {
    /// Decodes this slot. `next` is the slot after it, if the program has one;
    /// only the 16-byte load looks at it.
    ///
    /// ```
    /// use bpf_core::insn::{build, DecodeError, Insn, Op};
    /// assert_eq!(build::exit().decode(None), Ok(Op::Exit));
    /// let odd = Insn { imm: 1, ..build::exit() };
    /// let text = odd.decode(None).unwrap_err().to_string();
    /// assert_eq!(text, "BPF_EXIT uses reserved fields (imm = 1)");
    /// ```
    ///
    /// # Errors
    /// The reason why Linux refuses the slot, always with EINVAL.
    pub fn decode(&self, next: Option<&Insn>) -> Result<Op, DecodeError> {
        match self.class() {
            op::ALU => self.alu(Width::W32),
            op::ALU64 => self.alu(Width::W64),
            op::JMP => self.jmp(),
            op::JMP32 => self.jmp32(),
            op::LDX => self.ldx(),
            op::ST => self.st(),
            op::STX => self.stx(),
            _ => self.ld(next),
        }
    }

    fn dst(&self) -> Decoded<Reg> {
        Reg::new(self.dst).ok_or(DecodeError::Register(self.dst))
    }

    fn src(&self) -> Decoded<Reg> {
        Reg::new(self.src).ok_or(DecodeError::Register(self.src))
    }

    fn is_x(&self) -> bool {
        self.opcode & op::X != 0
    }

    fn unknown<T>(&self) -> Decoded<T> {
        Err(DecodeError::UnknownOpcode(self.opcode))
    }

    /// Fails with the first of these fields that is not zero.
    fn unused(&self, name: &'static str, fields: &[Field]) -> Decoded<()> {
        for &field in fields {
            let used = match field {
                Field::Dst => self.dst != 0,
                Field::Src => self.src != 0,
                Field::Off => self.off != 0,
                Field::Imm => self.imm != 0,
                Field::Opcode => false,
            };
            if used {
                return Err(DecodeError::reserved(name, field, self));
            }
        }
        Ok(())
    }

    /// The second operand, and that its other spelling is unused.
    fn operand(&self, name: &'static str) -> Decoded<Operand> {
        if self.is_x() {
            self.unused(name, &[Field::Imm])?;
            Ok(Operand::Reg(self.src()?))
        } else {
            self.unused(name, &[Field::Src])?;
            Ok(Operand::Imm(self.imm))
        }
    }

    fn size(&self) -> Size {
        match self.opcode & 0x18 {
            op::B => Size::B,
            op::H => Size::H,
            op::W => Size::W,
            _ => Size::DW,
        }
    }

    fn alu(&self, width: Width) -> Decoded<Op> {
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

    fn jmp(&self) -> Decoded<Op> {
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

    fn jmp32(&self) -> Decoded<Op> {
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

    fn ldx(&self) -> Decoded<Op> {
        let size = self.size();
        let signed = match self.opcode & 0xe0 {
            op::MEM => false,
            op::MEMSX if size != Size::DW => true,
            op::MEMSX => return self.unknown(),
            _ => return Err(DecodeError::reserved("BPF_LDX", Field::Opcode, self)),
        };
        self.unused("BPF_LDX", &[Field::Imm])?;
        let (dst, src) = (self.dst()?, self.src()?);
        Ok(Op::Load {
            size,
            signed,
            dst,
            src,
            off: self.off,
        })
    }

    fn st(&self) -> Decoded<Op> {
        if self.opcode & 0xe0 != op::MEM {
            return self.unknown();
        }
        self.unused("BPF_ST", &[Field::Src])?;
        let (size, dst, off) = (self.size(), self.dst()?, self.off);
        Ok(Op::Store {
            size,
            dst,
            off,
            src: Operand::Imm(self.imm),
        })
    }

    fn stx(&self) -> Decoded<Op> {
        let (size, off) = (self.size(), self.off);
        match self.opcode & 0xe0 {
            op::MEM => {
                self.unused("BPF_STX", &[Field::Imm])?;
                let (dst, src) = (self.dst()?, Operand::Reg(self.src()?));
                Ok(Op::Store {
                    size,
                    dst,
                    off,
                    src,
                })
            }
            op::ATOMIC => self.atomic(),
            _ => self.unknown(),
        }
    }

    fn atomic(&self) -> Decoded<Op> {
        let (size, off, dst, src) = (self.size(), self.off, self.dst(), self.src());
        let op = match self.imm {
            op::LOAD_ACQ => {
                return Ok(Op::LoadAcquire {
                    size,
                    dst: dst?,
                    src: src?,
                    off,
                });
            }
            op::STORE_REL => {
                return Ok(Op::StoreRelease {
                    size,
                    dst: dst?,
                    off,
                    src: src?,
                });
            }
            _ => AtomicOp::from_imm(self.imm).ok_or(DecodeError::AtomicOp(self.imm))?,
        };
        let width = match size {
            Size::W => Width::W32,
            Size::DW => Width::W64,
            Size::B | Size::H => return Err(DecodeError::AtomicSize),
        };
        Ok(Op::Atomic {
            width,
            op,
            dst: dst?,
            off,
            src: src?,
        })
    }

    fn ld(&self, next: Option<&Insn>) -> Decoded<Op> {
        const NAME: &str = "BPF_LD_[ABS|IND]";
        let size = self.size();
        match self.opcode & 0xe0 {
            op::IMM if size == Size::DW => self.wide(next),
            op::ABS if size != Size::DW => {
                self.unused(NAME, &[Field::Dst, Field::Off, Field::Src])?;
                Ok(Op::LoadPacket {
                    size,
                    index: None,
                    imm: self.imm,
                })
            }
            op::IND if size != Size::DW => {
                self.unused(NAME, &[Field::Dst, Field::Off])?;
                Ok(Op::LoadPacket {
                    size,
                    index: Some(self.src()?),
                    imm: self.imm,
                })
            }
            _ => self.unknown(),
        }
    }

    fn wide(&self, next: Option<&Insn>) -> Decoded<Op> {
        let second = next.ok_or(DecodeError::WideSecondSlot)?;
        if *second
            != (Insn {
                imm: second.imm,
                ..Insn::default()
            })
        {
            return Err(DecodeError::WideSecondSlot);
        }
        let (low, high) = (self.imm as u32, second.imm as u32);
        let value = match self.src {
            0 => Wide::Imm(u64::from(high) << 32 | u64::from(low)),
            op::PSEUDO_MAP_FD if high == 0 => Wide::Map { map: low },
            op::PSEUDO_MAP_VALUE => Wide::MapValue {
                map: low,
                off: high,
            },
            op::PSEUDO_BTF_ID => Wide::BtfId {
                id: low,
                btf_fd: high,
            },
            op::PSEUDO_FUNC => Wide::Func { rel: self.imm },
            op::PSEUDO_MAP_IDX if high == 0 => Wide::MapIdx { idx: low },
            op::PSEUDO_MAP_IDX_VALUE => Wide::MapIdxValue {
                idx: low,
                off: high,
            },
            src => return Err(DecodeError::WideKind(src)),
        };
        self.unused("BPF_LD_IMM64", &[Field::Off])?;
        Ok(Op::LoadWide {
            dst: self.dst()?,
            value,
        })
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

impl AtomicOp {
    /// Every operation.
    pub(crate) const ALL: [AtomicOp; 10] = [
        AtomicOp::Add,
        AtomicOp::Or,
        AtomicOp::And,
        AtomicOp::Xor,
        AtomicOp::FetchAdd,
        AtomicOp::FetchOr,
        AtomicOp::FetchAnd,
        AtomicOp::FetchXor,
        AtomicOp::Xchg,
        AtomicOp::Cmpxchg,
    ];

    /// The operation that the immediate of an atomic instruction names.
    fn from_imm(imm: i32) -> Option<AtomicOp> {
        Self::ALL.into_iter().find(|op| op.imm() == imm)
    }
}

/// Decodes a program from its first slot on. Gives each instruction with its
/// index; the second slot of a 16-byte load is part of the first.
pub fn ops(insns: &[Insn]) -> impl Iterator<Item = (usize, Result<Op, DecodeError>)> + '_ {
    let mut at = 0;
    core::iter::from_fn(move || {
        let here = at;
        let decoded = insns.get(here)?.decode(insns.get(here + 1));
        at += decoded.as_ref().map_or(1, Op::slots);
        Some((here, decoded))
    })
}
