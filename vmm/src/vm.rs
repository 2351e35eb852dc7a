//! A virtual machine: the facade of this crate.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bpfvisor_abi::op::{MapRecord, Packet, Run, RunResult, code};
use bpfvisor_abi::ring::Completion;
use zerocopy::IntoBytes;

use crate::alloc::Block;
use crate::bell::Bell;
use crate::boot;
use crate::config::Config;
use crate::core::Core;
use crate::daemon::{self, Description};
use crate::error::{BootError, CallError, ConnectError, FdError};
use crate::fault::{Cause, FaultReport};
use crate::fds::Registry;
use crate::image::Image;
use crate::lane::{Lane, succeeded};
use crate::load::{self, LoadError, LoadRequest, Loaded};
use crate::object::{Access, Kind, Object};
use crate::pause::Paused;
use crate::recover::RecoveryReport;
use crate::roll::Origin;
use crate::shared::SharedMemory;

/// How much of a map's storage is taken from the host when the map is created, at
/// most; the rest when it is used, which is slower and in small pages.
const POPULATED: u64 = 256 << 20;
/// And of a map with `BPF_F_NO_PREALLOC`.
const POPULATED_ON_DEMAND: u64 = 1 << 20;
/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;
/// `BPF_MAP_TYPE_RINGBUF`.
const RINGBUF: u32 = 27;

/// How much of a new map's storage is taken from the host at once.
fn populated(record: &MapRecord) -> u64 {
    match record.map_type {
        // As much room again as the ring has lies behind it, for records that run on
        // beyond its end: of that no more is taken than such records fill.
        RINGBUF => (record.storage_len)
            .saturating_sub(record.max_entries.into())
            .min(POPULATED),
        _ if record.flags & NO_PREALLOC != 0 => POPULATED_ON_DEMAND,
        _ => POPULATED,
    }
}

/// Counters since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmStats {
    /// Requests sent.
    pub calls: u64,
    /// Times a sleeping vCPU was woken for a request.
    pub wakes: u64,
    /// Times a caller slept for its answer.
    pub waits: u64,
    /// Exits of all vCPUs to the VMM.
    pub exits: u64,
    /// Programs cut short by the watchdog.
    pub timeouts: u64,
    /// Times it was rebuilt.
    pub recoveries: u64,
    /// Programs and maps alive.
    pub objects: u64,
    /// Bytes of shared memory given out.
    pub shared_used: u64,
    /// From the call of [`Vm::boot`] to its return, ns.
    pub boot_ns: u64,
}

/// A running VM. Clones name the same VM; it is shut down when the last of them
/// is dropped, whatever descriptors are still open.
#[derive(Clone, Debug)]
pub struct Vm(Arc<Running>);

/// Shuts the VM down when dropped.
#[derive(Debug)]
struct Running {
    core: Arc<Core>,
    boot_ns: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        boot::stop(&self.core);
        if let Some(daemon) = &self.core.daemon {
            daemon.close();
        }
        if let Ok(registry) = Registry::get() {
            registry.forget_vm(self.core.id);
        }
    }
}

impl Vm {
    /// Creates a VM and starts the runtime in it.
    ///
    /// Opens `/dev/kvm` and installs a handler for the first real-time signal,
    /// once per process.
    ///
    /// # Errors
    /// [`BootError`] says what is missing on this host, or what in `config` is out
    /// of range. Nothing is left behind.
    pub fn boot(config: Config) -> Result<Self, BootError> {
        Self::boot_image(&config, &Image::embedded()?)
    }

    pub(crate) fn boot_image(config: &Config, image: &Image) -> Result<Self, BootError> {
        let start = Instant::now();
        let core = boot::boot(config, image)?;
        Ok(Self::running(core, start))
    }

