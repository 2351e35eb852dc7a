//! A virtual machine, and what it is to be like.

use crate::error::{CallerError, Error, GuestError, HostError, Rejection, Result};
use crate::pool::VmPool;
use crate::registry::Registry;
use crate::stats::Stats;
use bpfvisor_vmm::fault::Cause;
use bpfvisor_vmm::{
    BootError, CallError, Config, FaultReport, Paused, Recovery, RecoveryLimit, RecoveryReport,
    VmStats,
};
use std::sync::Arc;
use std::time::Duration;

/// A running VM: one trust domain. Clones name the same VM; it is shut down when
/// the last clone, map and program of it is dropped.
///
/// ```no_run
/// # fn main() -> bpfvisor::Result<()> {
/// let vm = bpfvisor::Vm::builder().memory(64 << 20).boot()?;
/// let hits = vm.create_map(bpfvisor::MapSpec::hash("hits", 4, 8, 1024))?;
/// hits.insert(&1u32.to_ne_bytes(), &7u64.to_ne_bytes())?;
/// assert_eq!(hits.get(&1u32.to_ne_bytes())?, Some(7u64.to_ne_bytes().to_vec()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Vm {
    pub(crate) inner: Arc<VmInner>,
}

#[derive(Debug)]
pub(crate) struct VmInner {
    pub vmm: bpfvisor_vmm::Vm,
    pub config: Config,
    pub registry: Registry,
    pub stats: Stats,
}

/// Settings of a VM to boot.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct VmBuilder {
    config: Config,
}

impl VmBuilder {
    /// Bytes of memory for maps and packets; 256 MiB unless told. Memory is only
    /// taken when it is used.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.config.shared_bytes = bytes;
        self
    }

    /// Bytes of memory for programs and verification; 128 MiB unless told.
    pub fn heap(mut self, bytes: u64) -> Self {
        self.config.heap_bytes = bytes;
        self
    }

    /// vCPUs: as many calls run at the same time. 1 unless told.
    pub fn vcpus(mut self, count: u32) -> Self {
        self.config.vcpus = count;
        self
    }

    /// Longest time one call may take before it is cut short; 2 s unless told.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.config.call_timeout = limit;
        self
    }

    /// Longest time that the verification of one program may take; 60 s unless
    /// told. A program that takes longer is refused: E2BIG, with how far it got.
    pub fn verify_timeout(mut self, limit: Duration) -> Self {
        self.config.verify_timeout = limit;
        self
    }

    /// How often a vCPU polls for work before it sleeps, and a caller for its
    /// answer. More is faster and burns more of the host's time.
    pub fn spins(mut self, guest: u32, client: u32) -> Self {
        self.config.guest_idle_polls = guest;
        self.config.client_spins = client;
        self
    }

    /// Interprets programs instead of compiling them.
    pub fn interpret(mut self) -> Self {
        self.config.interpret = true;
        self
    }

    /// Lets every program in **unverified**. For isolation tests and research:
    /// a bad program can then destroy everything inside this VM, and nothing
    /// outside.
    pub fn verifier_off(mut self) -> Self {
        self.config.verifier_off = true;
        self
    }

    /// Most clients that a daemon of this VM serves at a time, up to 63; none
    /// unless told. See [`Vm::connect`].
    pub fn clients(mut self, most: u32) -> Self {
        self.config.clients = most;
        self
    }

    /// What becomes of the VM after a fault of the guest (a triple fault, an error
    /// of KVM, nonsense in the protocol, a runtime that does not answer). Unless
    /// told, it stays dead.
    ///
    /// A VM that is rebuilt is the same [`Vm`]: maps and programs stay, with their
    /// descriptors, mapped arrays and ring buffers. The call that it died of fails
    /// with [`GuestError::Rebuilt`] (EIO), other calls that were under way fail with
    /// [`GuestError::Lost`] (EAGAIN), later ones wait. [`Vm::recoveries`] and the log
    /// (crate `log`) say what was lost.
    pub fn recovery(mut self, policy: Recovery) -> Self {
        self.config.recovery = policy;
        self
    }

    /// How many attempts to rebuild the VM are made within which time (16 in a
    /// minute unless told), with growing pauses between; then it stays dead.
    pub fn recovery_limit(mut self, attempts: u32, window: Duration) -> Self {
        self.config.recovery_limit = RecoveryLimit { attempts, window };
        self
    }

    /// Boots.
    ///
    /// # Errors
    /// [`Error::Host`] where there is no usable KVM (ENODEV, EACCES) or memory,
    /// [`Error::Caller`] for settings out of range (EINVAL).
    pub fn boot(self) -> Result<Vm> {
        Ok(Vm::of(bpfvisor_vmm::Vm::boot(self.config)?))
    }
}

impl VmBuilder {
    /// Keeps this many booted VMs of these settings ready. One is booted at once,
    /// the others in the background.
    ///
    /// # Errors
    /// As [`VmBuilder::boot`].
    pub fn pool(self, ready: usize) -> Result<VmPool> {
        VmPool::new(self, ready)
    }
}

impl Vm {
    /// Settings to boot a VM with.
    pub fn builder() -> VmBuilder {
        VmBuilder::default()
    }

