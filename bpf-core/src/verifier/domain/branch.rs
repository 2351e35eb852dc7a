//! What a comparison teaches.

use super::{CmpOp, Num, Width};

impl<const W: u32, const H: u32> Num<W, H> {
    /// Whether `a op b` is certainly true or certainly false.
    pub fn branch_outcome(op: CmpOp, width: Width, a: &Self, b: &Self) -> Option<bool> {
        let _ = (op, width, a, b);
        None
    }

    /// What `a` and `b` can be where `a op b` came out as `taken`; `None` where
    /// that can't be.
    pub fn refine_branch(
        op: CmpOp,
        width: Width,
        a: &Self,
        b: &Self,
        taken: bool,
    ) -> Option<(Self, Self)> {
        let _ = (op, width, taken);
        Some((*a, *b))
    }
}
