//! Submission and completion rings.
//!
//! One pair per vCPU and client, in a queue block of its own: pair 0 is the VMM's
//! own, whose block also has what there is once per vCPU. A vCPU serves one
//! request at a time, pair 0 first, the others in turn. There are no shared head and tail
//! indices: every entry carries the sequence number of its turn, written last,
//! so a reader polls exactly the cache line it is going to read. Entry `n`
//! (counted from 0, wrapping) lies in slot `n % ENTRIES` and is present when its
//! `seq` equals [`stamp`]`(n)`. The producer of submissions never has more than
//! [`ENTRIES`] unanswered, so neither ring can overflow.
//!
//! ```text
//! queue block: +0x0000 header    4 KiB  Header (one cache line per word)
//!              +0x1000 submissions      ENTRIES * 64 bytes
//!              +0x2000 completions      ENTRIES * 64 bytes
//!              +0x3000 message          4 KiB of UTF-8 text (panics)
//!              +0x4000 trace           16 KiB ring of trace_printk text
//! ```
//!
//! # Sleeping
//! The guest, about to sleep, stores 1 to `guest_asleep`, fences, looks at the
//! submission ring once more, then rings [`port::SLEEP`](crate::boot::port). The
//! host, having published, fences and looks at `guest_asleep`. The other
//! direction is the mirror image with `host_waiting` and `port::NOTIFY`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots per ring, a power of two.
pub const ENTRIES: u32 = 64;

/// Offsets in a queue block.
pub mod block {
    /// Set by the guest before it sleeps, cleared by it when it wakes. Pair 0.
    pub const GUEST_ASLEEP: u64 = 0x000;
    /// Set by the host while it waits for a completion.
    pub const HOST_WAITING: u64 = 0x040;
    /// What the vCPU is doing: a [`Phase`](super::Phase), for the watchdog. Pair 0.
    pub const PHASE: u64 = 0x080;
    /// Requests that the vCPU has begun, wrapping, for the watchdog. Pair 0.
    pub const BEGUN: u64 = 0x084;
    /// Set by the host: stop after the current request. Pair 0.
    pub const STOP: u64 = 0x0c0;
    /// Set by the host: the request has used its time up. What the runtime would
    /// wait for without end is given up. Pair 0.
    pub const OVERDUE: u64 = 0x140;
    /// Set by the host: 64 bits, one for each pair but 0 that is in use. Pair 0.
    pub const ACTIVE: u64 = 0x180;
    /// Trace ring: bytes ever written (guest), 64 bits. Pair 0.
    pub const TRACE_HEAD: u64 = 0x100;
    /// Submission ring.
    pub const SUBMISSIONS: u64 = 0x1000;
    /// Completion ring.
    pub const COMPLETIONS: u64 = 0x2000;
    /// Text of a panic.
    pub const MESSAGE: u64 = 0x3000;
    /// Size of the text area.
    pub const MESSAGE_LEN: u64 = 0x1000;
    /// Trace text ring.
    pub const TRACE: u64 = 0x4000;
    /// Size of the trace ring, a power of two.
    pub const TRACE_LEN: u64 = 0x4000;
}

/// What a vCPU is doing, as the watchdog may be told (an allegation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// Polling or asleep.
    Idle = 0,
    /// In the runtime: must not be redirected.
    Runtime = 1,
    /// Running a program: may be redirected to the abort entry while RIP is in
    /// the code region.
    Program = 2,
}

/// One submission, 64 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Submission {
    /// See the module.
    pub seq: u32,
    /// An [`op`](crate::op) code.
    pub op: u32,
    /// Arguments of the operation.
    pub arg: [u64; 7],
}

/// One completion, 64 bytes. Completions come in the order of submissions.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Completion {
    /// See the module.
    pub seq: u32,
    /// 0 or a negative errno.
    pub status: i32,
    /// Results of the operation.
    pub val: [u64; 7],
}

const _: () = assert!(size_of::<Submission>() == 64 && size_of::<Completion>() == 64);
const _: () = assert!(ENTRIES.is_power_of_two() && ENTRIES as u64 * 64 <= 0x1000);

/// The sequence number by which entry `n` is recognised: never 0 in the first
/// round, and different from that of the slot's previous turn.
pub const fn stamp(n: u32) -> u32 {
    n.wrapping_add(1)
}

/// Offset of entry `n` in its ring.
pub const fn slot(n: u32) -> u64 {
    (n % ENTRIES) as u64 * 64
}
