//! The numeric domain: what the verifier knows about a number in a register.
//!
//! A [`Scalar`] stands for a set of 64-bit numbers, described in five ways at
//! once: known bits ([`Tnum`]) and signed and unsigned ranges, of the whole
//! register and of its low half. Every operation here is *sound*: the set it
//! returns holds every number that the concrete operation can give for members
//! of its operands. And it is as precise as Linux 6.18, no more and no less: so
//! verdicts that rest on it are the same.
//!
//! The algorithms are generic over the width, so that tests can try every set
//! and every member of a small register.
//!
//! | file | is |
//! |---|---|
//! | `tnum` | known bits |
//! | `bounds` | signed and unsigned range of one width |
//! | `scalar` | both widths with the known bits: construction, lattice |
//! | `sync` | deductions between the five descriptions |
//! | `alu` | arithmetic and logic |
//! | `range` | the same on ranges of one width |
//! | `shift` | shifts |
//! | `cast` | extensions, truncations, byte swaps |
//! | `branch` | what a comparison teaches about both sides |
//! | `display` | the text form of the kernel's log |

mod alu;
mod bounds;
mod branch;
mod cast;
mod display;
mod range;
mod scalar;
mod shift;
mod sync;
mod tnum;

pub use bounds::Bounds;
pub use scalar::{Num, Scalar};
pub use tnum::Tnum;

/// Whether an operation works on whole registers or on their low halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// The low 32 bits; results are zero-extended.
    W32,
    /// All 64 bits.
    W64,
}

/// The two-operand operations of the ALU classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// Wrapping sum.
    Add,
    /// Wrapping difference.
    Sub,
    /// Wrapping product.
    Mul,
    /// Unsigned quotient, 0 for a zero divisor.
    Div,
    /// Unsigned remainder, the dividend for a zero divisor.
    Mod,
    /// Signed quotient, rounded to zero; 0 for a zero divisor, wrapping.
    Sdiv,
    /// Signed remainder with the dividend's sign; the dividend for a zero
    /// divisor, 0 for -1.
    Smod,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left; the amount is taken modulo the width.
    Lsh,
    /// Logical shift right.
    Rsh,
    /// Arithmetic shift right.
    Arsh,
    /// The source; of 32 bits zero-extended.
    Mov,
}

/// The comparisons of the JMP classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Unsigned less.
    Lt,
    /// Unsigned less or equal.
    Le,
    /// A common bit is set.
    Set,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
}

/// Byte order operations (`BPF_END`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swap {
    /// To little endian: truncates, on a little-endian machine.
    Le,
    /// To big endian: swaps, on a little-endian machine.
    Be,
    /// Swaps unconditionally (ALU64).
    Bswap,
}

#[cfg(test)]
mod tests;
