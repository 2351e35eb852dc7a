//! The running kernel's `bpf(2)`, as the oracle that bpfvisor is compared with.
//!
//! A thin, safe door: lengths are checked, descriptors owned, errors carry the
//! errno. Nothing here interprets BPF. Needs root or CAP_BPF (and CAP_NET_ADMIN
//! for networking programs), and says so.
//!
//! ```no_run
//! use bpfvisor_tests::kernel::{Map, MapSpec, Prog, ProgSpec, RunSpec};
//! use bpf_core::{insn::Insn, uapi::{MapType, ProgType}};
//!
//! let hits = Map::create(&MapSpec::new(MapType::Array, 4, 8, 1))?;
//! hits.update(&[0; 4], &[1; 8], 0)?;
//! let insns = [Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)];
//! let prog = Prog::load(&ProgSpec::new(ProgType::Xdp, &insns)).map_err(|r| r.error)?;
//! assert_eq!(prog.run(&RunSpec::data(&[0; 14]))?.retval, 2);
//! # Ok::<(), bpfvisor_tests::kernel::Error>(())
//! ```

mod attr;
pub mod btf;
mod perf;
mod ring;
mod spec;
mod sys;

pub use perf::Events;
pub use ring::Ring;
pub use spec::{MapSpec, ProgInfo, ProgSpec, Rejected, RunOutput, RunSpec};
pub use sys::{Btf, Map, Prog};

use bpf_core::uapi::Cmd;
use std::fmt;
use std::io;

/// A failed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The command.
    pub cmd: Cmd,
    /// Positive errno.
    pub errno: i32,
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "the kernel's {}: {error}", self.cmd.name())?;
        if self.errno == libc::EPERM {
            f.write_str(" (needs root / CAP_BPF: the comparison with the kernel can't run)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Fails with a clear message where this process may not use `bpf(2)`.
pub fn require() -> Result<()> {
    let spec = MapSpec::new(bpf_core::uapi::MapType::Array, 4, 4, 1);
    Map::create(&spec).map(drop)
}

/// The number of CPUs for which per-CPU maps have values
/// (`/sys/devices/system/cpu/possible`).
pub fn possible_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next();
    last.and_then(|n| n.parse::<usize>().ok())
        .map_or(1, |n| n + 1)
}
