//! Instructions as text, in the spelling of the kernel's verifier log and of
//! `bpftool prog dump xlated`. [`asm`](crate::asm) reads the same text.
//!
//! Every [`Op`] is `Display`; jumps show their distance (`goto pc+3`). Two things
//! look as they do in the kernel and may surprise: a 16-byte load shows its
//! number in hexadecimal (`r1 = 0x2a`) where a `mov` shows it in decimal
//! (`r1 = 42`), and the constants of conditional jumps are hexadecimal without
//! sign (`if r1 s< 0xffffffff goto pc+1`).
//!
//! ```
//! use bpf_core::insn::build::*;
//! use bpf_core::insn::op;
//! let prog = [mov64_imm(0, -8), jmp_imm(op::JSGT, 1, -1, -2), exit()];
//! assert_eq!(
//!     bpf_core::disasm::listing(&prog),
//!     "   0: (b7) r0 = -8\n   1: (65) if r1 s> 0xffffffff goto pc-2\n   2: (95) exit\n"
//! );
//! ```
mod names;

use crate::insn::{AluOp, AtomicOp, Cond, Insn, Op, Operand, Reg, Size, Swap, Wide, Width, ops};
use alloc::string::String;
use core::fmt::{self, Display, Formatter, Write};
pub use names::{helper_id, helper_name};

/// A whole program, one instruction per line with index and opcode, as `bpftool
/// prog dump xlated` has it. A slot that does not decode shows why.
pub fn listing(insns: &[Insn]) -> String {
    let mut text = String::new();
    for (at, decoded) in ops(insns) {
        let opcode = insns.get(at).map_or(0, |insn| insn.opcode);
        // Writing to a String cannot fail.
        let _ = match decoded {
            Ok(op) => writeln!(text, "{at:4}: ({opcode:02x}) {op}"),
            Err(e) => writeln!(text, "{at:4}: ({opcode:02x}) <{e}>"),
        };
    }
    text
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Op::Alu {
                width,
                op,
                dst,
                src,
            } => {
                write!(f, "{} {} ", Name(width, dst), op.symbol())?;
                fmt_operand(f, width, src)
            }
            Op::Movsx {
                width,
                from,
                dst,
                src,
            } => {
                let (dst, src) = (Name(width, dst), Name(width, src));
                write!(f, "{dst} = (s{}){src}", from.bits())
            }
            Op::Neg { width, dst } => {
                let dst = Name(width, dst);
                write!(f, "{dst} = -{dst}")
            }
            Op::Swap { swap, size, dst } => {
                write!(f, "{dst} = {}{} {dst}", swap.name(), size.bits())
            }
            Op::LoadWide { dst, value } => write!(f, "{dst} = {value}"),
            Op::Load {
                size,
                signed,
                dst,
                src,
                off,
            } => {
                let sign = if signed { 's' } else { 'u' };
                write!(f, "{dst} = *({sign}{} *)({src} {off:+})", size.bits())
            }
            Op::Store {
                size,
                dst,
                off,
                src,
            } => {
                write!(f, "*{} = ", Place(size, dst, off))?;
                fmt_operand(f, Width::W64, src)
            }
            Op::Atomic {
                width,
                op,
                dst,
                off,
                src,
            } => fmt_atomic(f, width, op, dst, off, src),
            Op::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => {
                write!(f, "{dst} = load_acquire({})", Place(size, src, off))
            }
            Op::StoreRelease {
                size,
                dst,
                off,
                src,
            } => {
                write!(f, "store_release({}, {src})", Place(size, dst, off))
            }
            Op::LoadPacket { size, index, imm } => {
                write!(f, "r0 = *(u{} *)skb[", size.bits())?;
                match index {
                    Some(reg) => write!(f, "{reg} + {imm}]"),
                    None => write!(f, "{imm}]"),
                }
            }
            Op::Jump { off, long } => {
                write!(f, "{} pc{off:+}", if long { "gotol" } else { "goto" })
            }
            Op::JumpIf {
                width,
                cond,
                dst,
                src,
                off,
            } => {
                write!(f, "if {} {} ", Name(width, dst), cond.symbol())?;
                match src {
                    Operand::Imm(imm) => write!(f, "{imm:#x}")?,
                    Operand::Reg(src) => write!(f, "{}", Name(width, src))?,
                }
                write!(f, " goto pc{off:+}")
            }
            Op::MayGoto { off } => write!(f, "may_goto pc{off:+}"),
            Op::CallHelper { id } => {
                let name = helper_name(id).unwrap_or("unknown");
                write!(f, "call {name}#{}", id as i32)
            }
            Op::CallLocal { off } => write!(f, "call pc{off:+}"),
            Op::CallKfunc { id, fd_idx: 0 } => write!(f, "call kernel-function#{id}"),
            Op::CallKfunc { id, fd_idx } => write!(f, "call kernel-function#{id}@{fd_idx}"),
            Op::Exit => f.write_str("exit"),
        }
    }
}

