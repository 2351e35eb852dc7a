//! What to create, load and run, and what came of it.

use super::Error;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A map to create.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec<'a> {
    /// Its type.
    pub map_type: MapType,
    /// Bytes per key.
    pub key_size: u32,
    /// Bytes per value.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// `map_extra`.
    pub extra: u64,
    /// The template of a map of maps.
    pub inner: Option<BorrowedFd<'a>>,
    /// At most 15 bytes.
    pub name: &'a str,
    /// BTF of key and value: its fd and the two type ids.
    pub btf: Option<(BorrowedFd<'a>, u32, u32)>,
}

impl MapSpec<'_> {
    /// A map without flags, name or BTF.
    pub const fn new(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            extra: 0,
            inner: None,
            name: "",
            btf: None,
        }
    }

    /// With `map_flags`.
    pub const fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }
}

/// A program to load. Maps are named in it by fd.
#[derive(Clone, Copy, Debug)]
pub struct ProgSpec<'a> {
    /// Its type. (The kernel knows no `Flat` programs.)
    pub prog_type: ProgType,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// The instructions.
    pub insns: &'a [Insn],
    /// The license string, without a final zero.
    pub license: &'a str,
    /// `prog_flags`.
    pub flags: u32,
    /// Bits 1, 2 and 4 as in the kernel.
    pub log_level: u32,
    /// Size of the log buffer where `log_level` is not 0.
    pub log_size: u32,
    /// `fd_array`.
    pub fd_array: &'a [i32],
    /// BTF, and for each function its first instruction and its type there.
    pub btf: Option<(BorrowedFd<'a>, &'a [[u32; 2]])>,
    /// `line_info`, where there is BTF.
    pub lines: &'a [[u32; 4]],
}

impl<'a> ProgSpec<'a> {
    /// A GPL program, loaded without a log.
    pub const fn new(prog_type: ProgType, insns: &'a [Insn]) -> Self {
        Self {
            prog_type,
            attach_type: 0,
            insns,
            license: "GPL",
            flags: 0,
            log_level: 0,
            log_size: 1 << 22,
            fd_array: &[],
            btf: None,
            lines: &[],
        }
    }

    /// With a log.
    pub const fn log_level(mut self, level: u32) -> Self {
        self.log_level = level;
        self
    }

    /// With `prog_flags`.
    pub const fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }
}

/// A program that the kernel did not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why, as a number.
    pub error: Error,
    /// Why, in words (empty at log level 0).
    pub log: String,
}

impl Rejected {
    /// The last line of the log that is not the statistics: the reason.
    pub fn reason(&self) -> &str {
        let lines = self.log.trim_end().lines();
        lines
            .rev()
            .find(|line| {
                !line.starts_with("processed ")
                    && !line.starts_with("verification time")
                    && !line.starts_with("stack depth")
            })
            .unwrap_or("")
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error, self.reason())
    }
}

impl std::error::Error for Rejected {}

/// What `struct bpf_prog_info` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgInfo {
    /// Hash of the instructions.
    pub tag: [u8; 8],
    /// Bytes of machine code.
    pub jited_len: u32,
    /// Bytes of BPF after rewriting.
    pub xlated_len: u32,
    /// Instructions that the verifier processed.
    pub verified_insns: u32,
    /// Nanoseconds run, where statistics are enabled.
    pub run_time_ns: u64,
    /// Runs, where statistics are enabled.
    pub run_cnt: u64,
}

/// One `BPF_PROG_TEST_RUN`. Networking programs need at least 14 bytes of data
/// (an Ethernet header).
#[derive(Clone, Copy, Debug, Default)]
pub struct RunSpec<'a> {
    /// The packet.
    pub data: &'a [u8],
    /// The context structure, or empty for the kernel's default.
    pub ctx: &'a [u8],
    /// How often to run; 0 means 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
    /// Room for output data beyond the length of the input.
    pub headroom: usize,
}

impl<'a> RunSpec<'a> {
    /// One run over a packet, with room for it to grow.
    pub const fn data(data: &'a [u8]) -> Self {
        Self {
            data,
            ctx: &[],
            repeat: 1,
            flags: 0,
            headroom: 4096,
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOutput {
    /// The program's return value, as the kernel reports it.
    pub retval: u32,
    /// Mean time of one run.
    pub duration: Duration,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// The context afterwards (as long as the one given).
    pub ctx: Vec<u8>,
}
