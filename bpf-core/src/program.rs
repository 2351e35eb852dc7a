//! A program on its way through verifier, compiler and interpreter.

use crate::insn::Insn;
use crate::uapi::{MapType, ProgType};
use alloc::vec::Vec;

/// What the verifier is asked to judge.
///
/// Maps are named by **handle**: in a wide load with `src` =
/// [`PSEUDO_MAP_FD`](crate::insn::op::PSEUDO_MAP_FD) or `PSEUDO_MAP_VALUE` the
/// first `imm` is the handle (its bits, as `i32`), the second the offset into
/// the value. The `fd_array` spellings are already gone.
#[derive(Clone, Copy, Debug)]
pub struct ProgramDesc<'a> {
    /// The instructions.
    pub insns: &'a [Insn],
    /// Decides context, helpers and meaning of the return value.
    pub prog_type: ProgType,
    /// `expected_attach_type` of `BPF_PROG_LOAD`.
    pub attach_type: u32,
    /// `prog_flags` of `BPF_PROG_LOAD`.
    pub flags: u32,
    /// Whether the license string is GPL compatible.
    pub gpl: bool,
    /// For [`ProgType::Flat`]: what is promised of the memory.
    pub flat: FlatMemory,
    /// First instructions of functions that the object's BTF calls global
    /// (followed at each call all the same); empty without BTF.
    pub global_funcs: &'a [u32],
}

/// The promise about the buffer of a [`ProgType::Flat`] program: at least `min`
/// and at most `max` bytes. R1 points to `min` accessible bytes, R2 lies in
/// `min..=max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlatMemory {
    /// Bytes that every run provides.
    pub min: u32,
    /// The longest length that a run may have.
    pub max: u32,
}

/// A map as verifier and compiler see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDesc {
    /// The handle by which programs name it.
    pub handle: u32,
    /// The map's type.
    pub map_type: MapType,
    /// Bytes per key.
    pub key_size: u32,
    /// Bytes per value (as created; storage may pad it).
    pub value_size: u32,
    /// Capacity (bytes, for a ring buffer).
    pub max_entries: u32,
    /// `map_flags` of `BPF_MAP_CREATE`.
    pub flags: u32,
    /// Frozen for writing by the host (`BPF_MAP_FREEZE`).
    pub frozen: bool,
    /// Offset in the value of a `struct bpf_spin_lock`, if it has one.
    pub spin_lock_off: Option<u32>,
    /// For maps of maps: the template's handle.
    pub inner: Option<u32>,
    /// The value of a loaded map pointer: what R1 of a map helper holds.
    pub object_addr: u64,
    /// Address of element 0 of array-like maps, else 0.
    pub values_addr: u64,
    /// Bytes from one array element to the next.
    pub value_stride: u32,
}

/// Where verifier and compiler find maps.
pub trait MapTable {
    /// The map behind a handle, or `None` where the handle means none.
    fn map(&self, handle: u32) -> Option<MapDesc>;

    /// Reads `size` (1, 2, 4 or 8) bytes of a map whose contents can never
    /// change (frozen and read-only to programs), little endian.
    fn read_constant(&self, handle: u32, off: u32, size: u32) -> Option<u64>;
}

/// A program that the verifier accepted (or that was let through unverified),
/// in the form that compiler and interpreter take.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Instructions after rewriting. Dead code is gone.
    pub insns: Vec<Insn>,
    /// One per instruction.
    pub facts: Vec<Fact>,
    /// Functions by rising start; the first is the main program.
    pub subprogs: Vec<Subprog>,
    /// Handles of the maps that it uses, without repeats.
    pub maps: Vec<u32>,
    /// For each instruction its index in the program as loaded.
    pub origin: Vec<u32>,
}

/// What was proved about one instruction and helps the compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// Helper calls: the one map that R1 (R2 of `tail_call`, `redirect_map`'s
    /// R1 …) names on every path.
    pub map: Option<u32>,
    /// Helper calls and tail calls: the constant that the key (array maps) or
    /// index (tail calls) has on every path.
    pub key: Option<u32>,
}

/// One function of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subprog {
    /// Its first instruction.
    pub start: u32,
    /// One past its last instruction.
    pub end: u32,
    /// Bytes of stack below R10 that it uses, a multiple of 8.
    pub stack_depth: u32,
    /// It is called back by a helper.
    pub is_callback: bool,
    /// A tail call may happen in it or in what it calls.
    pub tail_call_reachable: bool,
}
