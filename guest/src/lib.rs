//! The runtime inside the VM, independent of the machine it runs on.
//!
//! | module | is |
//! |---|---|
//! | [`hal`] | what the runtime needs of a machine, and the shared slot |
//! | [`queue`] | the vCPU's loop over its submission ring |
//!
//! The freestanding image (`src/machine`) supplies a machine at CPL3 under KVM;
//! tests supply one in an ordinary process.
#![no_std]
#![warn(missing_docs)]
extern crate alloc;

pub mod dispatch;
pub mod hal;
pub mod queue;
pub mod runtime;

pub use runtime::Runtime;
