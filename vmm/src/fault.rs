//! What is known about the end of a VM.

use std::fmt;

/// Who is to blame, as far as the VMM can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A processor exception inside the guest.
    Exception {
        /// Vector: 14 is a page fault, 13 general protection, 6 invalid opcode.
        vector: u8,
    },
    /// The runtime in the guest panicked.
    Panic,
    /// A fault that could not be delivered: the vCPU shut down.
    TripleFault,
    /// KVM could not go on.
    KvmInternal,
    /// The guest broke the protocol: a bad answer, an unknown port.
    Protocol,
    /// The runtime, not a program, did not answer in time.
    Unresponsive,
    /// The VM was shut down by its owner.
    Shutdown,
    /// The daemon that ran the VM is gone.
    Disconnected,
    /// The VM was killed by its owner ([`Vm::kill`](crate::Vm::kill)).
    Killed,
}

/// The general registers when it happened.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
}

/// Why a VM died. Everything that stems from guest memory or registers is an
/// allegation of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// What happened.
    pub cause: Cause,
    /// On which vCPU.
    pub vcpu: u32,
    /// Error code of the exception.
    pub error_code: u64,
    /// Faulting address of a page fault (CR2).
    pub address: u64,
    /// Registers of the interrupted code.
    pub registers: Registers,
    /// The interrupted code was a compiled program.
    pub in_program: bool,
    /// Name of the program: the one whose code was interrupted, or else the last
    /// that the vCPU was asked to run.
    pub program: Option<String>,
    /// The instruction of that program, as loaded, whose code was interrupted.
    pub insn: Option<u32>,
    /// One line of text: the panic's message, or what was expected.
    pub text: String,
}

impl FaultReport {
    /// A report without processor state.
    pub(crate) fn plain(cause: Cause, vcpu: u32, text: impl Into<String>) -> Self {
        Self {
            cause,
            vcpu,
            error_code: 0,
            address: 0,
            registers: Registers::default(),
            in_program: false,
            program: None,
            insn: None,
            text: text.into(),
        }
    }
}

/// The manual's short name of an exception (SDM volume 3, 6.15).
fn exception_name(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        3 => "breakpoint",
        4 => "overflow",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD error",
        _ => "exception",
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Exception { vector } => {
                write!(f, "{} (vector {vector}", exception_name(vector))?;
                write!(f, ", error code {:#x})", self.error_code)?;
                if vector == 14 {
                    write!(f, " at address {:#x}", self.address)?;
                }
                let place = if self.in_program {
                    "a program"
                } else {
                    "the runtime"
                };
                write!(f, " in {place}, rip {:#x}", self.registers.rip)?;
            }
            Cause::Panic => write!(f, "the runtime panicked")?,
            Cause::TripleFault => write!(f, "triple fault")?,
            Cause::KvmInternal => write!(f, "KVM internal error")?,
            Cause::Protocol => write!(f, "protocol broken by the guest")?,
            Cause::Unresponsive => write!(f, "the runtime does not answer")?,
            Cause::Shutdown => write!(f, "shut down")?,
            Cause::Disconnected => return write!(f, "the daemon is gone: {}", self.text),
            Cause::Killed => write!(f, "killed")?,
        }
        if let Some(program) = &self.program {
            write!(f, ", program {program:?}")?;
        }
        if let Some(insn) = self.insn {
            write!(f, " instruction {insn}")?;
        }
        write!(f, ", vCPU {}", self.vcpu)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}
