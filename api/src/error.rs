//! Errors, by whose fault they are, and their errno in one place.

use bpf_core::uapi::errno::*;
use std::os::fd::RawFd;
use std::time::Duration;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something did not work, by culprit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine, kernel or account can't do it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What the caller passed is wrong.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// The program was not accepted.
    #[error(transparent)]
    Program(#[from] Box<Rejection>),
    /// Something went wrong inside the guest. The host is unharmed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The call was cut short because it took longer than its time budget.
    #[error(
        "no answer within {0:?}: the call was cut short (give the VM a longer time budget, \
         or bound the program's loops)"
    )]
    Timeout(Duration),
}

/// What this machine, kernel or account can't do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is no `/dev/kvm`.
    #[error(
        "/dev/kvm does not exist: load the KVM module (modprobe kvm_intel or kvm_amd), or enable \
         virtualisation in the firmware (in a VM: nested virtualisation)"
    )]
    NoKvm,
    /// `/dev/kvm` may not be opened.
    #[error(
        "no permission to open /dev/kvm: add the user to the group that owns it \
         (usermod -aG kvm USER, then log in again)"
    )]
    KvmPermission,
    /// Not enough memory for what was asked.
    #[error("not enough memory for {what} ({bytes} bytes): give the VM more memory")]
    NoMemory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: u64,
    },
    /// There is no daemon, or it does not want to.
    #[error("{what}")]
    Daemon {
        /// What was tried, and its words.
        what: String,
        /// The nearest errno.
        errno: i32,
    },
    /// Anything else that the operating system refused.
    #[error("{what}: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// What was tried.
        what: String,
        /// The operating system's errno.
        errno: i32,
    },
}

/// What is wrong with what the caller passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerError {
    /// An fd that a program names is not one of ours.
    #[error("instruction {insn}: fd {fd} is not open or not an fd of a bpfvisor object")]
    BadFd {
        /// The instruction that names it.
        insn: u32,
        /// The fd.
        fd: RawFd,
    },
    /// An fd that a program names is something else than a map.
    #[error("instruction {insn}: fd {fd} is not a map")]
    NotAMap {
        /// The instruction that names it.
        insn: u32,
        /// The fd.
        fd: RawFd,
    },
    /// An fd that a program names is a map of another VM.
    #[error("instruction {insn}: fd {fd} is a map of another VM")]
    OtherVm {
        /// The instruction that names it.
        insn: u32,
        /// The fd.
        fd: RawFd,
    },
    /// A fixup or a pseudo load that can't be carried out.
    #[error("instruction {insn}: {what}")]
    Fixup {
        /// The instruction.
        insn: u32,
        /// What is wrong with it.
        what: String,
    },
    /// More maps than a program may use (64).
    #[error(
        "the program uses more than {} maps",
        bpf_core::uapi::limits::USED_MAPS
    )]
    TooManyMaps,
    /// An argument is out of bounds or of the wrong size.
    #[error("{0}")]
    Argument(String),
    /// Something Linux has and bpfvisor does not mean to have (yet).
    #[error("{0}")]
    Unsupported(String),
    /// An object file is damaged or asks for what can't be.
    #[error("{0}")]
    Object(String),
    /// An object that can't be made or used, with Linux's errno for it.
    #[error("{what} (errno {errno})")]
    Create {
        /// Which, and why.
        what: String,
        /// Linux's errno for it.
        errno: i32,
    },
    /// The operation on a map or program was refused.
    #[error("{op}: {} (errno {errno})", describe(*errno))]
    Refused {
        /// What was asked.
        op: &'static str,
        /// Linux's errno for it.
        errno: i32,
    },
}

/// A program that the guest did not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "program {name:?} was rejected{}: {reason} (errno {errno}){}",
    .insn.map(|i| format!(" at instruction {i}")).unwrap_or_default(),
    .line.as_ref().map(|s| format!("\n; {s}")).unwrap_or_default()
)]
pub struct Rejection {
    /// The program's name.
    pub name: String,
    /// Positive errno, as Linux would answer.
    pub errno: i32,
    /// One line: what was expected and what was found.
    pub reason: String,
    /// The instruction at fault.
    pub insn: Option<u32>,
    /// The source line that it comes from, where BTF names one:
    /// `text @ file.c:12`.
    pub line: Option<String>,
    /// Outside what bpfvisor means to do, rather than wrong.
    pub unsupported: bool,
    /// The verifier's log, as far as its level and buffer allow.
    pub log: String,
    /// Bytes that the whole log has, with its final zero.
    pub log_true_size: u32,
    /// Instructions processed.
    pub processed: u32,
    /// Time that verification took.
    pub verify_time: Duration,
}

