//! Arithmetic and logic on numbers that are partly known.

use super::{AluOp, Bounds, Num, Tnum, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// `dst op src` as BPF computes it (RFC 9669, section 4.1). A 32-bit
    /// operation looks at the low halves only and zero-extends its result.
    pub fn alu(op: AluOp, width: Width, dst: &Self, src: &Self) -> Self {
        let result = match op {
            AluOp::Mov => return src.resized(width),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => Self::shift(op, width, dst, src),
            _ => match (power_of_two(op, width, src), width) {
                (Some((op, operand)), _) => return Self::alu(op, width, dst, &operand),
                (None, Width::W64) => Self::arith64(op, dst, src),
                (None, Width::W32) => Self::arith32(op, dst, src),
            },
        };
        result.unwrap_or(Self::UNKNOWN)
    }

    /// Two's complement negation.
    pub fn neg(&self, width: Width) -> Self {
        Self::alu(AluOp::Sub, width, &Self::constant(0), self)
    }

    /// The whole number, or the low half zero-extended.
    fn resized(&self, width: Width) -> Self {
        match width {
            Width::W64 => *self,
            Width::W32 => self.truncate32(),
        }
    }

    fn arith64(op: AluOp, dst: &Self, src: &Self) -> Option<Self> {
        let tnum = tnum_arith(op, dst.tnum, src.tnum).truncate(W);
        if tnum.is_const() {
            return Some(Self::constant(tnum.value));
        }
        // The low half of a sum, product and the like is that of the low halves;
        // quotients depend on all bits.
        let low = match op {
            AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => Bounds::UNKNOWN,
            _ => dst.low.arith(op, &src.low)?,
        };
        Self::settle(tnum, dst.wide.arith(op, &src.wide)?, low)
    }

    fn arith32(op: AluOp, dst: &Self, src: &Self) -> Option<Self> {
        let tnum = tnum_arith(op, dst.tnum.truncate(H), src.tnum.truncate(H)).truncate(H);
        if tnum.is_const() {
            return Some(Self::constant(tnum.value));
        }
        Self::settle(tnum, Bounds::UNKNOWN, dst.low.arith(op, &src.low)?)
    }
}

/// An unsigned division by a constant power of two as the bit operation it is:
/// known bits survive that.
fn power_of_two<const W: u32, const H: u32>(
    op: AluOp,
    width: Width,
    src: &Num<W, H>,
) -> Option<(AluOp, Num<W, H>)> {
    let divisor = src.resized(width).as_const()?;
    match op {
        _ if !divisor.is_power_of_two() => None,
        AluOp::Div => Some((AluOp::Rsh, Num::constant(divisor.trailing_zeros() as u64))),
        AluOp::Mod => Some((AluOp::And, Num::constant(divisor - 1))),
        _ => None,
    }
}

fn tnum_arith(op: AluOp, a: Tnum, b: Tnum) -> Tnum {
    match op {
        AluOp::Add => a + b,
        AluOp::Sub => a - b,
        AluOp::Mul => a * b,
        AluOp::And => a & b,
        AluOp::Or => a | b,
        AluOp::Xor => a ^ b,
        _ => Tnum::UNKNOWN,
    }
}
