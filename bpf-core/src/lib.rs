//! Everything bpfvisor knows about BPF itself, independent of where it runs.
//!
//! The crate is `no_std` and (but for the named storage files of [`map`]) free
//! of `unsafe`. It never touches a virtual machine: the guest links it to
//! verify, compile and run programs, host tests link it to check the same code
//! in an ordinary process.
//!
//! | module | is |
//! |---|---|
//! | [`uapi`] | numbers and layouts of Linux's `linux/bpf.h` |
//! | [`insn`] | the instruction format of RFC 9669: opcodes, decoding, text |
//! | [`disasm`], [`asm`](mod@asm) | instructions as text, and back |
//! | [`btf`] | type information |
//! | [`program`] | a program on its way: description in, checked [`program::Program`] out |
//! | [`helper`] | prototypes of the helper functions |
//! | [`verifier`] | the proof that a program is safe |
//! | [`jit`] | the x86-64 compiler |
//! | [`interp`] | the reference interpreter |
//! | [`map`] | map geometry and storage |
//! | [`env`](mod@env) | what compiled code and helpers share while a program runs |
#![no_std]
#![warn(missing_docs)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod asm;
pub mod btf;
pub mod disasm;
pub mod env;
pub mod helper;
pub mod insn;
pub mod interp;
pub mod jit;
pub mod map;
pub mod program;
pub mod uapi;
pub mod verifier;
