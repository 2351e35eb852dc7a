//! The runtime of one VM, shared by its vCPUs.
use crate::clock::Clock;
use crate::dispatch;
use crate::hal::{Machine, Shared};
use crate::helpers;
use crate::map::MapObject;
use crate::memory;
use crate::object::{Grace, Table};
use crate::program::{Arena, Full};
use crate::queue::{Queue, Trace};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf_core::jit::{self, Features, Target};
use bpf_core::uapi::errno;
use bpfvisor_abi::PROTOCOL_VERSION;
use bpfvisor_abi::boot::{BootInfo, port};
use bpfvisor_abi::layout::{BOOT_INFO, MAX_VCPUS};
use bpfvisor_abi::op;
use bpfvisor_abi::ring::Phase;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Everything that lives as long as the VM.
pub struct Runtime {
    pub(crate) machine: &'static dyn Machine,
    pub(crate) shared: Shared,
    pub(crate) boot: BootInfo,
    pub(crate) clock: Clock,
    pub(crate) objects: Table,
    pub(crate) grace: Grace,
    pub(crate) arena: Arc<Arena>,
    /// Address of the way into compiled code, 0 before the first program.
    trampoline: AtomicU64,
    bmi2: bool,
    vcpus: Vec<Vcpu>,
}

/// What belongs to one vCPU.
pub struct Vcpu {
    queue: Queue,
    /// Address of the `bpf_spin_lock` that its program holds, or 0.
    pub held_lock: AtomicU64,
    /// Records of ring buffers that its program reserved and has not committed:
    /// address of the data and of the map.
    pub reserved: Mutex<Vec<(u64, u64)>>,
    /// State of its random numbers.
    pub random: AtomicU64,
    trace: Trace,
}

impl Runtime {
    /// A runtime over a machine and its shared slot.
    ///
    /// # Panics
    /// If the boot record is of another protocol version or names more vCPUs
    /// than there is room for: the image does not belong to this VMM.
    #[allow(clippy::panic)]
    pub fn new(machine: &'static dyn Machine, shared: Shared) -> Self {
        let boot: BootInfo = shared.read(BOOT_INFO).unwrap_or_default();
        if boot.version != PROTOCOL_VERSION {
            panic!(
                "protocol version {PROTOCOL_VERSION} expected, the VMM speaks {}",
                boot.version
            );
        }
        let vcpus: Vec<Vcpu> = (0..boot.vcpus.min(MAX_VCPUS))
            .map_while(|v| Vcpu::new(shared, v, &boot))
            .collect();
        if vcpus.is_empty() || vcpus.len() != boot.vcpus as usize {
            panic!("no room for the queues of {} vCPUs", boot.vcpus);
        }
        let (base, len) = machine.code_region();
        let arena = Arc::new(Arena::new(machine, base, len));
        Self {
            machine,
            shared,
            boot,
            clock: Clock::new(machine),
            objects: Table::new(boot.seed[0], boot.kept_indices),
            grace: Grace::new(boot.vcpus),
            arena,
            trampoline: AtomicU64::new(0),
            bmi2: machine.bmi2(),
            vcpus,
        }
    }

    /// Announces a vCPU to the VMM, which sets the clock for the first.
    pub fn ready(&self, vcpu: u32) {
        self.machine.ready();
        if vcpu == 0 {
            self.clock.set(self.shared);
        }
    }

    /// Serves one vCPU's queue until the host asks it to stop.
    pub fn serve(&self, vcpu: u32) {
        let Some(Vcpu { queue, .. }) = self.vcpu(vcpu) else {
            return self.machine.out(port::STOPPED, vcpu);
        };
        loop {
            queue.set_phase(Phase::Idle);
            let Some(sub) = queue.wait(self.machine, self.boot.idle_polls) else {
                return self.machine.out(port::STOPPED, vcpu);
            };
            queue.begin();
            self.grace.enter(vcpu);
            let (status, val) = if queue.of_client() && !op::for_clients(sub.op) {
                (-errno::EPERM, [0; 7])
            } else {
                dispatch::execute(self, vcpu, &sub)
            };
            self.grace.leave(vcpu);
            queue.complete(self.machine, status, val);
        }
    }

