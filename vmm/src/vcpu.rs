//! The thread that runs one vCPU.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use bpfvisor_abi::boot::{ABORT_ENTRY, port};
use bpfvisor_abi::layout;
use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VcpuFd};
use vm_memory::{Bytes, VolatileMemory};

use crate::clock::Clock;
use crate::core::Core;
use crate::crew::{Orders, Ready};
use crate::error::BootError;
use crate::exception;
use crate::fault::{Cause, FaultReport, Registers};
use crate::host::{Host, kvm_error};
use crate::lane::Lane;
use crate::machine::Machine;
use crate::{paging, registers, ring};

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
    /// It runs under the root that lets no program go on.
    caught: bool,
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
            caught: false,
        }
        .run();
    }
}

impl Running {
    fn run(mut self) {
        while !self.core.life.is_dead() {
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
        // Ended before it was up: nobody need wait for it.
        let text = "it was ended meanwhile".into();
        self.announce(Err(BootError::Guest { text }));
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
        if self.core.pause.is_wanted() {
            self.core.park();
        }
        if self.core.life.is_dead() {
            return Err(Stop::Over);
        }
        // A kick that met this thread outside the guest would else be lost.
        let kicked = self.lane()?.abort.load(Ordering::SeqCst);
        self.fd.set_kvm_immediate_exit(u8::from(kicked));
        let exit = self.fd.run();
        let (port, value) = match exit {
            Ok(VcpuExit::IoOut(port, &[a, b, c, d])) => (port, u32::from_le_bytes([a, b, c, d])),
            Ok(VcpuExit::Intr) => return self.interrupted(),
            Ok(VcpuExit::Shutdown) => return Err(self.ended(Cause::TripleFault, "")),
            Ok(VcpuExit::InternalError) => return Err(self.ended(Cause::KvmInternal, "")),
            Ok(other) => {
                let text = unexpected(&other);
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
                match value {
                    1.. if self.core.config.clients > 0 => {
                        self.core.callers.ring(value, self.index)
                    }
                    _ => lane.done.ring(),
                }
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
            port::FAULT => self.faulted(value),
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
    /// on at the abort entry instead. In the runtime, which may be a helper of
    /// that program, nothing can be cut: but it won't get back to the program.
    fn interrupted(&mut self) -> Verdict {
        if !self.lane()?.abort.swap(false, Ordering::SeqCst) || !self.is_meant()? {
            return Ok(());
        }
        let regs = self.fd.get_regs().map_err(|e| self.broken(&e))?;
        if in_code(regs.rip) {
            self.go_on(registers::entering(
                regs,
                self.entry + ABORT_ENTRY,
                self.index,
            ))
        } else if self.caught || !self.can_be_caught(regs.rip) {
            Ok(())
        } else {
            let mut sregs = self.fd.get_sregs().map_err(|e| self.broken(&e))?;
            sregs.cr3 = paging::caught(self.index);
            self.fd.set_sregs(&sregs).map_err(|e| self.broken(&e))?;
            self.caught = true;
            Ok(())
        }
    }

    /// Whether it is the request at hand that is to be cut short: the guest stands still.
    fn is_meant(&self) -> Result<bool, Stop> {
        let lane = self.lane()?;
        let meant = lane.abort_of.load(Ordering::SeqCst);
        let doing = lane.home(&self.core).and_then(|home| ring::doing(&home));
        let at_hand = doing.is_ok_and(|(_, begun)| u64::from(begun) + 1 == meant);
        Ok(meant == 0 || at_hand)
    }

    /// Not in the gate, and not while it is open: that is a matter of the root.
    fn can_be_caught(&self, rip: u64) -> bool {
        let alias = layout::pml4(self.index) + layout::PML4_ALIAS * 8;
        let memory = self.machine.private.mapping.slice();
        let entry = memory.read_obj::<u64>(alias as usize);
        (layout::IMAGE..layout::IMAGE_END).contains(&rip) && entry.is_ok_and(|e| e == 0)
    }

    /// Goes on at CPL3 with these registers, under the ordinary root.
    fn go_on(&mut self, regs: kvm_regs) -> Verdict {
        let sregs = self.fd.get_sregs().map_err(|e| self.broken(&e))?;
        let sregs = registers::system(sregs, self.index);
        self.fd.set_sregs(&sregs).map_err(|e| self.broken(&e))?;
        self.caught = false;
        self.fd.set_regs(&regs).map_err(|e| self.broken(&e))
    }

    /// A vCPU that was caught in the runtime has come to a program: to the one
    /// that is to be cut short, or, if that was answered meanwhile, to another.
    fn arrived(&mut self, at: &FaultReport) -> Verdict {
        // Completes the `out` of the fault handler, whose registers go.
        self.fd.set_kvm_immediate_exit(1);
        let _ = self.fd.run();
        let mut regs = self.fd.get_regs().map_err(|e| self.broken(&e))?;
        let Registers {
            rax,
            rdx,
            rip,
            rsp,
            rflags,
            ..
        } = at.registers;
        (regs.rax, regs.rdx, regs.rip, regs.rsp) = (rax, rdx, rip, rsp);
        regs.rflags = rflags;
        if self.lane()?.overdue.load(Ordering::SeqCst) && self.is_meant()? {
            regs = registers::entering(regs, self.entry + ABORT_ENTRY, self.index);
        }
        self.go_on(regs)
    }

    fn broken(&self, e: &kvm_ioctls::Error) -> Stop {
        self.ended(Cause::KvmInternal, &e.to_string())
    }

    fn panicked(&self, len: u32) -> Stop {
        let at = layout::queue_block(self.index) as usize;
        let queue = self.core.shared.slice();
        let text = queue
            .get_slice(at, layout::QUEUE_BLOCK as usize)
            .map_or_else(|_| String::new(), |queue| ring::message(&queue, len));
        self.ended(Cause::Panic, &text)
    }

    fn faulted(&mut self, vector: u32) -> Verdict {
        let report = exception::report(&self.fd, &self.machine.private.mapping, self.index, vector);
        let fetch = report.cause == Cause::Exception { vector: 14 }
            && report.address == report.registers.rip;
        if self.caught && fetch && report.in_program {
            return self.arrived(&report);
        }
        Err(Stop::Fault(Box::new(report)))
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

/// What the guest did that it should not do, in words as few as may be.
fn unexpected(exit: &VcpuExit<'_>) -> String {
    match exit {
        VcpuExit::IoOut(port, data) => {
            format!("a write of {} bytes to port {port:#x}", data.len())
        }
        VcpuExit::IoIn(port, data) => {
            format!("a read of {} bytes from port {port:#x}", data.len())
        }
        VcpuExit::MmioWrite(address, data) => {
            let len = data.len();
            format!("a write of {len} bytes outside memory, physical address {address:#x}")
        }
        VcpuExit::MmioRead(address, data) => {
            let len = data.len();
            format!("a read of {len} bytes outside memory, physical address {address:#x}")
        }
        other => format!("exit {other:?}"),
    }
}

/// Whether an address lies among compiled programs.
pub(crate) fn in_code(rip: u64) -> bool {
    (layout::CODE..layout::CODE + layout::CODE_SIZE).contains(&rip)
}
