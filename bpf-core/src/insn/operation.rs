//! The checked form of an instruction.
use super::{Operand, Reg, Size, Width};

/// Arithmetic with two operands (RFC 9669, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// `dst += src`
    Add,
    /// `dst -= src`
    Sub,
    /// `dst *= src`
    Mul,
    /// `dst /= src`, unsigned; 0 if `src` is 0
    Div,
    /// `dst s/= src`; 0 if `src` is 0, wraps for the least number by -1
    Sdiv,
    /// `dst |= src`
    Or,
    /// `dst &= src`
    And,
    /// `dst <<= src`, the count taken modulo the width
    Lsh,
    /// `dst >>= src`, filling with zeros, the count taken modulo the width
    Rsh,
    /// `dst %= src`, unsigned; unchanged if `src` is 0
    Mod,
    /// `dst s%= src`, the sign is the dividend's; unchanged if `src` is 0
    Smod,
    /// `dst ^= src`
    Xor,
    /// `dst = src`
    Mov,
    /// `dst s>>= src`, filling with the sign, the count taken modulo the width
    Arsh,
}

/// Byte order conversions (RFC 9669, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swap {
    /// To little endian: on a little-endian machine, only truncates.
    Le,
    /// To big endian.
    Be,
    /// Swaps in any case (`bswap`).
    Always,
}

/// The condition of a jump (RFC 9669, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cond {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>` unsigned
    Gt,
    /// `>=` unsigned
    Ge,
    /// `<` unsigned
    Lt,
    /// `<=` unsigned
    Le,
    /// `>` signed
    Sgt,
    /// `>=` signed
    Sge,
    /// `<` signed
    Slt,
    /// `<=` signed
    Sle,
    /// some bit is set in both
    Set,
}

/// An atomic read-modify-write of memory (RFC 9669, section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// Add, without giving the old value back.
    Add,
    /// Or, without giving the old value back.
    Or,
    /// And, without giving the old value back.
    And,
    /// Exclusive or, without giving the old value back.
    Xor,
    /// Add; `src` becomes the old value.
    FetchAdd,
    /// Or; `src` becomes the old value.
    FetchOr,
    /// And; `src` becomes the old value.
    FetchAnd,
    /// Exclusive or; `src` becomes the old value.
    FetchXor,
    /// Store `src`; `src` becomes the old value.
    Xchg,
    /// Store `src` if memory holds R0; R0 becomes the old value.
    Cmpxchg,
}

/// What a 16-byte load loads (RFC 9669, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wide {
    /// A number.
    Imm(u64),
    /// A map: `map` is a file descriptor outside, a handle within a
    /// [`ProgramDesc`](crate::program::ProgramDesc).
    Map {
        /// The map.
        map: u32,
    },
    /// An address `off` bytes into the first value of a map.
    MapValue {
        /// The map, as in [`Wide::Map`].
        map: u32,
        /// Bytes into the value.
        off: u32,
    },
    /// A kernel variable by its BTF id.
    BtfId {
        /// BTF id of the variable.
        id: u32,
        /// Descriptor of a module's BTF, or 0.
        btf_fd: u32,
    },
    /// A function of this program, to be called back. It starts `rel` + 1 slots
    /// after the first slot of the load, as if that were a call.
    Func {
        /// Distance in slots.
        rel: i32,
    },
    /// A map by index into `fd_array`.
    MapIdx {
        /// The index.
        idx: u32,
    },
    /// An address in a map's value, the map by index into `fd_array`.
    MapIdxValue {
        /// The index.
        idx: u32,
        /// Bytes into the value.
        off: u32,
    },
}