    pub(crate) fn of(vmm: bpfvisor_vmm::Vm) -> Self {
        Self {
            inner: Arc::new(VmInner {
                config: vmm.config().clone(),
                vmm,
                registry: Registry::default(),
                stats: Stats::default(),
            }),
        }
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.inner.vmm.id()
    }

    /// How many vCPUs it has; per-CPU maps hold that many values per key.
    pub fn vcpus(&self) -> u32 {
        self.inner.config.vcpus
    }

    /// Whether it still runs, or is being rebuilt. After a fault without
    /// [`VmBuilder::recovery`] every call fails with [`Error::Guest`]; boot another.
    pub fn is_alive(&self) -> bool {
        self.inner.vmm.is_alive()
    }

    /// Why it no longer runs, if it does not: what faulted, where, in which
    /// program.
    pub fn fault(&self) -> Option<Arc<FaultReport>> {
        self.inner.vmm.fault()
    }

    /// What came of the latest times that it was rebuilt, oldest first. Waits for
    /// one that is under way.
    pub fn recoveries(&self) -> Vec<Arc<RecoveryReport>> {
        self.inner.vmm.recoveries()
    }

    /// Stops everything that runs in the VM, from any thread, until the answer is
    /// dropped. Calls wait meanwhile, and no time budget is used; maps can be read
    /// and do not change; the guest's clock (`bpf_ktime_get_ns`) goes on.
    pub fn pause(&self) -> Paused {
        self.inner.vmm.pause()
    }

    /// Ends the VM, from any thread and for good: calls under way and later ones
    /// fail with [`Error::Guest`]. Maps can still be read.
    pub fn kill(&self) {
        self.inner.vmm.kill();
    }

    /// Has the VM die, as if KVM had failed: for tests.
    #[doc(hidden)]
    pub fn inject_fault(&self, text: &str) {
        self.inner.vmm.inject_fault(text);
    }

    /// Counters since boot.
    pub fn stats(&self) -> VmStats {
        self.inner.vmm.stats()
    }

    /// Text that programs wrote with `bpf_trace_printk` since the last call.
    #[doc(alias = "trace_pipe")]
    pub fn take_trace(&self) -> String {
        self.inner.vmm.take_trace()
    }
}

impl VmInner {
    pub fn vcpus(&self) -> u32 {
        self.config.vcpus
    }

    fn what_of_maps(&self) -> &'static str {
        match self.config.recovery {
            Recovery::KeepMaps => "maps that are whole keep their contents",
            _ => "all maps are empty afterwards",
        }
    }

    /// A call's failure as an error of this crate.
    pub fn failed(&self, op: &'static str, e: CallError) -> Error {
        match e {
            CallError::Errno { errno } => CallerError::Refused { op, errno }.into(),
            CallError::TimedOut => Error::Timeout(self.config.call_timeout),
            CallError::Dead(report) => died(&report),
            CallError::Failed(report) => GuestError::Rebuilt {
                fault: report.to_string(),
                maps: self.what_of_maps(),
            }
            .into(),
            CallError::Lost(report) => GuestError::Lost {
                fault: report.to_string(),
                maps: self.what_of_maps(),
            }
            .into(),
            CallError::NoMemory { wanted } => HostError::NoMemory {
                what: op,
                bytes: wanted,
            }
            .into(),
            CallError::Invalid(what) => Error::argument(format!("{op}: {what}")),
            CallError::Daemon { text, errno } => HostError::Daemon {
                what: format!("{op}: {text}"),
                errno,
            }
            .into(),
            CallError::Os { step, errno } => HostError::Os {
                what: format!("{op}: cannot {step}"),
                errno,
            }
            .into(),
            other => Error::argument(format!("{op}: {other}")),
        }
    }
}

/// The end of a VM as an error.
pub(crate) fn died(report: &FaultReport) -> Error {
    match report.cause {
        Cause::Disconnected => GuestError::Disconnected(report.text.clone()).into(),
        _ => GuestError::Fault(report.to_string()).into(),
    }
}

impl From<BootError> for Error {
    fn from(e: BootError) -> Self {
        let os = |step: &str, source: std::io::Error| HostError::Os {
            what: format!("cannot {step}"),
            errno: source.raw_os_error().unwrap_or(libc::EIO),
        };
        match e {
            BootError::NoKvm { .. } => HostError::NoKvm.into(),
            BootError::Permission { .. } => HostError::KvmPermission.into(),
            BootError::Kvm { step, source } | BootError::Memory { step, source } => {
                os(step, source).into()
            }
            BootError::Config { .. } => Error::argument(e.to_string()),
            BootError::Protocol { text } => Error::protocol(text),
            other => GuestError::Fault(other.to_string()).into(),
        }
    }
}

impl From<Rejection> for Error {
    fn from(r: Rejection) -> Self {
        Box::new(r).into()
    }
}

/// The name in a zero-padded field.
pub(crate) fn name_text(field: &[u8; 16]) -> String {
    let name = field.split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// A name as the kernel wants it: at most 15 letters, digits, `_` and `.`.
pub(crate) fn object_name(name: &str) -> Result<[u8; 16]> {
    let mut out = [0; 16];
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    if name.len() > 15 || !name.bytes().all(good) {
        return Err(Error::argument(format!(
            "name {name:?}: at most 15 letters, digits, '_' and '.'"
        )));
    }
    out[..name.len()].copy_from_slice(name.as_bytes());
    Ok(out)
}
