//! Global functions and source lines beside the running kernel. Needs root; the
//! objects also need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "globals_vs_kernel/handmade.rs"]
mod handmade;
#[path = "globals_vs_kernel/objects.rs"]
mod objects;
