//! The freestanding image: what lies between the machine and the runtime
//! library. Everything here runs at CPL3 but for [`handlers`].
#![no_std]
#![no_main]
extern crate alloc;

mod entry;
mod handlers;
mod heap;
mod kvm;
mod memory_fns;
mod panic;
