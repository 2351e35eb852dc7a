//! BPF programs in hardware isolation, through the familiar interface.
//!
//! A [`Vm`] is a small virtual machine under KVM. Programs and maps live in it:
//! it verifies, compiles and runs the programs, so that a mistake in any of that
//! stays inside.
//!
//! ```no_run
//! use bpfvisor::{MapSpec, ProgramSpec, Vm};
//! use bpfvisor::insn::Insn;
//!
//! # fn main() -> bpfvisor::Result<()> {
//! let vm = Vm::builder().memory(64 << 20).vcpus(1).boot()?;
//! let hits = vm.create_map(MapSpec::hash("hits", 4, 8, 1024))?;
//! // r0 = XDP_PASS; exit
//! let insns = [Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)];
//! let prog = vm.load(ProgramSpec::xdp(insns).license("GPL").name("pass"))?;
//! let out = prog.run(&[0; 64])?;
//! assert_eq!(out.retval, 2);
//! # Ok(())
//! # }
//! ```
//!
//! | type | is | kernel's name |
//! |---|---|---|
//! | [`Vm`] | one trust domain | - |
//! | [`VmPool`] | booted VMs in reserve | - |
//! | [`Map`] | an fd; read from shared memory, changed by the guest | `BPF_MAP_*` |
//! | [`Program`] | an fd; verified, compiled | `BPF_PROG_LOAD`, `BPF_PROG_TEST_RUN` |
//! | [`Object`](object::Object) | an ELF object by clang: programs, maps, globals | libbpf's `bpf_object` |
//! | [`Error`] | by culprit, with [`Error::errno`] | errno |

mod error;
mod fixup;
pub mod hex;
mod hosted;
#[doc(hidden)]
pub mod input;
mod map;
pub mod object;
mod packet;
mod pins;
mod pool;
mod program;
pub mod raw;
mod redirect;
mod registry;
mod remote;
mod run;
mod source;
mod spec;
mod stats;
mod types;
mod vm;

pub use bpf_core::program::{FuncInfo, LineInfo};
pub use bpf_core::{asm, disasm, insn, uapi};
pub use bpfvisor_vmm::fault::{Cause, FaultReport, Registers};
pub use bpfvisor_vmm::{Access, Loss, Paused, Recovery, RecoveryLimit, RecoveryReport, VmStats};
pub use error::{CallerError, Error, GuestError, HostError, Rejection, Result};
pub use map::{
    ArrayView, Elements, Event, EventStream, Iter, Keys, Map, Position, RingBuffer, TypedMap,
};
#[cfg(feature = "tokio")]
pub use map::{AsyncEventStream, AsyncRingBuffer};
pub use packet::{Buffer, MAX_PACKET, MIN_FRAME, Outcome};
pub use pool::VmPool;
pub use program::{LoadInfo, Program};
pub use redirect::Redirect;
pub use remote::{Described, What, Which};
pub use run::{RunOutput, TestRun};
pub use source::{Link, PacketSource};
pub use spec::{MapSpec, ProgramSpec};
pub use types::Btf;
pub use vm::{Vm, VmBuilder};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
