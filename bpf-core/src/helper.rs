//! Prototypes of the helper functions.
//!
//! Which program types offer a helper, and what it asks of its arguments, are
//! facts of Linux 6.18 (`bpf_func_proto` of each helper and the `func_proto`
//! tables of the program types).
mod offer;
mod prototype;

pub use offer::{gpl_only, offered};
pub use prototype::proto;

/// `bpf_tail_call`, which is no call but a jump.
pub const TAIL_CALL: u32 = 12;

/// What a helper asks of one argument (the kernel's `ARG_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Any initialised register.
    Anything,
    /// A map.
    MapPtr,
    /// Memory of the map's key size, read.
    MapKey,
    /// Memory of the map's value size, read.
    MapValue,
    /// Memory of the map's value size, written.
    UninitMapValue,
    /// The program's context.
    Ctx,
    /// Memory that is read; its size follows.
    Mem,
    /// As [`Arg::Mem`], or null.
    MemOrNull,
    /// Memory that is written; its size follows.
    UninitMem,
    /// As [`Arg::UninitMem`], or null.
    UninitMemOrNull,
    /// Size of the memory before it, not 0.
    Size,
    /// Size of the memory before it.
    SizeOrZero,
    /// A constant: bytes to allocate.
    AllocSize,
    /// Memory that was allocated, to be given back.
    AllocMem,
    /// A spin lock in a map value.
    SpinLock,
    /// A function of the program.
    Func,
    /// Stack of the program, or null.
    StackOrNull,
    /// Eight aligned bytes that are written.
    Long,
    /// Four aligned bytes, read and written.
    Word,
    /// Memory of this many bytes, read.
    Bytes(u8),
    /// Memory that is read and written; its size follows.
    InOutMem,
    /// The program's context, or null.
    CtxOrNull,
    /// A socket of any kind.
    Sock,
    /// A socket of any kind, also one that is known by its kernel type.
    BtfSock,
    /// As [`Arg::BtfSock`], to be given back.
    HeldSock,
    /// As [`Arg::BtfSock`], or null.
    BtfSockOrNull,
    /// A full socket, or null.
    SocketOrNull,
    /// Memory of the map's value size, read, or null.
    MapValueOrNull,
    /// A task of the kernel.
    Task,
    /// A control group of the kernel.
    Cgroup,
    /// A per-CPU variable of the kernel.
    PercpuVariable,
    /// A `struct bpf_timer` in a map value.
    Timer,
    /// A kernel pointer in a map value.
    Kptr,
    /// A dynptr on the stack.
    Dynptr,
    /// A zero-terminated string in a read-only map.
    ConstStr,
}

/// What a helper returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Int,
    /// Nothing: R0 may not be read.
    Void,
    /// A pointer to a value of the map, or null.
    MapValueOrNull,
    /// Allocated memory that must be given back, or null.
    AllocMemOrNull,
    /// A pointer to a value of the map.
    MapValue,
    /// A full socket, or null.
    SocketOrNull,
    /// A socket of any kind, or null.
    SockCommonOrNull,
    /// A TCP socket, or null.
    TcpSockOrNull,
    /// The same socket, as a structure of the kernel's, or null.
    BtfSockOrNull,
    /// The current task.
    Task,
}

/// The prototype of one helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proto {
    /// R1 to R5.
    pub args: &'static [Arg],
    /// R0.
    pub ret: Ret,
    /// Packet pointers are stale after the call.
    pub changes_packet: bool,
    /// Packet memory may be given as an argument.
    pub packet_args: bool,
}

/// The kernel's name of a helper, `unknown` where there is none.
pub fn name(id: u32) -> &'static str {
    crate::disasm::helper_name(id).unwrap_or("unknown")
}

/// Whether Linux has a helper of this number, for whatever program type.
pub fn exists(id: u32) -> bool {
    (1..=LAST).contains(&id)
}

/// `bpf_cgrp_storage_delete`, the last one.
const LAST: u32 = 211;
