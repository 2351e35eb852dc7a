//! The system call itself: commands and the bytes of `union bpf_attr`.
//!
//! [`bpf`] takes what `bpf(2)` takes and answers what it answers: a descriptor,
//! 0, or Linux's errno, for which there is also a sentence here. The attributes
//! hold addresses; whose memory they mean is for a [`UserMemory`] to say.
//!
//! ```no_run
//! use bpfvisor::raw::{self, Session, Space};
//! use bpfvisor::uapi::Cmd;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vm = bpfvisor::Vm::builder().boot()?;
//! let session = Session::new(&vm, Space::new(0x1000, 4096));
//! // A hash table: type, key_size, value_size, max_entries.
//! let mut attr: Vec<u8> = [1u32, 4, 8, 100].iter().flat_map(|w| w.to_ne_bytes()).collect();
//! let fd = raw::bpf(&session, Cmd::MapCreate as u32, &mut attr)?;
//! # let _ = fd; Ok(())
//! # }
//! ```
//!
//! The interface of 2014, in which attributes are a list, is
//! [`bpf_attrs`].
//!
//! | commands | |
//! |---|---|
//! | maps: create, elements, batches, freeze | as Linux |
//! | programs: load, test run | as Linux; of BTF, global functions and spin locks are used |
//! | `BPF_BTF_LOAD` | checked less strictly than by Linux |
//! | `BPF_OBJ_GET_INFO_BY_FD`, `BPF_ENABLE_STATS`, ids, `BPF_PROG_BIND_MAP` | as Linux |
//! | `BPF_OBJ_PIN`, `BPF_OBJ_GET` | names inside the VM, see [`Vm::pin`](crate::Vm::pin) |
//! | links | of XDP programs to a [`PacketSource`](crate::PacketSource) |
//! | `BPF_PROG_STREAM_READ_BY_FD` | as Linux, of programs that have written nothing |
//! | what needs hooks of a kernel | `EINVAL` |

pub mod attr;
mod batch;
mod btf;
mod call;
mod elem;
mod ids;
mod info;
mod legacy;
mod link;
mod load;
mod map_create;
mod map_types;
mod memory;
mod pin;
mod stream;
mod test_run;
mod tlv;

pub use legacy::{bpf_attrs, bpf_elem, map_attr, prog_attr};
pub(crate) use map_types::MapTypes;
pub use memory::{Fault, OwnMemory, Space, UserMemory};

use crate::Vm;
use crate::program::Spare;
use bpf_core::uapi::{Cmd, errno};
use call::{Call, refuse};

/// A VM, and the memory that addresses in attributes mean.
#[derive(Debug)]
pub struct Session<M> {
    vm: Vm,
    memory: M,
    /// A packet buffer between runs.
    spare: Spare,
}

impl<M: UserMemory> Session<M> {
    /// Commands go to `vm`; addresses mean `memory`.
    pub fn new(vm: &Vm, memory: M) -> Self {
        Self {
            vm: vm.clone(),
            memory,
            spare: Spare::default(),
        }
    }

    /// The VM.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (errno {errno})")]
pub struct Refused {
    /// Linux's errno, positive.
    pub errno: i32,
    /// What was expected, and what came.
    pub message: String,
}

impl From<crate::Error> for Refused {
    fn from(e: crate::Error) -> Self {
        Self {
            errno: e.errno(),
            message: e.to_string(),
        }
    }
}

/// Carries out one command of `enum bpf_cmd`. `attr` is the caller's
/// `union bpf_attr`, as long as its `size` argument; results are put into it and
/// into the memory that it names.
///
/// Descriptors that it answers belong to the caller, who closes them.
///
/// # Errors
/// Linux's errno. `E2BIG` for an `attr` that is longer than this side knows and
/// not zero there, `EINVAL` where something behind the last field of the command
/// is not zero, `EFAULT` for addresses that mean no memory.
pub fn bpf<M: UserMemory>(session: &Session<M>, cmd: u32, attr: &mut [u8]) -> Result<i64, Refused> {
    let mut call = Call::new(session, attr)?;
    let cmd = Cmd::from_u32(cmd)
        .ok_or_else(|| refuse(errno::EINVAL, format!("there is no command {cmd}")))?;
    match cmd {
        Cmd::MapCreate => map_create::create(&call),
        Cmd::MapLookupElem => elem::lookup(&call),
        Cmd::MapUpdateElem => elem::update(&call),
        Cmd::MapDeleteElem => elem::delete(&call),
        Cmd::MapGetNextKey => elem::next_key(&call),
        Cmd::MapLookupAndDeleteElem => elem::lookup_and_delete(&call),
        Cmd::MapFreeze => elem::freeze(&call),
        Cmd::MapLookupBatch
        | Cmd::MapLookupAndDeleteBatch
        | Cmd::MapUpdateBatch
        | Cmd::MapDeleteBatch => batch::batch(&mut call, cmd),
        Cmd::ProgLoad => load::load(&mut call),
        Cmd::BtfLoad => btf::load(&mut call),
        Cmd::ProgTestRun => test_run::test_run(&mut call),
        Cmd::ObjGetInfoByFd => info::info(&mut call),
        Cmd::EnableStats => info::enable_stats(&call),
        Cmd::ObjPin => pin::pin(&call),
        Cmd::ObjGet => pin::get(&call),
        Cmd::ProgBindMap => ids::bind(&call),
        Cmd::LinkCreate => link::create(&call),
        Cmd::LinkUpdate => link::update(&call),
        Cmd::LinkDetach => link::detach(&call),
        Cmd::MapGetNextId | Cmd::ProgGetNextId | Cmd::BtfGetNextId | Cmd::LinkGetNextId => {
            ids::next(&mut call, cmd)
        }
        Cmd::MapGetFdById | Cmd::ProgGetFdById | Cmd::BtfGetFdById | Cmd::LinkGetFdById => {
            ids::get(&mut call, cmd)
        }
        Cmd::ProgStreamReadByFd => stream::read(&call),
        other => Err(no_kernel(other)),
    }
}

/// A command that only a kernel can carry out, and what of a kernel it needs.
fn no_kernel(cmd: Cmd) -> Refused {
    let needs = match cmd {
        Cmd::ProgAttach | Cmd::ProgDetach | Cmd::ProgQuery => {
            "the hooks of a kernel; XDP programs are attached to packet sources by links"
        }
        Cmd::RawTracepointOpen => "the tracepoints of a kernel",
        Cmd::TaskFdQuery => "perf events of a kernel",
        Cmd::IterCreate => "a kernel's own objects to iterate over",
        Cmd::TokenCreate => "a bpf file system and its user namespace",
        _ => "a kernel",
    };
    let name = cmd.name();
    refuse(
        errno::EINVAL,
        format!("{name} has no meaning here: it needs {needs}"),
    )
}
