//! What instructions compute, as functions of numbers.
use crate::insn::{AluOp, AtomicOp, Cond, Size, Swap, Width};

/// `dst op src` in a width. A 32-bit result has its upper half clear.
pub fn alu(width: Width, op: AluOp, dst: u64, src: u64) -> u64 {
    match width {
        Width::W32 => alu32(op, dst as u32, src as u32).into(),
        Width::W64 => alu64(op, dst, src),
    }
}

fn alu64(op: AluOp, dst: u64, src: u64) -> u64 {
    match op {
        AluOp::Add => dst.wrapping_add(src),
        AluOp::Sub => dst.wrapping_sub(src),
        AluOp::Mul => dst.wrapping_mul(src),
        AluOp::Div => dst.checked_div(src).unwrap_or(0),
        AluOp::Mod => dst.checked_rem(src).unwrap_or(dst),
        AluOp::Sdiv if src == 0 => 0,
        AluOp::Sdiv => (dst as i64).wrapping_div(src as i64) as u64,
        AluOp::Smod if src == 0 => dst,
        AluOp::Smod => (dst as i64).wrapping_rem(src as i64) as u64,
        AluOp::Or => dst | src,
        AluOp::And => dst & src,
        AluOp::Xor => dst ^ src,
        AluOp::Mov => src,
        AluOp::Lsh => dst.wrapping_shl(src as u32),
        AluOp::Rsh => dst.wrapping_shr(src as u32),
        AluOp::Arsh => (dst as i64).wrapping_shr(src as u32) as u64,
    }
}

fn alu32(op: AluOp, dst: u32, src: u32) -> u32 {
    match op {
        AluOp::Add => dst.wrapping_add(src),
        AluOp::Sub => dst.wrapping_sub(src),
        AluOp::Mul => dst.wrapping_mul(src),
        AluOp::Div => dst.checked_div(src).unwrap_or(0),
        AluOp::Mod => dst.checked_rem(src).unwrap_or(dst),
        AluOp::Sdiv if src == 0 => 0,
        AluOp::Sdiv => (dst as i32).wrapping_div(src as i32) as u32,
        AluOp::Smod if src == 0 => dst,
        AluOp::Smod => (dst as i32).wrapping_rem(src as i32) as u32,
        AluOp::Or => dst | src,
        AluOp::And => dst & src,
        AluOp::Xor => dst ^ src,
        AluOp::Mov => src,
        AluOp::Lsh => dst.wrapping_shl(src),
        AluOp::Rsh => dst.wrapping_shr(src),
        AluOp::Arsh => (dst as i32).wrapping_shr(src) as u32,
    }
}

/// `-dst` in a width.
pub fn neg(width: Width, dst: u64) -> u64 {
    alu(width, AluOp::Sub, 0, dst)
}

/// The low bytes of a value, the rest filled with their sign.
pub fn sign_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as i8 as u64,
        Size::H => value as i16 as u64,
        Size::W => value as i32 as u64,
        Size::DW => value,
    }
}

/// The low bytes of a value, the rest 0.
pub fn zero_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as u8 as u64,
        Size::H => value as u16 as u64,
        Size::W => value as u32 as u64,
        Size::DW => value,
    }
}

/// Byte order of the low bytes on a little-endian machine, the rest 0.
pub fn swap(swap: Swap, size: Size, value: u64) -> u64 {
    match (swap, size) {
        (Swap::Le, _) | (_, Size::B) => zero_extend(size, value),
        (_, Size::H) => (value as u16).swap_bytes().into(),
        (_, Size::W) => (value as u32).swap_bytes().into(),
        (_, Size::DW) => value.swap_bytes(),
    }
}

/// Whether a jump is taken.
pub fn compare(width: Width, cond: Cond, dst: u64, src: u64) -> bool {
    match width {
        Width::W64 => compare64(cond, dst, src),
        Width::W32 if is_signed(cond) => {
            compare64(cond, sign_extend(Size::W, dst), sign_extend(Size::W, src))
        }
        Width::W32 => compare64(cond, zero_extend(Size::W, dst), zero_extend(Size::W, src)),
    }
}

fn is_signed(cond: Cond) -> bool {
    matches!(cond, Cond::Sgt | Cond::Sge | Cond::Slt | Cond::Sle)
}

fn compare64(cond: Cond, dst: u64, src: u64) -> bool {
    let (sdst, ssrc) = (dst as i64, src as i64);
    match cond {
        Cond::Eq => dst == src,
        Cond::Ne => dst != src,
        Cond::Gt => dst > src,
        Cond::Ge => dst >= src,
        Cond::Lt => dst < src,
        Cond::Le => dst <= src,
        Cond::Sgt => sdst > ssrc,
        Cond::Sge => sdst >= ssrc,
        Cond::Slt => sdst < ssrc,
        Cond::Sle => sdst <= ssrc,
        Cond::Set => dst & src != 0,
    }
}

/// What an atomic leaves in memory that held `old`. All values are cut to the
/// access; so must be the result.
pub fn atomic(op: AtomicOp, old: u64, src: u64, expected: u64) -> u64 {
    match op {
        AtomicOp::Add | AtomicOp::FetchAdd => old.wrapping_add(src),
        AtomicOp::Or | AtomicOp::FetchOr => old | src,
        AtomicOp::And | AtomicOp::FetchAnd => old & src,
        AtomicOp::Xor | AtomicOp::FetchXor => old ^ src,
        AtomicOp::Xchg => src,
        AtomicOp::Cmpxchg if old == expected => src,
        AtomicOp::Cmpxchg => old,
    }
}
