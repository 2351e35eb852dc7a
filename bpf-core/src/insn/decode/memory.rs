//! Loads, stores and atomics (RFC 9669, section 5).
use super::Decoded;
use crate::insn::{AtomicOp, DecodeError, Field, Insn, Op, Operand, Size, Wide, Width, op};

impl Insn {
    pub(super) fn ldx(&self) -> Decoded<Op> {
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

    pub(super) fn st(&self) -> Decoded<Op> {
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

    pub(super) fn stx(&self) -> Decoded<Op> {
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

    pub(super) fn ld(&self, next: Option<&Insn>) -> Decoded<Op> {
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
