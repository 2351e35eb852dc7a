//! The protocol between the VMM and the guest, defined once.
//!
//! Both sides compile this crate; [`PROTOCOL_VERSION`] is checked at boot, so a
//! mismatch is a clear error and never a misread structure.
//!
//! | module | is |
//! |---|---|
//! | [`layout`] | every guest address, and where things lie in the shared slot |
//! | [`boot`] | what the VMM tells the guest before it starts, and the ports |
//! | [`ring`] | submission and completion rings over a memory trait |
//! | [`op`] | operations: requests and their answers |
//!
//! **Invariant:** the host believes nothing in here that the guest wrote. Every
//! structure is plain data without invalid bit patterns; decoding yields
//! checked types or an error.
#![no_std]
#![forbid(unsafe_code)]

pub mod boot;
pub mod handshake;
pub mod layout;
pub mod op;
pub mod ring;

/// Version of everything in this crate. Changed whenever any of it changes.
pub const PROTOCOL_VERSION: u32 = 5;
