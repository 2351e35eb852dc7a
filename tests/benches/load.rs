//! What a load costs: verification and compilation beside the kernel's
//! `BPF_PROG_LOAD`, for straight and branchy programs. The VM is awake, as in a
//! service; waking it takes about 0.1 ms more.
//!
//!     cargo bench -p bpfvisor-tests --bench load
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/generated.rs"]
mod generated;
mod support;

use bpf_core::insn::Insn;
use bpf_core::insn::build::{exit, mov64_imm};
use bpfvisor::uapi::ProgType;
use bpfvisor::{ProgramSpec, Vm};
use bpfvisor_tests::kernel;
use generated::{branchy, straight};
use std::cell::Cell;
use std::time::{Duration, Instant};
use support::{Contender, each, in_turns, time};

fn main() {
    let vm = Vm::builder().boot().unwrap();
    let programs = [
        ("2", vec![mov64_imm(0, 2), exit()]),
        ("1,000 straight", straight(1000)),
        ("1,000 branchy", branchy(1000)),
        ("10,000 straight", straight(10_000)),
        ("10,000 branchy", branchy(10_000)),
        ("100,000 straight", straight(100_000)),
    ];
    println!("\nMedian time of a load; the ratio is kernel / VM (above 1: the VM is faster)\n");
    println!(
        "  {:26} {:>10} {:>10} {:>6} {:>10} {:>10} {:>10}",
        "instructions", "kernel", "VM, whole", "ratio", "verify", "compile", "rest"
    );
    for (title, insns) in &programs {
        line(&vm, title, insns);
    }
    println!("\nThe VM alone, one load after the other: minimum and median\n");
    let patient = Vm::builder().spins(20_000, 10_000).boot().unwrap();
    for (title, insns) in &programs {
        let [usual, patient] = [&vm, &patient].map(|vm| alone(vm, insns));
        println!("  {title:26} {usual}   client_spins 10,000: {patient}");
    }
}

fn alone(vm: &Vm, insns: &[Insn]) -> String {
    let load = || drop(vm.load(ProgramSpec::xdp(insns)).unwrap());
    let mut contenders: [Contender<'_>; 1] = [("VM", Box::new(|| each(1, load)))];
    let stat = in_turns(Duration::from_millis(300), &mut contenders)[0];
    format!("{:>10} {:>10}", time(stat.min), time(stat.median))
}

fn line(vm: &Vm, title: &str, insns: &[Insn]) {
    let spec = kernel::ProgSpec::new(ProgType::Xdp, insns);
    let awake = vm
        .load(ProgramSpec::xdp(vec![mov64_imm(0, 2), exit()]))
        .unwrap();
    let (verify, compile) = (Cell::new(0.0), Cell::new(0.0));
    let ns = |d: Duration| d.as_nanos() as f64;
    let mut contenders: [Contender<'_>; 4] = [
        (
            "kernel",
            Box::new(|| ns(kernel::Prog::load(&spec).unwrap().load_time())),
        ),
        (
            "VM",
            Box::new(|| {
                // The kernel's loads are long: meanwhile the vCPU fell asleep.
                awake.run(&[0; 64]).unwrap();
                let spec = ProgramSpec::xdp(insns).license("GPL");
                let start = Instant::now();
                let program = vm.load(spec).unwrap();
                let whole = ns(start.elapsed());
                verify.set(ns(program.info().verify_time));
                compile.set(ns(program.info().jit_time));
                whole
            }),
        ),
        ("verify", Box::new(|| verify.get())),
        ("compile", Box::new(|| compile.get())),
    ];
    let stats = in_turns(Duration::from_millis(1500), &mut contenders);
    let [kernel, whole, verify, compile] = [0, 1, 2, 3].map(|i| stats[i].median);
    println!(
        "  {title:26} {:>10} {:>10} {:>6.2} {:>10} {:>10} {:>10}",
        time(kernel),
        time(whole),
        kernel / whole,
        time(verify),
        time(compile),
        time(whole - verify - compile)
    );
}
