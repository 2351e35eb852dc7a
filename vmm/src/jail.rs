//! The daemon's jail: what a process that holds a VM can do without, it gives up
//! before the guest runs.
//!
//! | wall | what it takes |
//! |---|---|
//! | `no_new_privs`, capabilities | every privilege, for good |
//! | Landlock | the file system and TCP |
//! | limits | descriptors, core files |
//! | namespaces, if wanted | network, mounts, IPC, host name |
//! | seccomp | all system calls but those of `resources/seccomp`, thread by thread |
//!
//! The filter of [`Role::Main`] holds for all threads; each narrows it further
//! for itself when it begins its work (`confine`).

mod filter;
mod provoke;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use thiserror::Error;

use crate::error::BootError;
use crate::host::Host;

pub(crate) use filter::confine;
pub use provoke::provoke;

/// What a thread does, and may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Boots, then takes connections.
    Main,
    /// Runs a vCPU.
    Vcpu,
    /// Serves one client.
    Session,
    /// Looks at the time.
    Warden,
    /// Waits for closed descriptors.
    Fds,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Main,
        Self::Vcpu,
        Self::Session,
        Self::Warden,
        Self::Fds,
    ];

    /// Its name in `resources/seccomp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Vcpu => "vcpu",
            Self::Session => "session",
            Self::Warden => "warden",
            Self::Fds => "fds",
        }
    }
}

/// What the process may use in its jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors.
    pub files: u64,
    /// Leave the namespaces of network, mounts, IPC and host name; needs
    /// CAP_SYS_ADMIN.
    pub namespaces: bool,
    /// Filter system calls. Only tests, which want to see the other walls, do not.
    pub seccomp: bool,
}

/// Why there is no jail.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JailError {
    /// What the VM needs can't be had even outside.
    #[error(transparent)]
    Host(#[from] BootError),
    /// The kernel refused a step.
    #[error("failed to {step}: {source}")]
    Os {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Landlock or seccomp refused.
    #[error("failed to {step}: {text}")]
    Wall {
        /// What was tried.
        step: &'static str,
        /// Their words.
        text: String,
    },
}

fn os(step: &'static str) -> impl Fn(rustix::io::Errno) -> JailError {
    move |e| JailError::Os {
        step,
        source: e.into(),
    }
}

/// Jails the process, which has only this thread yet. `/dev/kvm` is opened
/// before; what else is wanted of the world outside must be open already.
///
/// # Errors
/// [`JailError`]; then the process should end, half jailed as it is.
pub fn enter(limits: &Limits) -> Result<(), JailError> {
    let filters = filter::compile()?;
    Host::get()?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, limits.files)?;
    if limits.namespaces {
        provoke::leave_namespaces().map_err(os("leave the namespaces"))?;
    }
    set_no_new_privs(true).map_err(os("set no_new_privs"))?;
    close_files()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(os("drop the capabilities"))?;
    if limits.seccomp {
        filter::keep(filters);
        confine(Role::Main);
    }
    Ok(())
}

/// Lowers a limit; it never raises one.
fn limit(resource: Resource, most: u64) -> Result<(), JailError> {
    let now = getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(most, |l| l.min(most)));
    let lower = Rlimit {
        current: least(now.maximum),
        maximum: least(now.maximum),
    };
    setrlimit(resource, lower).map_err(os("set the limits"))
}

/// No file may be opened, nor TCP used. A kernel without Landlock leaves that to
/// seccomp.
fn close_files() -> Result<(), JailError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError};
    const NEWEST: ABI = ABI::V5;
    let restrict = || -> Result<(), RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .create()?
            .restrict_self()?;
        Ok(())
    };
    restrict().map_err(|e| JailError::Wall {
        step: "restrict itself by Landlock",
        text: e.to_string(),
    })
}
