//! What a VM is to be like.

use std::time::Duration;

use bpfvisor_abi::layout;

use crate::error::BootError;
use crate::recover::{Recovery, RecoveryLimit};

/// Size and behaviour of a VM. [`Config::default`] suits a service that runs
/// packet programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Virtual CPUs, 1 to [`layout::MAX_VCPUS`]. Each runs one request at a time.
    pub vcpus: u32,
    /// Bytes of shared memory (packets, maps, queues), at most 256 GiB. Memory
    /// is only taken when it is used.
    pub shared_bytes: u64,
    /// Bytes of the runtime's heap (programs, verifier state), at most
    /// [`layout::HEAP_MAX`]. Memory is only taken when it is used.
    pub heap_bytes: u64,
    /// Longest time one call may take before its program is cut short.
    /// Verification has its own budget on top.
    pub call_timeout: Duration,
    /// Longest time that the verification of one program may take; then the program
    /// is refused with E2BIG. Zero, and more than an hour, is an hour.
    pub verify_timeout: Duration,
    /// How often a caller looks for its answer before it sleeps.
    pub client_spins: u32,
    /// How often an idle vCPU looks for work before it sleeps.
    pub guest_idle_polls: u32,
    /// Programs are not verified. For isolation tests and research only.
    pub verifier_off: bool,
    /// Programs are interpreted, not compiled.
    pub interpret: bool,
    /// Clients of a daemon that may be connected at the same time, at most 63.
    pub clients: u32,
    /// What becomes of the VM should it die.
    pub recovery: Recovery,
    /// How often that may happen.
    pub recovery_limit: RecoveryLimit,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vcpus: 1,
            shared_bytes: 256 << 20,
            heap_bytes: 128 << 20,
            call_timeout: Duration::from_secs(2),
            verify_timeout: Duration::from_secs(60),
            client_spins: 2_000,
            guest_idle_polls: 20_000,
            verifier_off: false,
            interpret: false,
            clients: 0,
            recovery: Recovery::None,
            recovery_limit: RecoveryLimit::default(),
        }
    }
}

/// Longest time for a verification.
const VERIFY_MAX: Duration = Duration::from_secs(3600);

/// Most shared memory: what the page tables set aside can map.
pub(crate) const SHARED_MAX: u64 = 256 << 30;

impl Config {
    /// The time for a verification, for the guest: ns, not 0.
    pub(crate) fn verify_ns(&self) -> u64 {
        let limit = match self.verify_timeout {
            Duration::ZERO => VERIFY_MAX,
            limit => limit.min(VERIFY_MAX),
        };
        limit.as_nanos() as u64
    }

    /// How long a load may take at most.
    pub(crate) fn load_timeout(&self) -> Duration {
        let verify = Duration::from_nanos(self.verify_ns());
        self.call_timeout.saturating_add(verify)
    }

    /// Ring pairs of each vCPU: the VMM's own and one for each client.
    pub(crate) fn pairs(&self) -> u32 {
        self.clients + 1
    }

    /// Queue blocks at the beginning of shared memory.
    pub(crate) fn queue_blocks(&self) -> u32 {
        self.vcpus * self.pairs()
    }

    /// Checks the limits and rounds sizes up to whole regions.
    pub(crate) fn checked(&self) -> Result<Self, BootError> {
        if self.vcpus == 0 || self.vcpus > layout::MAX_VCPUS {
            return Err(BootError::Config {
                field: "vcpus",
                expected: "1 to 64",
                got: u64::from(self.vcpus),
            });
        }
        if self.clients >= layout::MAX_PAIRS {
            return Err(BootError::Config {
                field: "clients",
                expected: "at most 63",
                got: u64::from(self.clients),
            });
        }
        let floor = layout::dynamic(self.queue_blocks()) + layout::REGION;
        if self.shared_bytes < floor || self.shared_bytes > SHARED_MAX {
            return Err(BootError::Config {
                field: "shared_bytes",
                expected: "room for the queues and 2 MiB more, at most 256 GiB",
                got: self.shared_bytes,
            });
        }
        if self.heap_bytes < layout::REGION || self.heap_bytes > layout::HEAP_MAX {
            return Err(BootError::Config {
                field: "heap_bytes",
                expected: "2 MiB to 640 MiB",
                got: self.heap_bytes,
            });
        }
        Ok(Self {
            shared_bytes: self.shared_bytes.next_multiple_of(layout::REGION),
            heap_bytes: self.heap_bytes.next_multiple_of(layout::REGION),
            ..self.clone()
        })
    }
}
