//! Short constructors, for programs written in Rust.
//!
//! Register numbers are not checked here, so that wrong programs can be built,
//! too.
//!
//! ```
//! use bpf_core::insn::{build::*, op};
//! let prog = [mov64_imm(0, 7), alu64_imm(op::ADD, 0, 1), exit()];
//! ```
use super::{Insn, op};

/// `dst = imm`
pub const fn mov64_imm(dst: u8, imm: i32) -> Insn {
    alu64_imm(op::MOV, dst, imm)
}

/// `dst = src`
pub const fn mov64_reg(dst: u8, src: u8) -> Insn {
    alu64_reg(op::MOV, dst, src)
}

/// `wdst = imm`
pub const fn mov32_imm(dst: u8, imm: i32) -> Insn {
    alu32_imm(op::MOV, dst, imm)
}

/// `wdst = wsrc`
pub const fn mov32_reg(dst: u8, src: u8) -> Insn {
    alu32_reg(op::MOV, dst, src)
}

/// 64-bit arithmetic with a constant; `code` is [`op::ADD`] and its like.
pub const fn alu64_imm(code: u8, dst: u8, imm: i32) -> Insn {
    Insn::new(op::ALU64 | op::K | code, dst, 0, 0, imm)
}

/// 64-bit arithmetic with a register.
pub const fn alu64_reg(code: u8, dst: u8, src: u8) -> Insn {
    Insn::new(op::ALU64 | op::X | code, dst, src, 0, 0)
}

/// 32-bit arithmetic with a constant.
pub const fn alu32_imm(code: u8, dst: u8, imm: i32) -> Insn {
    Insn::new(op::ALU | op::K | code, dst, 0, 0, imm)
}

/// 32-bit arithmetic with a register.
pub const fn alu32_reg(code: u8, dst: u8, src: u8) -> Insn {
    Insn::new(op::ALU | op::X | code, dst, src, 0, 0)
}

/// `dst = *(size *)(src + off)`; `size` is [`op::B`], `H`, `W` or `DW`.
pub const fn ldx(size: u8, dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(op::LDX | op::MEM | size, dst, src, off, 0)
}

/// `dst = *(signed size *)(src + off)`
pub const fn ldsx(size: u8, dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(op::LDX | op::MEMSX | size, dst, src, off, 0)
}

/// `*(size *)(dst + off) = src`
pub const fn stx(size: u8, dst: u8, off: i16, src: u8) -> Insn {
    Insn::new(op::STX | op::MEM | size, dst, src, off, 0)
}

/// `*(size *)(dst + off) = imm`
pub const fn st(size: u8, dst: u8, off: i16, imm: i32) -> Insn {
    Insn::new(op::ST | op::MEM | size, dst, 0, off, imm)
}

/// Atomic on `*(size *)(dst + off)`; `imm` is the operation, such as
/// [`op::CMPXCHG`] or `op::ADD as i32 | op::FETCH`.
pub const fn atomic(size: u8, imm: i32, dst: u8, off: i16, src: u8) -> Insn {
    Insn::new(op::STX | op::ATOMIC | size, dst, src, off, imm)
}

/// `goto +off`
pub const fn ja(off: i16) -> Insn {
    Insn::new(op::JMP | op::JA, 0, 0, off, 0)
}

/// `gotol +off`
pub const fn ja32(off: i32) -> Insn {
    Insn::new(op::JMP32 | op::JA, 0, 0, 0, off)
}

/// `if dst code imm goto +off`; `code` is [`op::JEQ`] and its like.
pub const fn jmp_imm(code: u8, dst: u8, imm: i32, off: i16) -> Insn {
    Insn::new(op::JMP | op::K | code, dst, 0, off, imm)
}

/// `if dst code src goto +off`
pub const fn jmp_reg(code: u8, dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(op::JMP | op::X | code, dst, src, off, 0)
}

/// `if wdst code imm goto +off`
pub const fn jmp32_imm(code: u8, dst: u8, imm: i32, off: i16) -> Insn {
    Insn::new(op::JMP32 | op::K | code, dst, 0, off, imm)
}

/// `if wdst code wsrc goto +off`
pub const fn jmp32_reg(code: u8, dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(op::JMP32 | op::X | code, dst, src, off, 0)
}

/// Call of a helper by number.
pub const fn call(helper: u32) -> Insn {
    Insn::new(op::JMP | op::CALL, 0, 0, 0, helper as i32)
}

/// Call of the function `off` slots after the next one.
pub const fn call_local(off: i32) -> Insn {
    Insn::new(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, off)
}

/// `exit`
pub const fn exit() -> Insn {
    Insn::new(op::JMP | op::EXIT, 0, 0, 0, 0)
}

/// `dst = value`, 16 bytes.
pub const fn ld_imm64(dst: u8, value: u64) -> [Insn; 2] {
    wide(dst, 0, value as u32, (value >> 32) as u32)
}

/// `dst =` the map with this descriptor or handle.
pub const fn ld_map(dst: u8, map: u32) -> [Insn; 2] {
    wide(dst, op::PSEUDO_MAP_FD, map, 0)
}

/// `dst =` the address of byte `off` of a map's first value.
pub const fn ld_map_value(dst: u8, map: u32, off: u32) -> [Insn; 2] {
    wide(dst, op::PSEUDO_MAP_VALUE, map, off)
}

/// `dst =` the function at `rel` + 1 slots after the load's first slot, as a
/// callback.
pub const fn ld_func(dst: u8, rel: i32) -> [Insn; 2] {
    wide(dst, op::PSEUDO_FUNC, rel as u32, 0)
}

const fn wide(dst: u8, src: u8, low: u32, high: u32) -> [Insn; 2] {
    [
        Insn::new(op::LD_IMM64, dst, src, 0, low as i32),
        Insn::new(0, 0, 0, 0, high as i32),
    ]
}