/// What went wrong inside the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The vCPU faulted or the runtime panicked.
    #[error("the guest failed: {0} (the host is unharmed; build a new VM)")]
    Fault(String),
    /// It failed in this call, and the VM is rebuilt
    /// ([`VmBuilder::recovery`](crate::VmBuilder::recovery)). The same call may
    /// well fail again.
    #[error("the guest failed: {fault} (the host is unharmed; the VM is being rebuilt, {maps})")]
    Rebuilt {
        /// What happened.
        fault: String,
        /// What becomes of the maps.
        maps: &'static str,
    },
    /// It failed in another call while this one was under way, and the VM is
    /// rebuilt. This call may or may not have had an effect; it can be made again.
    #[error("the VM died meanwhile ({fault}) and is being rebuilt, {maps}: try again")]
    Lost {
        /// What happened.
        fault: String,
        /// What becomes of the maps.
        maps: &'static str,
    },
    /// The VM is no longer usable after an earlier fault.
    #[error("the VM is stopped after an earlier fault: {0}")]
    Dead(String),
    /// The daemon that ran the VM has gone, and the VM with it.
    #[error("the daemon is gone, and with it the VM: {0}")]
    Disconnected(String),
    /// The guest answered nonsense.
    #[error("the guest broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// The errno that Linux's `bpf()` would give for it, positive.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Host(e) => e.errno(),
            Self::Caller(e) => e.errno(),
            Self::Program(r) => r.errno,
            Self::Guest(GuestError::Protocol(_)) => EPROTO,
            Self::Guest(GuestError::Lost { .. }) => EAGAIN,
            Self::Guest(_) => EIO,
            Self::Timeout(_) => ETIMEDOUT,
        }
    }

    /// Whether the call failed through no fault of its own and can be made again
    /// (EAGAIN): another call's program took the VM down, which is being rebuilt.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Guest(GuestError::Lost { .. }))
    }

    pub(crate) fn argument(what: impl Into<String>) -> Self {
        CallerError::Argument(what.into()).into()
    }

    pub(crate) fn object(what: impl Into<String>) -> Self {
        CallerError::Object(what.into()).into()
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        CallerError::Unsupported(what.into()).into()
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        GuestError::Protocol(what.into()).into()
    }
}

impl HostError {
    fn errno(&self) -> i32 {
        match self {
            Self::NoKvm => ENODEV,
            Self::KvmPermission => EACCES,
            Self::NoMemory { .. } => ENOMEM,
            Self::Os { errno, .. } | Self::Daemon { errno, .. } => *errno,
        }
    }
}

impl CallerError {
    fn errno(&self) -> i32 {
        match self {
            Self::BadFd { .. } => EBADF,
            Self::OtherVm { .. } => EXDEV,
            Self::TooManyMaps => E2BIG,
            Self::Unsupported(_) => EOPNOTSUPP,
            Self::NotAMap { .. } | Self::Fixup { .. } | Self::Argument(_) | Self::Object(_) => {
                EINVAL
            }
            Self::Create { errno, .. } | Self::Refused { errno, .. } => *errno,
        }
    }
}

/// An errno in words that fit `bpf()`.
fn describe(errno: i32) -> String {
    let words = match errno {
        EPERM => "the map is frozen or not writable from here",
        ENOENT => "no such element",
        E2BIG => "the map is full, or the index lies beyond max_entries",
        EBADF => "not an object of this VM",
        ENOMEM => "not enough memory in the VM",
        EBUSY => "busy, try again",
        EEXIST => "the element exists already",
        EINVAL => "invalid argument for this type",
        ENOSPC => "no space left in the buffer",
        EOPNOTSUPP | ENOTSUPP => "this type does not support the operation",
        other => return std::io::Error::from_raw_os_error(other).to_string(),
    };
    words.into()
}

#[cfg(test)]
mod tests;
