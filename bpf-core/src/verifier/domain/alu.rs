//! Arithmetic and logic on numbers that are partly known.

use super::{AluOp, Num, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// `dst op src` as BPF computes it (RFC 9669, section 4.1). A 32-bit
    /// operation looks at the low halves only and zero-extends its result.
    pub fn alu(op: AluOp, width: Width, dst: &Self, src: &Self) -> Self {
        let _ = (op, width, dst, src);
        Self::UNKNOWN
    }

    /// Two's complement negation.
    pub fn neg(&self, width: Width) -> Self {
        Self::alu(AluOp::Sub, width, &Self::constant(0), self)
    }
}
