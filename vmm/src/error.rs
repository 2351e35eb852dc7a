//! Errors by culprit: the host that cannot boot a VM, a call that a VM did not
//! answer well, a descriptor that does not fit.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::fault::FaultReport;

/// Why a VM did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootError {
    /// There is no KVM device.
    #[error(
        "{path} can't be opened: {source}; is KVM available on this host and its module loaded?"
    )]
    NoKvm {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is one, but not for this user.
    #[error("no permission to open {path}: {source}; run as root or join the group that owns it")]
    Permission {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// KVM refused a step of setting up the VM.
    #[error("KVM failed to {step}: {source}")]
    Kvm {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Guest memory could not be had.
    #[error("guest memory: failed to {step}: {source}")]
    Memory {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A value of the configuration is out of range.
    #[error("configuration: {field} is {got}, expected {expected}")]
    Config {
        /// Field of [`Config`](crate::Config).
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What came.
        got: u64,
    },
    /// The guest image or the guest itself is at fault.
    #[error("guest: {text}")]
    Guest {
        /// What happened.
        text: String,
    },
    /// The guest did something the protocol does not allow while it started.
    #[error("guest broke the protocol: {text}")]
    Protocol {
        /// What it did.
        text: String,
    },
}

/// Why a call into the VM failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest answered with an errno.
    #[error("the guest answered {}", io::Error::from_raw_os_error(*errno))]
    Errno {
        /// Positive errno.
        errno: i32,
    },
    /// The program ran past its time budget and was cut short. The VM goes on.
    #[error("the call was cut short: its time budget is used up")]
    TimedOut,
    /// The VM is dead: of this, or of an earlier fault.
    #[error("the VM is dead: {0}")]
    Dead(Arc<FaultReport>),
    /// The VM died of this call, and is rebuilt ([`Recovery`](crate::Recovery)).
    #[error("{0}; the VM is being rebuilt")]
    Failed(Arc<FaultReport>),
    /// The VM died of another call while this one was under way, and is rebuilt.
    /// The call may or may not have had an effect; it can be made again.
    #[error("the VM died meanwhile, and is being rebuilt ({0}): the call can be made again")]
    Lost(Arc<FaultReport>),
    /// No shared memory left for this request.
    #[error("{wanted} bytes of shared memory can't be had")]
    NoMemory {
        /// Bytes asked for.
        wanted: u64,
    },
    /// The request does not fit the protocol (a range outside shared memory, an
    /// object of another kind or VM, too many of something).
    #[error("bad request: {0}")]
    Invalid(&'static str),
    /// The daemon that runs the VM says no, or something that makes no sense.
    #[error("the daemon answered: {text}")]
    Daemon {
        /// Its words, or what is wrong with them.
        text: String,
        /// Positive errno.
        errno: i32,
    },
    /// A descriptor could not be made.
    #[error("failed to {step}: {}", io::Error::from_raw_os_error(*errno))]
    Os {
        /// What was tried.
        step: &'static str,
        /// Positive errno.
        errno: i32,
    },
}

impl CallError {
    /// The errno that `bpf()` gives for it.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Errno { errno } | Self::Os { errno, .. } | Self::Daemon { errno, .. } => *errno,
            Self::TimedOut => libc::ETIMEDOUT,
            Self::Dead(_) | Self::Failed(_) => libc::EIO,
            Self::Lost(_) => libc::EAGAIN,
            Self::NoMemory { .. } => libc::ENOMEM,
            Self::Invalid(_) => libc::EINVAL,
        }
    }
}

/// Why there is no connection to a daemon.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("no daemon answers at {}: {source}; is bpfvisor-vmm running?", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon does not take this client.
    #[error("the daemon at {} refuses: {text}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Why.
        text: String,
        /// EACCES, EBUSY or EPROTONOSUPPORT.
        errno: i32,
    },
    /// Something answers, but not as it should.
    #[error("what listens at {} is no bpfvisor-vmm: {text}", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What it did.
        text: String,
    },
    /// The VM's memory can't be mapped here.
    #[error(transparent)]
    Memory(#[from] BootError),
}

/// Why a descriptor does not name an object of this VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FdError {
    /// Not open.
    #[error("fd {0} is not open")]
    NotOpen(i32),
    /// Open, but not an object of any VM in this process.
    #[error("fd {0} is not a bpfvisor map or program")]
    NotOurs(i32),
    /// An object of another VM.
    #[error("fd {0} belongs to another VM")]
    OtherVm(i32),
}

impl FdError {
    /// EBADF, EINVAL or EXDEV.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotOpen(_) => libc::EBADF,
            Self::NotOurs(_) => libc::EINVAL,
            Self::OtherVm(_) => libc::EXDEV,
        }
    }
}
