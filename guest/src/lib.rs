//! The runtime inside the VM, independent of the machine it runs on.
//!
//! | module | is |
//! |---|---|
//! | [`hal`] | what the runtime needs of a machine, and the shared slot |
//! | [`queue`], [`dispatch`] | the vCPU's loop over its submission ring, and who answers |
//! | [`object`] | programs and maps by handle, and when they may go |
//! | [`program`], [`map`] | loading programs, maps and the host's operations on them |
//! | [`run`](mod@run), [`env`](mod@env) | contexts and runs |
//! | [`helpers`] | the functions that programs call |
//! | [`memory`] | addresses that programs hand to helpers |
//!
//! The freestanding image (`src/machine`) supplies a machine at CPL3 under KVM;
//! tests supply one in an ordinary process.
#![no_std]
#![warn(missing_docs)]
extern crate alloc;

pub mod clock;
pub mod dispatch;
pub mod env;
pub mod hal;
pub mod helpers;
pub mod map;
pub mod memory;
pub mod object;
pub mod program;
pub mod queue;
pub mod run;
pub mod runtime;

pub use runtime::Runtime;
