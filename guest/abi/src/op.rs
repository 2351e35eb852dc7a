//! Operations: what the host asks of the guest.
//!
//! Small arguments travel in the submission; larger ones in a record in the
//! shared slot whose offset travels. All offsets are into the shared slot.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operation codes.
#[allow(missing_docs)]
pub mod code {
    pub const NOP: u32 = 0;
    /// arg: offset of a [`LoadRecord`](super::LoadRecord), answered in place; ns
    /// that the verification may take, 0: any.
    pub const PROG_LOAD: u32 = 1;
    /// arg: program handle.
    pub const PROG_UNLOAD: u32 = 2;
    /// arg: [`Run`](super::Run) words; val: [`RunResult`](super::RunResult) words.
    pub const RUN: u32 = 3;
    /// arg: program handle, offset of [`Packet`](super::Packet)s, count, flags.
    pub const RUN_BATCH: u32 = 4;
    /// arg: program handle, offset of a buffer, its length, what
    /// (0 xlated instructions, 1 machine code, 2 a `u32` for each instruction and
    /// the end: the offset of its machine code, 3 a `u32` for each instruction: its
    /// index as loaded); val: full length.
    pub const PROG_DUMP: u32 = 5;
    /// arg: offset of a [`MapRecord`](super::MapRecord); val: handle.
    pub const MAP_CREATE: u32 = 16;
    /// arg: map handle.
    pub const MAP_FREE: u32 = 17;
    /// arg: handle, key offset, value offset, flags.
    pub const MAP_UPDATE: u32 = 18;
    /// arg: handle, key offset, value offset, flags.
    pub const MAP_LOOKUP: u32 = 19;
    /// arg: handle, key offset.
    pub const MAP_DELETE: u32 = 20;
    /// arg: handle, key offset (or [`NO_KEY`](super::NO_KEY)), next-key offset.
    pub const MAP_NEXT_KEY: u32 = 21;
    /// arg: handle, key offset, value offset, flags.
    pub const MAP_LOOKUP_AND_DELETE: u32 = 22;
    /// arg: handle: no more writes from the host.
    pub const MAP_FREEZE: u32 = 23;
    /// arg: map handle, selector of [`batch`](super::batch), keys offset, values
    /// offset, count, position, element flags; val: count done, next position.
    /// Lookups end with ENOENT; the count is then still right.
    pub const MAP_BATCH: u32 = 24;
    /// arg: handle of a program array: empty it, as Linux does when its last
    /// descriptor is closed. Others stay as they are.
    pub const MAP_CLEAR: u32 = 25;
    /// arg: a ring pair, not 0 and not active: begin anew with it on this vCPU,
    /// with empty rings. Asked on pair 0.
    pub const PAIR_RESET: u32 = 32;
}

/// Whether a client of a daemon may ask for it by itself: not for what makes or
/// frees objects, of which the VMM keeps account.
pub const fn for_clients(op: u32) -> bool {
    use code::*;
    matches!(
        op,
        NOP | RUN
            | RUN_BATCH
            | PROG_DUMP
            | MAP_UPDATE
            | MAP_LOOKUP
            | MAP_DELETE
            | MAP_NEXT_KEY
            | MAP_LOOKUP_AND_DELETE
            | MAP_FREEZE
            | MAP_BATCH
    )
}

/// Selectors of [`code::MAP_BATCH`].
#[allow(missing_docs)]
pub mod batch {
    pub const LOOKUP: u64 = 0;
    pub const LOOKUP_AND_DELETE: u64 = 1;
    pub const UPDATE: u64 = 2;
    pub const DELETE: u64 = 3;
}

/// "No key", for the first call of `MAP_NEXT_KEY`.
pub const NO_KEY: u64 = u64::MAX;

/// One packet or context, in and out: the wire form of one
/// `BPF_PROG_TEST_RUN`. The buffer is `[off, off + cap)`; the data lies
/// somewhere in it with headroom before and tailroom behind.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Packet {
    /// Offset of the buffer.
    pub off: u32,
    /// Size of the buffer.
    pub cap: u32,
    /// Where the data begins, from `off`.
    pub data: u32,
    /// Length of the data.
    pub len: u32,
    /// Out: lower half of R0.
    pub retval: u32,
    /// Out: 0 or a negative errno.
    pub status: i16,
    /// Out: [`redirect`] bits; 0 where the verdict redirects nowhere.
    pub redirect: u16,
    /// In: offset of a context structure in and out (type dependent), or 0.
    /// Out, where `redirect` isn't 0: index of the interface, or key in the map.
    pub ctx_or_target: u32,
    /// In: length of the context structure. Out, where `redirect` isn't 0: handle
    /// of the map, 0 where the interface is named.
    pub ctx_len_or_via: u32,
}
/// Two to a cache line: a batch is as fast as its packets come over.
const _: () = assert!(size_of::<Packet>() == 32);

/// Bits of [`Packet::redirect`]: the helper's flags, and what the helper was.
#[allow(missing_docs)]
pub mod redirect {
    /// The flags given to the helper, all of which are below this.
    pub const FLAGS: u16 = 0xff;
    /// A helper chose a target.
    pub const CHOSEN: u16 = 1 << 8;
    /// `bpf_redirect_peer`.
    pub const PEER: u16 = 1 << 9;
    /// `bpf_redirect_neigh`.
    pub const NEIGHBOUR: u16 = 1 << 10;
}