    /// Answers the request that the watchdog cut short with ETIMEDOUT, and lets
    /// go of what the program held.
    pub fn aborted(&self, vcpu: u32) {
        let Some(state) = self.vcpu(vcpu) else {
            return;
        };
        let held = state.held_lock.swap(0, Ordering::Relaxed);
        if held != 0 {
            memory::lock_word(held).store(0, Ordering::Release);
        }
        for (at, map) in state.reserved.lock().drain(..) {
            let m = memory::map(map);
            // It can only fail for an address that is no record any more.
            if m.map.commit(at, 0, true) == Ok(true) {
                self.wake_consumer(m);
            }
        }
        self.grace.leave(vcpu);
        if state.queue.phase() == Phase::Program as u32 && state.queue.unanswered() {
            state.queue.set_phase(Phase::Runtime);
            state
                .queue
                .complete(self.machine, -errno::ETIMEDOUT, [0; 7]);
        }
    }

    /// Empties a ring pair of a vCPU that nobody uses.
    pub(crate) fn reset_pair(&self, vcpu: u32, pair: u64) -> dispatch::Answer {
        let queue = self.vcpu(vcpu).map(|v| &v.queue);
        let done = queue.and_then(|q| q.reset(u32::try_from(pair).ok()?));
        done.map(|()| [0; 7]).ok_or(errno::EINVAL)
    }

    /// Gives a program up whose time is over, in a helper that would wait on; the
    /// runtime must hold nothing. Returns if there is time left.
    #[cold]
    pub(crate) fn give_up(&self, vcpu: u32) {
        if self.vcpu(vcpu).is_some_and(|v| v.queue.is_overdue()) {
            self.machine.abandon(vcpu);
        }
    }

    /// Has the host wake the consumer of a ring buffer, who sleeps.
    #[cold]
    pub(crate) fn wake_consumer(&self, map: &MapObject) {
        self.machine.out(port::RECORD, map.handle());
    }

    /// Puts the way into compiled code in its place, once.
    pub(crate) fn place_trampoline(&self) -> Result<(), Full> {
        if self.trampoline() == 0 {
            // Should two vCPUs meet here, either of the two copies will do.
            let span = self.arena.place(|_| Ok::<_, Full>(jit::trampoline()))?;
            self.trampoline.store(span.addr, Ordering::Release);
        }
        Ok(())
    }

    /// Address of the way into compiled code.
    #[inline]
    pub(crate) fn trampoline(&self) -> u64 {
        self.trampoline.load(Ordering::Acquire)
    }

    /// A vCPU's state.
    #[inline]
    pub fn vcpu(&self, vcpu: u32) -> Option<&Vcpu> {
        self.vcpus.get(vcpu as usize)
    }

    /// Tells the watchdog what a vCPU does from here on.
    #[inline]
    pub fn set_phase(&self, vcpu: u32, phase: Phase) {
        if let Some(v) = self.vcpu(vcpu) {
            v.queue.set_phase(phase);
        }
    }
}

impl Vcpu {
    fn new(shared: Shared, index: u32, boot: &BootInfo) -> Option<Self> {
        // An odd multiple keeps the vCPUs' sequences apart.
        let seed = boot.seed[1] ^ u64::from(index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Some(Self {
            queue: Queue::new(shared, (boot.vcpus, index), boot.pairs)?,
            held_lock: AtomicU64::new(0),
            reserved: Mutex::new(Vec::new()),
            trace: Trace::new(shared, index)?,
            random: AtomicU64::new(seed | 1),
        })
    }
}

impl Vcpu {
    /// Shows text to the host.
    pub fn trace(&self, text: &[u8]) {
        self.trace.write(text);
    }
}

impl Target for Runtime {
    fn helper(&self, id: u32) -> Option<u64> {
        helpers::address(id)
    }

    fn features(&self) -> Features {
        Features { bmi2: self.bmi2 }
    }
}
