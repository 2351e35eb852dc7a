//! A program on its way through verifier, compiler and interpreter.

use crate::btf::Btf;
use crate::insn::Insn;
use crate::uapi::{MapType, ProgType};
use alloc::string::String;
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
    /// What BTF says about it; empty without.
    pub types: TypeInfo<'a>,
}

/// A program's BTF, and how its instructions refer to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TypeInfo<'a> {
    /// The blob that `prog_btf_fd` names.
    pub btf: &'a [u8],
    /// One for each function, in order, or none at all.
    pub funcs: &'a [FuncInfo],
    /// Source lines, by rising instruction; at least one for each function, or
    /// none at all.
    pub lines: &'a [LineInfo],
}

/// `struct bpf_func_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FuncInfo {
    /// The function's first instruction.
    pub insn: u32,
    /// Its type, of kind FUNC.
    pub type_id: u32,
}

/// `struct bpf_line_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineInfo {
    /// First instruction of the line.
    pub insn: u32,
    /// Offset of the file's name among the BTF's strings.
    pub file: u32,
    /// Offset of the line's text.
    pub text: u32,
    /// Number of the line (upper 22 bits) and column (lower 10).
    pub line_col: u32,
}

impl FuncInfo {
    /// Bytes of a record.
    pub const SIZE: usize = 8;

    /// From the bytes of a record.
    pub fn from_bytes(record: [u8; 8]) -> Self {
        let [insn, type_id] = words(&record);
        Self { insn, type_id }
    }

    /// The bytes of a record.
    pub fn to_bytes(self) -> [u8; 8] {
        bytes([self.insn, self.type_id])
    }
}

impl LineInfo {
    /// Bytes of a record.
    pub const SIZE: usize = 16;

    /// From the bytes of a record.
    pub fn from_bytes(record: [u8; 16]) -> Self {
        let [insn, file, text, line_col] = words(&record);
        Self {
            insn,
            file,
            text,
            line_col,
        }
    }

    /// The bytes of a record.
    pub fn to_bytes(self) -> [u8; 16] {
        bytes([self.insn, self.file, self.text, self.line_col])
    }

    /// Number of the line.
    pub const fn line(&self) -> u32 {
        self.line_col >> 10
    }

    /// The line that an instruction belongs to, of lines by rising instruction.
    pub fn of(lines: &[Self], insn: usize) -> Option<&Self> {
        let behind = lines.partition_point(|l| l.insn as usize <= insn);
        lines.get(behind.checked_sub(1)?)
    }

    /// `text @ file.c:12`, without the space before the text and without folders.
    pub fn show(&self, btf: &Btf<'_>) -> String {
        let text = btf.text(self.text).trim_start();
        let path = btf.text(self.file);
        let file = path.rsplit('/').next().unwrap_or(path);
        alloc::format!("{text} @ {file}:{}", self.line())
    }
}

fn words<const N: usize>(record: &[u8]) -> [u32; N] {
    let mut chunks = record.as_chunks::<4>().0.iter();
    core::array::from_fn(|_| chunks.next().map_or(0, |w| u32::from_ne_bytes(*w)))
}

fn bytes<const N: usize, const B: usize>(words: [u32; N]) -> [u8; B] {
    let mut all = words.iter().flat_map(|w| w.to_ne_bytes());
    core::array::from_fn(|_| all.next().unwrap_or(0))
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
