//! What compiled code, the interpreter and helper functions share while a
//! program runs.

/// The part of the per-run environment that compiled code touches itself.
///
/// The runtime's own environment begins with this structure (`repr(C)`); its
/// address is in the environment register (R12 on x86-64) for as long as BPF
/// code runs, and is the sixth argument of every helper.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RunEnv {
    /// Tail calls made so far in this run; at most
    /// [`TAIL_CALLS`](crate::uapi::limits::TAIL_CALLS).
    pub tail_calls: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

impl RunEnv {
    /// Offset of [`RunEnv::tail_calls`], for the code generator.
    pub const TAIL_CALLS: i32 = core::mem::offset_of!(RunEnv, tail_calls) as i32;
}

/// A helper function as compiled code calls it: R1 to R5, then the address of
/// the runtime's environment (which begins with a [`RunEnv`]).
pub type HelperFn = extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// The beginning of what a loaded map pointer (`object_addr` of
/// [`MapDesc`](crate::program::MapDesc)) points to in the runtime's memory.
/// Compiled code reads it where the map is not known at compile time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapHeader {
    /// Address of element 0 of array-like maps. For program arrays: address of a
    /// table of 64-bit tail-call entry addresses, 0 where the slot is empty.
    pub values: u64,
    /// Capacity.
    pub max_entries: u32,
    /// Bytes from one element to the next (8 for program arrays).
    pub stride: u32,
}

/// Runtime functions that compiled code calls like helpers, by numbers that no
/// helper has.
pub mod runtime_fn {
    /// Legacy packet load (`BPF_ABS`, `BPF_IND`): R1 = offset (signed), R2 = size
    /// 1, 2 or 4. Returns the value in host order, or a negative number where
    /// the packet is too short; then the program ends with R0 = 0.
    pub const PACKET_LOAD: u32 = 0x1_0000;
}