/// Arguments of [`code::RUN`], in `Submission::arg`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Run {
    /// Program handle.
    pub prog: u32,
    /// How often to run it, at least 1.
    pub repeat: u32,
    /// [`run_flags`].
    pub flags: u32,
    /// Zero.
    pub reserved: [u32; 3],
    /// The packet. Results come in [`RunResult`].
    pub packet: Packet,
}

/// Bits of [`Run::flags`].
pub mod run_flags {
    /// Measure: fill [`RunResult::duration_ns`](super::RunResult::duration_ns).
    pub const TIMED: u32 = 1;
}

/// Results of [`code::RUN`], in `Completion::val`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RunResult {
    /// The whole of R0.
    pub r0: u64,
    /// Time of all repeats together.
    pub duration_ns: u64,
    /// Where the data begins now, from the buffer's start.
    pub data: u32,
    /// Its length now.
    pub len: u32,
    /// Index of the interface, or key in the map `via`, of a redirection.
    pub target: u32,
    /// Handle of the map of a redirection, 0 where the interface is named.
    pub via: u32,
    /// As [`Packet::redirect`].
    pub redirect: u16,
    /// Zero.
    pub pad: [u16; 11],
}
const _: () = assert!(size_of::<Run>() == 56 && size_of::<RunResult>() == 56);

/// A map to create: Linux's attributes, and the storage that the host set aside.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MapRecord {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes per key.
    pub key_size: u32,
    /// Bytes per value.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// Handle of the template of a map of maps, else 0.
    pub inner: u32,
    /// Storage: offset in the shared slot, a multiple of 4096; zeroed.
    pub storage: u64,
    /// Storage: length.
    pub storage_len: u64,
    /// Hash seed (0 with `BPF_F_ZERO_SEED`).
    pub seed: u64,
    /// Offset of a spin lock in the value, or `u32::MAX`.
    pub spin_lock_off: u32,
    /// Offset of a timer in the value, or `u32::MAX`.
    pub timer_off: u32,
    /// `map_extra`.
    pub extra: u64,
    /// Handle that the map is to have, as in an earlier life of the VM; 0: any.
    pub handle: u32,
    /// Not 0: the storage holds the map of an earlier life.
    pub keep: u32,
    /// Name, zero padded.
    pub name: [u8; 16],
}

/// A program to load and, after the call, what came of it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LoadRecord {
    /// In: `enum bpf_prog_type`; 0 is the flat context.
    pub prog_type: u32,
    /// In: `expected_attach_type`.
    pub attach_type: u32,
    /// In: `prog_flags`.
    pub flags: u32,
    /// In: instruction slots.
    pub insn_cnt: u32,
    /// In: offset of the instructions. Out, where they were compiled: in their
    /// place, for each its code's offset from `jited_addr` as `u32`, `u32::MAX`
    /// for those that have none.
    pub insns: u64,
    /// In: offset of the log buffer.
    pub log: u64,
    /// In: its size.
    pub log_len: u32,
    /// In: log level bits.
    pub log_level: u32,
    /// In: shortest memory of a flat program.
    pub flat_min: u32,
    /// In: longest memory of a flat program.
    pub flat_max: u32,
    /// In: license string, zero padded.
    pub license: [u8; 128],
    /// In: name, zero padded.
    pub name: [u8; 16],
    /// In: offset of the BTF blob.
    pub btf: u64,
    /// In: offset of `struct bpf_func_info`s, 8 bytes each.
    pub func_info: u64,
    /// In: offset of `struct bpf_line_info`s, 16 bytes each.
    pub line_info: u64,
    /// In: length of the BTF blob, 0 where there is none.
    pub btf_len: u32,
    /// In: how many functions have types.
    pub func_info_cnt: u32,
    /// In: how many source lines.
    pub line_info_cnt: u32,
    /// In: most instructions to process (0: the kernel's million).
    pub insn_budget: u32,
    /// Out: handle.
    pub handle: u32,
    /// Out: instruction at fault, or `u32::MAX`.
    pub bad_insn: u32,
    /// Out: bit 0: outside what bpfvisor means to do.
    pub verdict_flags: u32,
    /// Out: bytes that the whole log has (`log_true_size`, with final zero).
    pub log_true_size: u32,
    /// Out: instructions processed.
    pub processed: u32,
    /// Out: states kept.
    pub total_states: u32,
    /// Out: instructions after rewriting.
    pub xlated_insns: u32,
    /// Out: bytes of machine code.
    pub jited_len: u32,
    /// Out: time of verification.
    pub verify_ns: u64,
    /// Out: time of compilation.
    pub jit_ns: u64,
    /// Out: guest address of the machine code.
    pub jited_addr: u64,
    /// Out: length of `message`.
    pub message_len: u32,
    /// In: handle that the program is to have, as in an earlier life of the VM;
    /// 0: any.
    pub place: u32,
    /// Out: why not, one line of UTF-8.
    pub message: [u8; 256],
}