/// A register by the name for a width: `r3` or `w3`.
struct Name(Width, Reg);

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let letter = match self.0 {
            Width::W32 => 'w',
            Width::W64 => 'r',
        };
        write!(f, "{letter}{}", self.1.number())
    }
}

/// A typed address: `(u32 *)(r1 +4)`.
struct Place(Size, Reg, i16);

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "(u{} *)({} {:+})", self.0.bits(), self.1, self.2)
    }
}

fn fmt_operand(f: &mut Formatter<'_>, width: Width, operand: Operand) -> fmt::Result {
    match operand {
        Operand::Imm(imm) => write!(f, "{imm}"),
        Operand::Reg(reg) => write!(f, "{}", Name(width, reg)),
    }
}

fn fmt_atomic(
    f: &mut Formatter<'_>,
    width: Width,
    op: AtomicOp,
    dst: Reg,
    off: i16,
    src: Reg,
) -> fmt::Result {
    let (size, suffix) = match width {
        Width::W32 => (Size::W, ""),
        Width::W64 => (Size::DW, "64"),
    };
    let place = Place(size, dst, off);
    match (op.symbol(), op) {
        (Some(symbol), _) => write!(f, "lock *{place} {symbol} {src}"),
        (None, AtomicOp::Cmpxchg) => {
            write!(f, "r0 = atomic{suffix}_cmpxchg({place}, r0, {src})")
        }
        (None, _) => write!(f, "{src} = atomic{suffix}_{}({place}, {src})", op.name()),
    }
}

impl Display for Wide {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Wide::Imm(n) => write!(f, "{n:#x}"),
            Wide::Map { map } => write!(f, "map[id:{map}]"),
            Wide::MapValue { map, off } => write!(f, "map[id:{map}][0]+{off}"),
            Wide::MapIdx { idx } => write!(f, "map[idx:{idx}]"),
            Wide::MapIdxValue { idx, off } => write!(f, "map[idx:{idx}][0]+{off}"),
            Wide::BtfId { id, btf_fd } => write!(f, "btf[id:{id}]+{btf_fd}"),
            Wide::Func { rel } => write!(f, "subprog[{:+}]", i64::from(rel) + 1),
        }
    }
}

impl AluOp {
    /// Every operation.
    pub(crate) const ALL: [AluOp; 14] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Sdiv,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Mod,
        AluOp::Smod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Arsh,
    ];

    /// As in `r1 += r2`.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            AluOp::Add => "+=",
            AluOp::Sub => "-=",
            AluOp::Mul => "*=",
            AluOp::Div => "/=",
            AluOp::Sdiv => "s/=",
            AluOp::Or => "|=",
            AluOp::And => "&=",
            AluOp::Lsh => "<<=",
            AluOp::Rsh => ">>=",
            AluOp::Mod => "%=",
            AluOp::Smod => "s%=",
            AluOp::Xor => "^=",
            AluOp::Mov => "=",
            AluOp::Arsh => "s>>=",
        }
    }
}

impl Cond {
    /// Every condition.
    pub(crate) const ALL: [Cond; 11] = [
        Cond::Eq,
        Cond::Ne,
        Cond::Gt,
        Cond::Ge,
        Cond::Lt,
        Cond::Le,
        Cond::Sgt,
        Cond::Sge,
        Cond::Slt,
        Cond::Sle,
        Cond::Set,
    ];

    /// As in `if r1 == r2 goto`.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Cond::Eq => "==",
            Cond::Ne => "!=",
            Cond::Gt => ">",
            Cond::Ge => ">=",
            Cond::Lt => "<",
            Cond::Le => "<=",
            Cond::Sgt => "s>",
            Cond::Sge => "s>=",
            Cond::Slt => "s<",
            Cond::Sle => "s<=",
            Cond::Set => "&",
        }
    }
}

impl Swap {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Swap::Le => "le",
            Swap::Be => "be",
            Swap::Always => "bswap",
        }
    }
}

impl AtomicOp {
    /// As in `lock *(u32 *)(r1 +0) += r2`, where nothing is fetched.
    pub(crate) const fn symbol(self) -> Option<&'static str> {
        match self {
            AtomicOp::Add => Some("+="),
            AtomicOp::Or => Some("|="),
            AtomicOp::And => Some("&="),
            AtomicOp::Xor => Some("^="),
            _ => None,
        }
    }

    /// As in `r2 = atomic_xchg(…)`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            AtomicOp::Add => "add",
            AtomicOp::Or => "or",
            AtomicOp::And => "and",
            AtomicOp::Xor => "xor",
            AtomicOp::FetchAdd => "fetch_add",
            AtomicOp::FetchOr => "fetch_or",
            AtomicOp::FetchAnd => "fetch_and",
            AtomicOp::FetchXor => "fetch_xor",
            AtomicOp::Xchg => "xchg",
            AtomicOp::Cmpxchg => "cmpxchg",
        }
    }
}
