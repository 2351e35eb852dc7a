//! Why a slot is not an instruction.
use super::Insn;
use crate::uapi::errno;
use core::fmt;

/// A field of an [`Insn`], as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The opcode.
    Opcode,
    /// The destination register.
    Dst,
    /// The source register or kind.
    Src,
    /// The offset.
    Off,
    /// The immediate.
    Imm,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::Opcode => "opcode",
            Field::Dst => "dst",
            Field::Src => "src",
            Field::Off => "off",
            Field::Imm => "imm",
        }
    }

    fn value(self, insn: &Insn) -> i32 {
        match self {
            Field::Opcode => insn.opcode.into(),
            Field::Dst => insn.dst.into(),
            Field::Src => insn.src.into(),
            Field::Off => insn.off.into(),
            Field::Imm => insn.imm,
        }
    }
}

/// Why a slot does not decode. The text is what the kernel's verifier says,
/// followed by the field and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// No instruction has this opcode.
    UnknownOpcode(u8),
    /// A field that the instruction does not use is not zero, or holds a value
    /// that it does not have.
    Reserved {
        /// The kernel's name of the kind of instruction.
        name: &'static str,
        /// The first wrong field.
        field: Field,
        /// What is in it.
        value: i32,
    },
    /// There is no such register.
    Register(u8),
    /// Division or modulo by the constant 0.
    DivByZero,
    /// A shift by a constant that is negative or not below the width.
    Shift(i32),
    /// The immediate of an atomic means no operation.
    AtomicOp(i32),
    /// A read-modify-write of one or two bytes.
    AtomicSize,
    /// The second slot of a 16-byte load is missing or has more than `imm`.
    WideSecondSlot,
    /// `src` of a 16-byte load has no meaning, or the second `imm` of a map
    /// load is not zero.
    WideKind(u8),
    /// A `JCOND` that is not `may_goto`.
    MayGoto(i32),
    /// A cast between address spaces (for arenas), which is not supported.
    AddrSpaceCast,
}

impl DecodeError {
    /// The errno with which the kernel refuses the program.
    pub const fn errno(&self) -> i32 {
        errno::EINVAL
    }

    pub(super) fn reserved(name: &'static str, field: Field, insn: &Insn) -> Self {
        let value = field.value(insn);
        DecodeError::Reserved { name, field, value }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownOpcode(op) => write!(f, "unknown opcode {op:02x}"),
            Self::Reserved { name, field, value } => {
                write!(
                    f,
                    "{name} uses reserved fields ({} = {value})",
                    field.name()
                )
            }
            Self::Register(n) => write!(f, "R{n} is invalid"),
            Self::DivByZero => write!(f, "div by zero"),
            Self::Shift(n) => write!(f, "invalid shift {n}"),
            Self::AtomicOp(imm) => {
                write!(f, "BPF_ATOMIC uses invalid atomic opcode {imm:02x}")
            }
            Self::AtomicSize => write!(f, "invalid atomic operand size"),
            Self::WideSecondSlot => write!(f, "invalid bpf_ld_imm64 insn"),
            Self::WideKind(src) => {
                write!(f, "unrecognized bpf_ld_imm64 insn (src = {src})")
            }
            Self::MayGoto(imm) => write!(f, "invalid may_goto imm {imm}"),
            Self::AddrSpaceCast => write!(
                f,
                "addr_space_cast insn can only be used in a program that has an associated arena"
            ),
        }
    }
}

impl core::error::Error for DecodeError {}