    /// One that nothing runs in.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn without_machine(core: Arc<Core>) -> Self {
        let boot_ns = 0;
        Self(Arc::new(Running { core, boot_ns }))
    }

    /// Connects to the VM of the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ConnectError`] says what is in the way.
    pub fn connect(path: &Path) -> Result<Self, ConnectError> {
        let start = Instant::now();
        let core = daemon::connect(path)?;
        Ok(Self::running(core, start))
    }

    fn running(core: Arc<Core>, start: Instant) -> Self {
        let boot_ns = start.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
        Self(Arc::new(Running { core, boot_ns }))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// Whether a daemon runs it, not this process.
    pub fn is_remote(&self) -> bool {
        self.0.core.daemon.is_some()
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.0.core.id
    }

    /// The configuration it runs with: sizes are rounded up.
    pub fn config(&self) -> &Config {
        &self.0.core.config
    }

    /// Memory that host and guest share.
    #[inline]
    pub fn shared(&self) -> &SharedMemory {
        &self.0.core.shared
    }

    /// A zeroed block of shared memory, freed when dropped. `align` is a power of
    /// two; 64 at least is given.
    ///
    /// # Errors
    /// [`CallError::NoMemory`].
    pub fn alloc(&self, len: u64, align: u64) -> Result<Block, CallError> {
        self.0.core.alloc(len, align)
    }

    /// The same in the part that packets and contexts must lie in.
    ///
    /// # Errors
    /// [`CallError::NoMemory`].
    pub fn alloc_low(&self, len: u64, align: u64) -> Result<Block, CallError> {
        self.0
            .core
            .arena
            .alloc_low(len, align)
            .ok_or(CallError::NoMemory { wanted: len })
    }

    /// Creates a map in `storage`, whose place the record is told. `keeps` live
    /// as long as the map (the template of a map of maps).
    ///
    /// # Errors
    /// The guest's errno; [`CallError::NoMemory`].
    pub fn create_map(
        &self,
        mut record: MapRecord,
        storage: Block,
        keeps: Vec<Arc<Object>>,
    ) -> Result<Arc<Object>, CallError> {
        record.storage = storage.offset();
        record.storage_len = storage.len();
        storage.populate(populated(&record));
        let sent = self.alloc(size_of::<MapRecord>() as u64, 64)?;
        self.shared().write(sent.offset(), record.as_bytes())?;
        let core = &self.0.core;
        let arg = [sent.offset(), 0, 0, 0, 0, 0, 0];
        // Made with the lane in hand: a VM that is rebuilt knows all its objects.
        core.with_lane(|lane, turn| {
            let request = (code::MAP_CREATE, &arg);
            let answer = succeeded(lane.call(core, turn, request, core.config.call_timeout)?)?;
            let handle = u32::try_from(answer.val[0]).map_err(|_| {
                let text = "a map's handle has more than 32 bits";
                core.die(FaultReport::plain(Cause::Protocol, lane.index(), text))
            })?;
            let origin = || Origin::Map(record);
            let kind = (Kind::Map, handle);
            Ok(Object::new(core, kind, Some(storage), keeps, origin))
        })
    }

    /// Creates a map in the VM of a daemon, which finds storage for it;
    /// `empties` are program arrays, which the last close of their descriptors
    /// empties.
    ///
    /// # Errors
    /// As [`Vm::create_map`].
    pub fn create_map_there(
        &self,
        record: &MapRecord,
        keeps: &[Arc<Object>],
        empties: bool,
    ) -> Result<Arc<Object>, CallError> {
        let daemon = self.daemon()?;
        daemon.create_map(&self.0.core, record, keeps, empties)
    }

    /// Has a key of a map of objects (maps, or programs to tail-call) name
    /// another object, or none, in the VM of a daemon. What is named lives as long
    /// as it is.
    ///
    /// # Errors
    /// The guest's errno.
    pub fn link_there(
        &self,
        outer: &Object,
        key: &[u8],
        target: Option<&Arc<Object>>,
        flags: u64,
    ) -> Result<(), CallError> {
        self.daemon()?.link(outer, key, target, flags)
    }

    /// What a key of such a map names.
    ///
    /// # Errors
    /// None but the daemon's.
    pub fn linked_there(
        &self,
        outer: &Object,
        key: &[u8],
    ) -> Result<Option<Arc<Object>>, CallError> {
        self.daemon()?.linked(&self.0.core, outer, key)
    }

    /// Has a program verified, compiled and loaded.
    ///
    /// # Errors
    /// [`LoadError::Rejected`] if the guest does not take it.
    pub fn load(&self, request: LoadRequest<'_>) -> Result<Loaded, LoadError> {
        load::load(&self.0.core, request)
    }

    /// Sends any request and waits for its answer, whose status is 0.
    ///
    /// # Errors
    /// The guest's errno as [`CallError::Errno`].
    #[inline]
    pub fn call(&self, op: u32, arg: [u64; 7]) -> Result<Completion, CallError> {
        self.ask(op, arg).and_then(succeeded)
    }

    /// The same, but an errno of the guest is left, negative, in the answer's
    /// status beside the results that some requests give even then.
    ///
    /// # Errors
    /// All of [`CallError`] but `Errno`.
    #[inline]
    pub fn ask(&self, op: u32, arg: [u64; 7]) -> Result<Completion, CallError> {
        self.0.core.call(op, &arg, self.0.core.config.call_timeout)
    }

    /// Runs a program on one packet in shared memory; `run.prog` is filled in.
    /// While the guest is awake this is a few loads and stores: no system call,
    /// no exit, no allocation.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for ranges outside shared memory or a program of
    /// another VM, [`CallError::TimedOut`], [`CallError::Dead`], and the guest's
    /// errno.
    #[inline]
    pub fn run(&self, program: &Arc<Object>, run: Run) -> Result<RunResult, CallError> {
        self.0.core.run(program, run)
    }

    /// Runs a program on many packets in shared memory and fills in `data`,
    /// `len`, `retval` and `status` of each.
    ///
    /// # Errors
    /// As [`Vm::run`]; then packets may have been run that show no result.
    pub fn run_batch(
        &self,
        program: &Arc<Object>,
        packets: &mut [Packet],
    ) -> Result<(), CallError> {
        self.0.core.run_batch(program, packets)
    }

    /// A new descriptor (close-on-exec) for an object. The object lives until all
    /// its copies are closed, in whatever process they are.
    ///
    /// # Errors
    /// [`CallError::Os`] with EMFILE or ENFILE.
    pub fn export(&self, object: &Arc<Object>) -> Result<OwnedFd, CallError> {
        self.export_for(object, Access::Both)
    }

    /// [`Vm::export`] for a descriptor that is good for less.
    ///
    /// # Errors
    /// As [`Vm::export`].
    pub fn export_for(&self, object: &Arc<Object>, access: Access) -> Result<OwnedFd, CallError> {
        if object.vm_id() != self.id() {
            return Err(CallError::Invalid("an object of another VM"));
        }
        match &self.0.core.daemon {
            None => Registry::get()?.export(object, access),
            Some(daemon) => daemon.export(&self.0.core, object, access),
        }
    }

    /// One bell for these ring buffers; `None` where somebody has one of theirs
    /// already.
    ///
    /// # Errors
    /// [`CallError::Os`] with EMFILE or ENFILE.
    pub fn bell(&self, maps: &[&Object]) -> Result<Option<Bell>, CallError> {
        let handles: Vec<_> = maps.iter().map(|m| m.handle()).collect();
        if let Some(daemon) = &self.0.core.daemon {
            return daemon.bell(&self.0.core, handles);
        }
        Bell::new(&self.0.core, handles).map_err(|e| CallError::Os {
            step: "create an eventfd",
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })
    }

    /// All objects of a kind that a daemon's VM holds, by id.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a VM of this process.
    pub fn list(&self, kind: Kind) -> Result<Vec<Description>, CallError> {
        self.daemon()?.list(kind)
    }

    /// An object of a daemon's VM, by id.
    ///
    /// # Errors
    /// As [`Vm::list`].
    pub fn open_id(&self, kind: Kind, id: u32) -> Result<Option<Arc<Object>>, CallError> {
        self.daemon()?.open_id(&self.0.core, kind, id)
    }

    /// An object of a daemon's VM, by the name that it was pinned under.
    ///
    /// # Errors
    /// As [`Vm::list`].
    pub fn open_pin(&self, name: &str) -> Result<Option<Arc<Object>>, CallError> {
        self.daemon()?.open_pin(&self.0.core, name)
    }

    /// Has a daemon keep an object under a name.
    ///
    /// # Errors
    /// EEXIST for a name that is taken, EINVAL for an empty or long one; as
    /// [`Vm::list`].
    pub fn pin(&self, object: &Object, name: &str) -> Result<(), CallError> {
        self.daemon()?.pin(object, name)
    }

    /// Takes a name away; the object goes if nobody else has it.
    ///
    /// # Errors
    /// ENOENT where there is no such name; as [`Vm::list`].
    pub fn unpin(&self, name: &str) -> Result<(), CallError> {
        self.daemon()?.unpin(name)
    }

    /// Has a program keep a map that it does not name; false where it did so already.
    ///
    /// # Errors
    /// A daemon's.
    pub fn bind(&self, program: &Object, map: &Arc<Object>) -> Result<bool, CallError> {
        let new = program.bind(Arc::clone(map));
        if let (true, Some(daemon)) = (new, &self.0.core.daemon) {
            daemon.bind(program, map)?;
        }
        Ok(new)
    }

    fn daemon(&self) -> Result<&daemon::Link, CallError> {
        let daemon = self.0.core.daemon.as_deref();
        daemon.ok_or(CallError::Invalid("the VM is one of this process"))
    }

    /// The object behind a descriptor that [`Vm::export`] or any copy of it gave.
    ///
    /// # Errors
    /// [`FdError`].
    pub fn resolve(&self, fd: RawFd) -> Result<Arc<Object>, FdError> {
        self.resolve_for(fd).map(|(object, _)| object)
    }

    /// [`Vm::resolve`], and what the descriptor is good for.
    ///
    /// # Errors
    /// [`FdError`].
    pub fn resolve_for(&self, fd: RawFd) -> Result<(Arc<Object>, Access), FdError> {
        let found = Registry::get()
            .map_err(|_| FdError::NotOurs(fd))?
            .resolve(fd);
        let found = match (found, &self.0.core.daemon) {
            (Err(FdError::NotOurs(_)), Some(daemon)) => daemon.identify(&self.0.core, fd)?,
            (found, _) => found?,
        };
        if found.0.vm_id() == self.id() {
            Ok(found)
        } else {
            Err(FdError::OtherVm(fd))
        }
    }

    /// Text that programs have traced since the last call.
    pub fn take_trace(&self) -> String {
        let trace = self.0.core.trace.lock();
        trace
            .unwrap_or_else(PoisonError::into_inner)
            .take(self.shared())
    }

    /// Stops all vCPUs, whatever they do, until the answer is dropped. Calls wait,
    /// and the time counts against no budget; the guest's clock goes on.
    pub fn pause(&self) -> Paused {
        Paused::new(&self.0.core)
    }

    /// Ends it, for good: calls that are under way and later ones fail.
    pub fn kill(&self) {
        let core = &self.0.core;
        core.life.no_more();
        let text = "by its owner";
        core.die(FaultReport::plain(Cause::Killed, 0, text));
    }

    /// Has it die, as if KVM had failed: for tests.
    #[doc(hidden)]
    pub fn inject_fault(&self, text: &str) {
        let report = FaultReport::plain(Cause::KvmInternal, 0, text);
        self.0.core.die(report);
    }

    /// Why it is dead, if it is.
    pub fn fault(&self) -> Option<Arc<FaultReport>> {
        self.0.core.fault()
    }

    /// Whether calls can still succeed, now or when it has been rebuilt.
    pub fn is_alive(&self) -> bool {
        !self.0.core.life.is_dead() || self.0.core.is_recoverable()
    }

    /// What came of its latest rebuildings, oldest first. Waits for one that is
    /// under way.
    pub fn recoveries(&self) -> Vec<Arc<RecoveryReport>> {
        let history = &self.0.core.history;
        let history = history.lock().unwrap_or_else(PoisonError::into_inner);
        history.reports.iter().cloned().collect()
    }

    /// Counters.
    pub fn stats(&self) -> VmStats {
        let core = &self.0.core;
        let mut stats = VmStats {
            recoveries: core.life.number(),
            objects: core.objects.load(Ordering::Relaxed),
            shared_used: core.arena.used(),
            boot_ns: self.0.boot_ns,
            ..VmStats::default()
        };
        for counts in core.lanes.iter().map(Lane::counts) {
            stats.calls += counts.calls;
            stats.wakes += counts.wakes;
            stats.waits += counts.waits;
            stats.exits += counts.exits;
            stats.timeouts += counts.timeouts;
        }
        stats
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod runtime_tests;
#[cfg(test)]
mod tests;
