//! What a load costs: verification and compilation beside the kernel's
//! `BPF_PROG_LOAD`, for straight and branchy programs.
//!
//!     cargo bench -p bpfvisor-tests --bench load
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bpf_core::insn::build::{alu64_imm, alu64_reg, call, exit, jmp_imm, mov64_imm, mov64_reg};
use bpf_core::insn::{Insn, op};
use bpfvisor::uapi::ProgType;
use bpfvisor::{ProgramSpec, Vm};
use bpfvisor_tests::kernel;
use std::cell::Cell;
use std::time::{Duration, Instant};
use support::{Contender, in_turns, time};

const GET_PRANDOM_U32: u32 = 7;

/// Arithmetic on a number that the verifier can't know.
fn straight(count: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0)];
    while program.len() + 2 < count {
        let n = program.len() as i32;
        program.push(match n % 4 {
            0 => alu64_imm(op::ADD, 6, n),
            1 => alu64_imm(op::XOR, 6, n),
            2 => alu64_reg(op::ADD, 6, 0),
            _ => alu64_imm(op::RSH, 6, 1),
        });
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program
}

/// A branch every four instructions; both ways meet again with different states.
fn branchy(count: usize) -> Vec<Insn> {
    let mut program = vec![call(GET_PRANDOM_U32), mov64_reg(6, 0), mov64_imm(7, 0)];
    while program.len() + 6 < count {
        let n = program.len() as i32;
        program.extend([
            alu64_imm(op::ADD, 6, n),
            jmp_imm(op::JGT, 6, n * 7, 1),
            alu64_imm(op::XOR, 7, n),
            alu64_imm(op::RSH, 6, 1),
        ]);
    }
    program.extend([mov64_imm(0, 2), exit()]);
    program
}

fn main() {
    let vm = Vm::builder().boot().unwrap();
    println!("\nMedian time of a load; the ratio is kernel / VM (above 1: the VM is faster)\n");
    println!(
        "  {:26} {:>10} {:>10} {:>6} {:>10} {:>10} {:>10}",
        "instructions", "kernel", "VM, whole", "ratio", "verify", "compile", "rest"
    );
    let pass = vec![mov64_imm(0, 2), exit()];
    line(&vm, "2", &pass);
    line(&vm, "1,000 straight", &straight(1000));
    line(&vm, "1,000 branchy", &branchy(1000));
    line(&vm, "10,000 straight", &straight(10_000));
    line(&vm, "10,000 branchy", &branchy(10_000));
    line(&vm, "100,000 straight", &straight(100_000));
}

fn line(vm: &Vm, title: &str, insns: &[Insn]) {
    let spec = kernel::ProgSpec::new(ProgType::Xdp, insns);
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
