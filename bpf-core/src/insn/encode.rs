//! From the checked form back to the raw one.
use super::{AluOp, AtomicOp, Cond, Insn, Op, Operand, Reg, Size, Swap, Wide, Width, decode, op};

impl Op {
    /// The slot of this instruction, and the second one of a 16-byte load.
    ///
    /// For every slot that decodes, `decode` then `encode` gives it back, but for
    /// the two fields that Linux neither uses nor checks: the second `imm` of a
    /// function load and the `off` of `exit`.
    pub fn encode(&self) -> (Insn, Option<Insn>) {
        match *self {
            Op::LoadWide { dst, value } => wide(dst, value),
            _ => (self.encode_one(), None),
        }
    }

    fn encode_one(&self) -> Insn {
        match *self {
            Op::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let off = matches!(op, AluOp::Sdiv | AluOp::Smod).into();
                with_operand(op.code() | alu_class(width), dst, off, src)
            }
            Op::Movsx {
                width,
                from,
                dst,
                src,
            } => {
                let off = from.bits() as i16;
                with_operand(op::MOV | alu_class(width), dst, off, Operand::Reg(src))
            }
            Op::Neg { width, dst } => Insn::new(op::NEG | alu_class(width), dst.number(), 0, 0, 0),
            Op::Swap { swap, size, dst } => {
                let opcode = op::END
                    | match swap {
                        Swap::Le => op::ALU,
                        Swap::Be => op::ALU | op::X,
                        Swap::Always => op::ALU64,
                    };
                Insn::new(opcode, dst.number(), 0, 0, size.bits() as i32)
            }
            Op::LoadWide { dst, value } => wide(dst, value).0,
            Op::Load {
                size,
                signed,
                dst,
                src,
                off,
            } => {
                let mode = if signed { op::MEMSX } else { op::MEM };
                let opcode = op::LDX | mode | size.code();
                Insn::new(opcode, dst.number(), src.number(), off, 0)
            }
            Op::Store {
                size,
                dst,
                off,
                src,
            } => match src {
                Operand::Reg(src) => stx(op::MEM | size.code(), dst, off, src, 0),
                Operand::Imm(imm) => {
                    Insn::new(op::ST | op::MEM | size.code(), dst.number(), 0, off, imm)
                }
            },
            Op::Atomic {
                width,
                op,
                dst,
                off,
                src,
            } => {
                let size = match width {
                    Width::W32 => op::W,
                    Width::W64 => op::DW,
                };
                stx(op::ATOMIC | size, dst, off, src, op.imm())
            }
            Op::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => stx(op::ATOMIC | size.code(), dst, off, src, op::LOAD_ACQ),
            Op::StoreRelease {
                size,
                dst,
                off,
                src,
            } => stx(op::ATOMIC | size.code(), dst, off, src, op::STORE_REL),
            Op::LoadPacket { size, index, imm } => match index {
                None => Insn::new(op::LD | op::ABS | size.code(), 0, 0, 0, imm),
                Some(src) => Insn::new(op::LD | op::IND | size.code(), 0, src.number(), 0, imm),
            },
            Op::Jump { off, long: true } => Insn::new(op::JMP32 | op::JA, 0, 0, 0, off),
            Op::Jump { off, long: false } => Insn::new(op::JMP | op::JA, 0, 0, off as i16, 0),
            Op::JumpIf {
                width,
                cond,
                dst,
                src,
                off,
            } => {
                let class = match width {
                    Width::W32 => op::JMP32,
                    Width::W64 => op::JMP,
                };
                with_operand(class | cond.code(), dst, off, src)
            }
            Op::MayGoto { off } => Insn::new(op::JMP | op::JCOND, 0, decode::MAY_GOTO, off, 0),
            Op::CallHelper { id } => call(0, 0, id as i32),
            Op::CallLocal { off } => call(op::PSEUDO_CALL, 0, off),
            Op::CallKfunc { id, fd_idx } => call(op::PSEUDO_KFUNC_CALL, fd_idx, id),
            Op::Exit => Insn::new(op::JMP | op::EXIT, 0, 0, 0, 0),
        }
    }
}

fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => op::ALU,
        Width::W64 => op::ALU64,
    }
}

fn with_operand(opcode: u8, dst: Reg, off: i16, src: Operand) -> Insn {
    match src {
        Operand::Imm(imm) => Insn::new(opcode | op::K, dst.number(), 0, off, imm),
        Operand::Reg(src) => Insn::new(opcode | op::X, dst.number(), src.number(), off, 0),
    }
}

fn stx(opcode: u8, dst: Reg, off: i16, src: Reg, imm: i32) -> Insn {
    Insn::new(op::STX | opcode, dst.number(), src.number(), off, imm)
}

fn call(src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(op::JMP | op::CALL, 0, src, off, imm)
}

fn wide(dst: Reg, value: Wide) -> (Insn, Option<Insn>) {
    let (src, low, high) = match value {
        Wide::Imm(n) => (0, n as u32, (n >> 32) as u32),
        Wide::Map { map } => (op::PSEUDO_MAP_FD, map, 0),
        Wide::MapValue { map, off } => (op::PSEUDO_MAP_VALUE, map, off),
        Wide::BtfId { id, btf_fd } => (op::PSEUDO_BTF_ID, id, btf_fd),
        Wide::Func { rel } => (op::PSEUDO_FUNC, rel as u32, 0),
        Wide::MapIdx { idx } => (op::PSEUDO_MAP_IDX, idx, 0),
        Wide::MapIdxValue { idx, off } => (op::PSEUDO_MAP_IDX_VALUE, idx, off),
    };
    let first = Insn::new(op::LD_IMM64, dst.number(), src, 0, low as i32);
    (first, Some(Insn::new(0, 0, 0, 0, high as i32)))
}

impl Size {
    const fn code(self) -> u8 {
        match self {
            Size::B => op::B,
            Size::H => op::H,
            Size::W => op::W,
            Size::DW => op::DW,
        }
    }
}

impl AluOp {
    const fn code(self) -> u8 {
        match self {
            AluOp::Add => op::ADD,
            AluOp::Sub => op::SUB,
            AluOp::Mul => op::MUL,
            AluOp::Div | AluOp::Sdiv => op::DIV,
            AluOp::Or => op::OR,
            AluOp::And => op::AND,
            AluOp::Lsh => op::LSH,
            AluOp::Rsh => op::RSH,
            AluOp::Mod | AluOp::Smod => op::MOD,
            AluOp::Xor => op::XOR,
            AluOp::Mov => op::MOV,
            AluOp::Arsh => op::ARSH,
        }
    }
}

impl Cond {
    const fn code(self) -> u8 {
        match self {
            Cond::Eq => op::JEQ,
            Cond::Ne => op::JNE,
            Cond::Gt => op::JGT,
            Cond::Ge => op::JGE,
            Cond::Lt => op::JLT,
            Cond::Le => op::JLE,
            Cond::Sgt => op::JSGT,
            Cond::Sge => op::JSGE,
            Cond::Slt => op::JSLT,
            Cond::Sle => op::JSLE,
            Cond::Set => op::JSET,
        }
    }
}

impl AtomicOp {
    pub(super) const fn imm(self) -> i32 {
        match self {
            AtomicOp::Add => op::ADD as i32,
            AtomicOp::Or => op::OR as i32,
            AtomicOp::And => op::AND as i32,
            AtomicOp::Xor => op::XOR as i32,
            AtomicOp::FetchAdd => op::ADD as i32 | op::FETCH,
            AtomicOp::FetchOr => op::OR as i32 | op::FETCH,
            AtomicOp::FetchAnd => op::AND as i32 | op::FETCH,
            AtomicOp::FetchXor => op::XOR as i32 | op::FETCH,
            AtomicOp::Xchg => op::XCHG,
            AtomicOp::Cmpxchg => op::CMPXCHG,
        }
    }
}
