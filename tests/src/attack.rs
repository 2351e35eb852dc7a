//! Attacks on a VM from inside: its verifier is off, so that a program may do
//! whatever machine code can.
//!
//! [`proof`] is the frame of each: a VM that demonstrably works is attacked while
//! a [`Neighbour`] goes on answering; afterwards the neighbour, this process and
//! the next VM must be whole.

mod memory;
mod native;
mod neighbour;

pub use memory::{Poker, at_queue};
pub use native::{Injected, inject};
pub use neighbour::Neighbour;

use bpf_core::asm;
use bpf_core::insn::Insn;
use bpfvisor::{
    Cause, Error, FaultReport, GuestError, Program, ProgramSpec, RunOutput, Vm, VmBuilder,
};
use std::sync::Arc;
use std::time::Duration;

/// What programs are run over.
pub const FRAME: [u8; 64] = [7; 64];

/// Longest time that a call into a [`victim`] may take.
pub const BUDGET: Duration = Duration::from_millis(300);

/// Settings of a small VM that lets every program in.
pub fn settings() -> VmBuilder {
    let small = Vm::builder().memory(8 << 20).heap(16 << 20);
    small.timeout(BUDGET).verifier_off()
}

/// A small VM that lets every program in.
///
/// # Panics
/// Without a usable `/dev/kvm`.
#[allow(clippy::panic)]
pub fn victim() -> Vm {
    let vm = settings().boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

/// Assembles a program.
///
/// # Panics
/// If the text is wrong.
#[allow(clippy::panic)]
pub fn program(text: &str) -> Vec<Insn> {
    asm::assemble(text).unwrap_or_else(|e| panic!("{e:?} in\n{text}"))
}

/// Loads an XDP program that is called `attack`.
///
/// # Panics
/// If it is refused: without verifier only malformed programs are.
#[allow(clippy::panic)]
pub fn load(vm: &Vm, insns: impl Into<Vec<Insn>>) -> Program {
    let spec = ProgramSpec::xdp(insns).name("attack").license("GPL");
    vm.load(spec)
        .unwrap_or_else(|e| panic!("the attack can't be loaded: {e}"))
}

/// The positive control: the VM works, says the value that a program returns.
///
/// # Panics
/// If it does not.
#[allow(clippy::panic)]
pub fn works(vm: &Vm) {
    let answer = load(vm, program("r0 = 4711\nexit")).run(&FRAME);
    match answer {
        Ok(RunOutput { r0: 4711, .. }) => {}
        other => panic!("the VM does not work: {other:?}"),
    }
}

/// Attacks a new VM; then the neighbour and the next VM must work.
///
/// # Panics
/// If anything outside the VM was harmed.
pub fn proof<T>(attack: impl FnOnce(&Vm) -> T) -> T {
    let vm = victim();
    works(&vm);
    let result = Neighbour::beside(|| attack(&vm));
    drop(vm);
    works(&victim());
    result
}

/// What the caller got and the host saw of a run that kills its VM.
///
/// # Panics
/// If it did not, or was told wrongly.
#[allow(clippy::panic)]
pub fn killed(program: &Program) -> Arc<FaultReport> {
    let vm = program.vm();
    let answer = program.run(&FRAME);
    let Err(error @ Error::Guest(GuestError::Fault(_))) = answer else {
        panic!("the VM should be dead, but the caller got {answer:?}");
    };
    assert_eq!(error.errno(), bpfvisor::uapi::errno::EIO);
    let Some(report) = vm.fault() else {
        panic!("no report");
    };
    assert!(error.to_string().contains(&report.to_string()));
    // From now on all calls say so.
    assert!(!vm.is_alive());
    assert_eq!(program.run(&FRAME), Err(error));
    report
}

/// The vector of a report that is about an exception.
///
/// # Panics
/// If it is about something else.
#[allow(clippy::panic)]
pub fn vector(report: &FaultReport) -> u8 {
    match report.cause {
        Cause::Exception { vector } => vector,
        other => panic!("an exception was expected, not {other:?}: {report}"),
    }
}
