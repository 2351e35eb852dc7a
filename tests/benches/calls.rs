//! What a call costs: one run of a program, a batch per packet, and the time
//! inside for a realistic filter, beside the kernel's `BPF_PROG_TEST_RUN`.
//!
//!     cargo bench -p bpfvisor-tests --bench calls
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bpfvisor::insn::Insn;
use bpfvisor::uapi::ProgType;
use bpfvisor::{Program, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::capture::packets;
use bpfvisor_tests::kernel::{self, RunSpec};
use bpfvisor_tests::kernel_object::KernelObject;
use bpfvisor_tests::root;
use std::process::{Child, Command};
use std::time::Duration;
use support::{each, in_turns, show};

/// r0 = XDP_PASS; exit.
fn pass() -> [Insn; 2] {
    [Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)]
}

/// Calls in a sample: short enough to fit into a slice of processor time.
const CALLS: u32 = 200;
const BATCH: usize = 256;

fn main() {
    let vm = Vm::builder().boot().unwrap();
    one_call(&vm);
    by_daemon(&vm);
    batch(&vm);
    filter(&vm);
    println!("\n{:?}", vm.stats());
}

fn one_call(vm: &Vm) {
    let frame = [0u8; 64];
    let ours = vm.load(ProgramSpec::xdp(pass())).unwrap();
    let theirs = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &pass())).unwrap();
    let spec = RunSpec {
        headroom: 0,
        ..RunSpec::data(&frame)
    };
    let mut buffer = vm.packet_buffer(ProgType::Xdp, 1, 64).unwrap();
    buffer.push(&frame).unwrap();
    let mut contenders: [support::Contender<'_>; 3] = [
        (
            "kernel: BPF_PROG_TEST_RUN",
            Box::new(|| each(CALLS, || drop(theirs.run(&spec).unwrap()))),
        ),
        (
            "Program::run",
            Box::new(|| each(CALLS, || drop(ours.run(&frame).unwrap()))),
        ),
        (
            "Program::run_buffer, one packet",
            Box::new(|| each(CALLS, || ours.run_buffer(&mut buffer).unwrap())),
        ),
    ];
    let stats = in_turns(Duration::from_secs(3), &mut contenders);
    show(
        "One call: XDP of two instructions over 64 bytes",
        &contenders,
        &stats,
    );
}

/// The daemon's program beside this one's: what `cargo build --release` has made.
fn daemon() -> Option<(Child, Vm)> {
    let program = std::env::current_exe().ok()?;
    let program = program.parent()?.parent()?.join("bpfvisor-vmm");
    let socket = std::env::temp_dir().join(format!("bpfvisor-calls-{}", std::process::id()));
    let child = Command::new(program)
        .arg("--socket")
        .arg(&socket)
        .arg("--jail")
        .spawn();
    let child = child.ok()?;
    let connect = || {
        std::thread::sleep(Duration::from_millis(50));
        Vm::connect(&socket).ok()
    };
    let vm = (0..100).find_map(|_| connect());
    let _ = std::fs::remove_file(&socket);
    Some((child, vm.unwrap()))
}

/// A VM of this process against one of a daemon.
fn by_daemon(vm: &Vm) {
    let Some((mut child, there)) = daemon() else {
        return println!("\nNo bpfvisor-vmm to connect to: cargo build --release makes it");
    };
    let frame = [0u8; 64];
    let here = vm.load(ProgramSpec::xdp(pass())).unwrap();
    let by_connection = there.load(ProgramSpec::xdp(pass())).unwrap();
    let mut contenders: [support::Contender<'_>; 2] = [
        (
            "Vm::boot: Program::run",
            Box::new(|| each(CALLS, || drop(here.run(&frame).unwrap()))),
        ),
        (
            "Vm::connect: Program::run",
            Box::new(|| each(CALLS, || drop(by_connection.run(&frame).unwrap()))),
        ),
    ];
    let stats = in_turns(Duration::from_secs(2), &mut contenders);
    show(
        "One call, in a VM of the process and in a daemon's",
        &contenders,
        &stats,
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

fn batch(vm: &Vm) {
    let frame = [0u8; 64];
    let ours = vm.load(ProgramSpec::xdp(pass())).unwrap();
    let full = |count: usize| {
        let mut buffer = vm.packet_buffer(ProgType::Xdp, count, 64).unwrap();
        (0..count).for_each(|_| buffer.push(&frame).unwrap());
        buffer
    };
    let (mut kept, mut copied) = (full(BATCH), full(BATCH));
    let per_packet = |ns: f64| ns / BATCH as f64;
    let mut contenders: [support::Contender<'_>; 2] = [
        (
            "run_buffer of 256",
            Box::new(|| per_packet(each(8, || ours.run_buffer(&mut kept).unwrap()))),
        ),
        (
            "the same, packets copied in first",
            Box::new(|| {
                per_packet(each(8, || {
                    copied.clear();
                    (0..BATCH).for_each(|_| copied.push(&frame).unwrap());
                    ours.run_buffer(&mut copied).unwrap();
                }))
            }),
        ),
    ];
    let stats = in_turns(Duration::from_secs(2), &mut contenders);
    show(
        "Batch of 256, the same program: per packet",
        &contenders,
        &stats,
    );
}

/// The firewall over the whole capture.
fn filter(vm: &Vm) {
    let path = root().join("resources/programs/xdp_firewall.o");
    let object = vm.load_object(&path).unwrap();
    let ours = object.program("firewall").unwrap();
    let kernel = KernelObject::load(&path).unwrap();
    let theirs = kernel.program("firewall").unwrap();
    let capture = packets(&root().join("resources/captures/mixed.pcap")).unwrap();
    let inside: Vec<&[u8]> = capture.iter().step_by(8).map(Vec::as_slice).collect();
    let mean = |time: &dyn Fn(&[u8]) -> f64| {
        inside.iter().map(|p| time(p)).sum::<f64>() / inside.len() as f64
    };
    let mut contenders: [support::Contender<'_>; 2] = [
        (
            "kernel's JIT",
            Box::new(|| mean(&|p| theirs.nanos(p, 500).unwrap())),
        ),
        ("in the VM", Box::new(|| mean(&|p| in_vm(ours, p, 500)))),
    ];
    let stats = in_turns(Duration::from_secs(2), &mut contenders);
    show(
        "xdp_firewall.o, mean over packets of mixed.pcap, time inside",
        &contenders,
        &stats,
    );

    let longest = capture.iter().map(Vec::len).max().unwrap();
    let mut buffer = vm
        .packet_buffer(ProgType::Xdp, capture.len(), longest)
        .unwrap();
    let count = capture.len() as f64;
    let mut contenders: [support::Contender<'_>; 2] = [
        (
            "kernel: one call per packet",
            Box::new(|| each(1, || capture.iter().for_each(|p| drop(theirs.run(p)))) / count),
        ),
        (
            "run_buffer, packets copied in first",
            Box::new(|| {
                each(1, || {
                    buffer.clear();
                    capture.iter().for_each(|p| buffer.push(p).unwrap());
                    ours.run_buffer(&mut buffer).unwrap();
                }) / count
            }),
        ),
    ];
    let stats = in_turns(Duration::from_secs(2), &mut contenders);
    show(
        "xdp_firewall.o over mixed.pcap, per packet",
        &contenders,
        &stats,
    );
}

fn in_vm(program: &Program, data: &[u8], repeat: u32) -> f64 {
    let run = TestRun {
        data,
        repeat,
        ..TestRun::default()
    };
    program.test_run(&run).unwrap().duration.as_nanos() as f64
}
