//! Compiled code beside that of others: the programs of `resources/bench` in the
//! VM, in the kernel, compiled by rbpf, and the same C compiled by clang-19.
//!
//!     cargo bench -p bpfvisor-tests --bench compute [-- NAME]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../bpf-core/tests/jit_support/elf.rs"]
mod elf;
#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/suite.rs"]
mod suite;
mod support;

use bpfvisor::Vm;
use bpfvisor_tests::root;
use foreign::{Native, rbpf_run};
use std::time::Duration;
use suite::{CASES, Case, run_here, run_in_kernel, run_in_vm};
use support::{Contender, Stat, in_turns, time};

/// How long one sample is to last, and all samples of one program.
const SAMPLE_NS: f64 = 200_000.0;
const LIMIT: Duration = Duration::from_millis(1500);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let native = Native::build(root());
    if native.is_none() {
        println!("no clang-19: native code is not measured");
    }
    println!(
        "\nMedian time of one run; ratios are times as long as in the VM (above 1: the VM is faster)\n"
    );
    println!(
        "  {:22} {:>10} {:>14} {:>10} {:>10} {:>10} {:>7} {:>6} {:>6}",
        "", "VM", "(25-75%)", "kernel", "rbpf", "native", "kernel", "rbpf", "native"
    );
    let mut logs = Vec::new();
    for case in CASES
        .iter()
        .filter(|c| wanted.is_empty() || wanted.iter().any(|w| w == c.name))
    {
        // A VM of its own: the maps of a million entries take most of its memory.
        let vm = Vm::builder().memory(512 << 20).boot().unwrap();
        logs.push(measure(&vm, case, native.as_ref()).ln());
    }
    let mean = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
    println!("\n  geometric mean, kernel / VM: {mean:.2}");
}

/// Measures a program, prints its line, and gives the kernel's time over ours.
fn measure(vm: &Vm, case: &Case, native: Option<&Native>) -> f64 {
    let object = case.in_vm(vm);
    let ours = object.program(case.name).unwrap();
    let theirs = case.in_kernel();
    let rbpf_object = case.in_rbpf();
    let rbpf = rbpf_object.compile();
    if let Some(native) = native {
        case.values()
            .iter()
            .for_each(|(name, bytes)| native.fill(name, bytes));
    }
    let function = native.and_then(|n| n.function(case.name));

    let here = rbpf.as_ref().map(|vm| move || rbpf_run(vm) as u32);
    let (value, _) = run_in_vm(ours, 1);
    let agree = |who: &str, other: u32| {
        assert!(
            value == other,
            "{}: {value:#x} in the VM, {other:#x} {who}",
            case.title
        )
    };
    agree("in the kernel", run_in_kernel(&theirs, 1).0);
    here.iter().for_each(|run| agree("from rbpf", run()));
    function.iter().for_each(|run| agree("natively", run()));

    let (_, ns) = run_in_vm(ours, 10);
    let repeat = (SAMPLE_NS / ns.max(2.0)).clamp(1.0, 50_000.0) as u32;
    let mut contenders: Vec<Contender<'_>> = vec![
        ("VM", Box::new(|| run_in_vm(ours, repeat).1)),
        ("kernel", Box::new(|| run_in_kernel(&theirs, repeat).1)),
        (
            "rbpf",
            Box::new(|| {
                here.as_ref()
                    .map_or(f64::NAN, |run| run_here(run, repeat).1)
            }),
        ),
        (
            "native",
            Box::new(|| {
                function
                    .as_ref()
                    .map_or(f64::NAN, |run| run_here(run, repeat).1)
            }),
        ),
    ];
    let stats = in_turns(LIMIT, &mut contenders);
    line(case.title, &stats)
}

fn line(title: &str, stats: &[Stat]) -> f64 {
    let [vm, kernel, rbpf, native] = stats else {
        return f64::NAN;
    };
    let ratio = |s: &Stat| match s.median / vm.median {
        r if r.is_nan() => "-".into(),
        r => format!("{r:.2}"),
    };
    let spread = format!("{:.0}-{:.0}", vm.low, vm.high);
    println!(
        "  {title:22} {:>10} {spread:>14} {:>10} {:>10} {:>10} {:>7} {:>6} {:>6}",
        time(vm.median),
        time(kernel.median),
        time(rbpf.median),
        time(native.median),
        ratio(kernel),
        ratio(rbpf),
        ratio(native)
    );
    kernel.median / vm.median
}
