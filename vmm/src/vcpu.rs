//! The thread that runs one vCPU.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use bpfvisor_abi::boot::{ABORT_ENTRY, port};
use bpfvisor_abi::layout;
use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VcpuFd};
use vm_memory::VolatileMemory;

use crate::clock::Clock;
use crate::core::Core;
use crate::crew::{Orders, Ready};
use crate::error::BootError;
use crate::exception;
use crate::fault::{Cause, FaultReport};
use crate::host::{Host, kvm_error};
use crate::lane::Lane;
use crate::machine::Machine;
use crate::{registers, ring};

/// One vCPU, owned by its thread, that has not run yet.
pub(crate) struct Vcpu {
    index: u32,
    fd: VcpuFd,
    machine: Arc<Machine>,
}

/// One that runs.
struct Running {
    index: u32,
    fd: VcpuFd,
    entry: u64,
    core: Arc<Core>,
    machine: Arc<Machine>,
    /// Taken when the guest announces itself.
    ready: Option<SyncSender<Ready>>,
}

/// What to do after an exit: go on, or stop with or without a report.
type Verdict = Result<(), Stop>;

/// The end of a vCPU.
enum Stop {
    /// It has died, and with it the VM.
    Fault(Box<FaultReport>),
    /// Somebody else said that it is over.
    Over,
}

impl Vcpu {
    /// Creates it, with all but the registers that the entry decides.
    pub(crate) fn new(host: &Host, machine: Arc<Machine>, index: u32) -> Result<Self, BootError> {
        let fd = machine.create_vcpu(index)?;
        fd.set_cpuid2(&host.cpuid)
            .map_err(kvm_error("set the CPUID"))?;
        let reset = fd
            .get_sregs()
            .map_err(kvm_error("read the system registers"))?;
        fd.set_sregs(&registers::system(reset, index))
            .map_err(kvm_error("set the system registers"))?;
        fd.set_xcrs(&registers::extended(host.xcr0))
            .map_err(kvm_error("set XCR0"))?;
        Ok(Self { index, fd, machine })
    }

    /// Runs until the VM dies.
    pub(crate) fn run(self, orders: Orders) {
        let Orders {
            core, entry, ready, ..
        } = orders;
        let Self { index, fd, machine } = self;
        let regs = registers::entering(kvm_regs::default(), entry, index);
        if let Err(e) = fd.set_regs(&regs) {
            let _ = ready.send(Err(kvm_error("set the registers")(e)));
            return;
        }
        let ready = Some(ready);
        Running {
            index,
            fd,
            entry,
            core,
            machine,
            ready,
        }
        .run();
    }
}

impl Running {
    fn run(mut self) {
        while self.core.fault().is_none() {
            match self.step() {
                Ok(()) => {}
                Err(Stop::Over) => break,
                Err(Stop::Fault(report)) => {
                    let text = report.to_string();
                    self.core.die(*report);
                    self.announce(Err(BootError::Guest { text }));
                }
            }
        }
    }

    fn lane(&self) -> Result<&Lane, Stop> {
        self.core.lanes.get(self.index as usize).ok_or(Stop::Over)
    }

    /// Tells whoever boots the VM, once.
    fn announce(&mut self, ready: Ready) {
        if let Some(sender) = self.ready.take() {
            let _ = sender.send(ready);
        }
    }

    /// Runs the guest up to its next exit and handles that.
    fn step(&mut self) -> Verdict {
        let exit = self.fd.run();
        let (port, value) = match exit {
            Ok(VcpuExit::IoOut(port, &[a, b, c, d])) => (port, u32::from_le_bytes([a, b, c, d])),
            Ok(VcpuExit::Intr) => return self.interrupted(),
            Ok(VcpuExit::Shutdown) => return Err(self.ended(Cause::TripleFault, "")),
            Ok(VcpuExit::InternalError) => return Err(self.ended(Cause::KvmInternal, "")),
            Ok(other) => {
                let text = format!("exit {other:?}");
                return Err(self.ended(Cause::Protocol, &text));
            }
            Err(e) if e.errno() == libc::EINTR => return self.interrupted(),
            Err(e) if e.errno() == libc::EAGAIN => return Ok(()),
            Err(e) => return Err(self.ended(Cause::KvmInternal, &e.to_string())),
        };
        let lane = self.lane()?;
        lane.exits.fetch_add(1, Ordering::Relaxed);
        match port {
            port::READY => self.ready(),
            port::SLEEP => self.sleep(),
            port::NOTIFY => {
                lane.done.ring();
                Ok(())
            }
            port::RECORD => {
                self.core.bells.ring(value);
                Ok(())
            }
            port::POPULATE => {
                self.machine.private.populate(u64::from(value) << 12);
                Ok(())
            }
            port::PANIC => Err(self.panicked(value)),
            port::FAULT => Err(self.faulted(value)),
            port::STOPPED => Err(self.ended(Cause::Protocol, "the vCPU stopped by itself")),
            _ => Err(self.ended(Cause::Protocol, &format!("a write to port {port:#x}"))),
        }
    }

    /// The guest is up. The first vCPU's clock is everyone's; whoever boots need
    /// not wait for it.
    fn ready(&mut self) -> Verdict {
        let first = self.index == 0 && self.ready.is_some();
        self.announce(Ok(()));
        if first {
            self.machine.private.populate_after_boot();
            let clock = Clock::measure(&self.fd);
            if clock.is_none_or(|clock| self.core.shared.set_clock(&clock).is_err()) {
                return Err(self.ended(Cause::KvmInternal, "the clock could not be read"));
            }
        }
        Ok(())
    }

    /// Sleeps until there is work, somebody wants it cut short, or the end.
    fn sleep(&mut self) -> Verdict {
        self.lane()?.wake.wait(None);
        Ok(())
    }

    /// A signal arrived. If a program is to be cut short and is what runs, goes
    /// on at the abort entry instead; the runtime itself is never interrupted.
    fn interrupted(&mut self) -> Verdict {
        if !self.lane()?.abort.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let Ok(regs) = self.fd.get_regs() else {
            return Ok(());
        };
        if in_code(regs.rip) {
            let regs = registers::entering(regs, self.entry + ABORT_ENTRY, self.index);
            if let Err(e) = self.fd.set_regs(&regs) {
                return Err(self.ended(Cause::KvmInternal, &e.to_string()));
            }
        }
        Ok(())
    }

    fn panicked(&self, len: u32) -> Stop {
        let at = layout::queue_block(self.index) as usize;
        let queue = self.core.shared.slice();
        let text = queue
            .get_slice(at, layout::QUEUE_BLOCK as usize)
            .map_or_else(|_| String::new(), |queue| ring::message(&queue, len));
        self.ended(Cause::Panic, &text)
    }

    fn faulted(&self, vector: u32) -> Stop {
        let report = exception::report(&self.fd, &self.machine.private.mapping, self.index, vector);
        Stop::Fault(Box::new(report))
    }

    /// A report with the registers as they are.
    fn ended(&self, cause: Cause, text: &str) -> Stop {
        let mut report = FaultReport::plain(cause, self.index, text);
        if let Ok(regs) = self.fd.get_regs() {
            report.registers = exception::registers(&regs);
            report.in_program = in_code(regs.rip);
        }
        Stop::Fault(Box::new(report))
    }
}

/// Whether an address lies among compiled programs.
pub(crate) fn in_code(rip: u64) -> bool {
    (layout::CODE..layout::CODE + layout::CODE_SIZE).contains(&rip)
}
