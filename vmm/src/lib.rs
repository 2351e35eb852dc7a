//! The virtual machine monitor: boots the guest under KVM and carries requests
//! to it.
//!
//! It knows guest *handles*, never programs' meaning: it copies bytes, keeps
//! lifetimes, and turns whatever goes wrong inside a VM into a typed error. The
//! `bpfvisor` crate is the door for users.
//!
//! | part | modules |
//! |---|---|
//! | what a VM is made of | [`config`], `mapping`, `memory`, `paging`, `descriptors`, `registers`, `image`, `machine` |
//! | starting it | `host`, `boot`, `crew`, `clock` |
//! | running it | `vcpu` (exits), `exception`, [`fault`], `signal` (the kick) |
//! | talking to it | `lane` (one vCPU's callers, and their watchdog), `ring`, `doorbell`, `packets`, [`load`], [`shared`], `trace` |
//! | after its death | `life`, `recover`, `restore` from the `roll` |
//! | lifetimes | [`object`], `links`, [`alloc`] over `free_list`, `fds` |
//! | for other processes | [`daemon`], in its [`jail`] |
//!
//! **Invariant:** nothing that the guest wrote is believed. It is read once,
//! checked, and then used; no Rust reference ever points into memory that the
//! guest can write.

pub mod alloc;
mod bell;
mod boot;
mod clock;
pub mod config;
mod core;
mod crew;
pub mod daemon;
mod descriptors;
mod doorbell;
pub mod error;
mod exception;
pub mod fault;
mod fds;
mod free_list;
mod host;
mod image;
pub mod jail;
mod lane;
mod life;
mod links;
pub mod load;
mod machine;
mod mapping;
mod memory;
pub mod object;
mod packets;
mod paging;
mod pause;
#[cfg(any(test, fuzzing))]
pub mod player;
mod programs;
mod random;
mod recover;
mod registers;
mod rest;
mod restore;
mod ring;
mod roll;
pub mod shared;
mod signal;
mod stat;
mod trace;
mod vcpu;
mod vm;

#[cfg(test)]
mod testing;

pub use alloc::Block;
pub use bell::Bell;
pub use bpfvisor_abi as abi;
pub use bpfvisor_abi::op::{LoadRecord, MapRecord, Packet, Run, RunResult};
pub use bpfvisor_abi::ring::Completion;
pub use config::Config;
pub use error::{BootError, CallError, ConnectError, FdError};
pub use fault::FaultReport;
pub use load::{LoadError, LoadRequest, Loaded, TypeInfo};
pub use object::{Access, Companion, Kept, Kind, Object};
pub use pause::Paused;
pub use recover::{Loss, Recovery, RecoveryLimit, RecoveryReport};
pub use shared::SharedMemory;
pub use vm::{Vm, VmStats};