/// One instruction, checked: registers exist, reserved fields are zero, and the
/// combination of opcode and modifiers is one that Linux has.
///
/// Jump distances count slots from the one after the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Op {
    /// Two-operand arithmetic, and `mov`.
    Alu {
        width: Width,
        op: AluOp,
        dst: Reg,
        src: Operand,
    },
    /// Move the lower `from` bits (8, 16 or, for W64, 32) with their sign.
    Movsx {
        width: Width,
        from: Size,
        dst: Reg,
        src: Reg,
    },
    /// `dst = -dst`
    Neg { width: Width, dst: Reg },
    /// Byte order of the lower `size` (H, W or DW); the rest becomes 0.
    Swap { swap: Swap, size: Size, dst: Reg },
    /// The 16-byte load; takes two slots.
    LoadWide { dst: Reg, value: Wide },
    /// `dst = *(size *)(src + off)`, extended with zeros or with the sign.
    Load {
        size: Size,
        signed: bool,
        dst: Reg,
        src: Reg,
        off: i16,
    },
    /// `*(size *)(dst + off) = src`
    Store {
        size: Size,
        dst: Reg,
        off: i16,
        src: Operand,
    },
    /// Atomic on `*(width *)(dst + off)`; the 32-bit forms extend the fetched
    /// value with zeros.
    Atomic {
        width: Width,
        op: AtomicOp,
        dst: Reg,
        off: i16,
        src: Reg,
    },
    /// `dst = *(size *)(src + off)`, and no later access may move before it.
    LoadAcquire {
        size: Size,
        dst: Reg,
        src: Reg,
        off: i16,
    },
    /// `*(size *)(dst + off) = src`, and no earlier access may move behind it.
    StoreRelease {
        size: Size,
        dst: Reg,
        off: i16,
        src: Reg,
    },
    /// Legacy: `R0 = ` big-endian load at `imm` (+ `index`) of the packet that
    /// R6 names, in host order; too short a packet ends the program with 0.
    LoadPacket {
        size: Size,
        index: Option<Reg>,
        imm: i32,
    },
    /// `goto`; `long` is the 32-bit spelling `gotol` (class `JMP32`).
    Jump { off: i32, long: bool },
    /// `if dst cond src goto off`
    JumpIf {
        width: Width,
        cond: Cond,
        dst: Reg,
        src: Operand,
        off: i16,
    },
    /// Jumps or not, as the runtime's loop budget wants.
    MayGoto { off: i16 },
    /// Call of a helper by number.
    CallHelper { id: u32 },
    /// Call of a function of this program.
    CallLocal { off: i32 },
    /// Call of a kernel function by BTF id, `fd_idx` into `fd_array` or 0.
    CallKfunc { id: i32, fd_idx: i16 },
    /// Return to the caller or end the program.
    Exit,
}

impl Op {
    /// Slots that it takes: 2 for the 16-byte load, else 1.
    pub const fn slots(&self) -> usize {
        match self {
            Op::LoadWide { .. } => 2,
            _ => 1,
        }
    }

    /// The distance to the place where it may jump (not call), in slots from
    /// the next one.
    pub const fn jump(&self) -> Option<i32> {
        match self {
            Op::Jump { off, .. } => Some(*off),
            Op::JumpIf { off, .. } | Op::MayGoto { off } => Some(*off as i32),
            _ => None,
        }
    }

    /// Whether the next slot can be what runs next.
    pub const fn falls_through(&self) -> bool {
        !matches!(self, Op::Jump { .. } | Op::Exit)
    }

    /// The register that it writes itself, if any (calls and packet loads also
    /// destroy R1 to R5).
    pub const fn written(&self) -> Option<Reg> {
        match self {
            Op::Alu { dst, .. }
            | Op::Movsx { dst, .. }
            | Op::Neg { dst, .. }
            | Op::Swap { dst, .. }
            | Op::LoadWide { dst, .. }
            | Op::Load { dst, .. }
            | Op::LoadAcquire { dst, .. } => Some(*dst),
            Op::Atomic { op, src, .. } => match op {
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => None,
                AtomicOp::Cmpxchg => Some(Reg::R0),
                _ => Some(*src),
            },
            Op::LoadPacket { .. }
            | Op::CallHelper { .. }
            | Op::CallLocal { .. }
            | Op::CallKfunc { .. } => Some(Reg::R0),
            _ => None,
        }
    }
}
