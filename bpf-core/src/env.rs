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
