//! What verification costs: ours in the VM beside the running kernel's, as each
//! measures it itself (the kernel's in its log, at the level of statistics).
//!
//!     cargo bench -p bpfvisor-tests --bench verify [-- NAME]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "support/generated.rs"]
mod generated;
#[path = "support/objects.rs"]
mod objects;
mod support;

use bpf_core::insn::Insn;
use bpfvisor::uapi::ProgType;
use bpfvisor::{Error, MapSpec, ProgramSpec, Vm};
use bpfvisor_tests::generate::{Kind, MAPS, Sample, generate};
use bpfvisor_tests::oracle::Referee;
use bpfvisor_tests::{kernel, root};
use generated::{
    backwards, branchy, calls, counted_loop, many_states, nested_loops, straight, wide_states,
};
use objects::Pair;
use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::time::Duration;
use support::{Contender, in_turns, time};

/// `BPF_LOG_STATS`.
const STATS: u32 = 4;

/// A program as each side takes it.
struct Program {
    prog_type: ProgType,
    kernel: Vec<Insn>,
    vm: Vec<Insn>,
}

/// What a verification took, and how many instructions it followed.
#[derive(Clone, Copy, Default)]
struct Cost {
    ns: f64,
    processed: u32,
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let vm = Vm::builder().boot().unwrap();
    println!(
        "\nMedian time of a verification; the ratio is kernel / VM (above 1: the VM is faster)\n"
    );
    println!(
        "  {:34} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "program", "insns", "kernel's", "kernel", "VM", "ratio"
    );
    let mut product = (0.0, 0);
    let mut line = |title: &str, programs: &[Program]| {
        if wanted.is_empty() || wanted.iter().any(|w| title.contains(w.as_str())) {
            product.0 += compare(&vm, title, programs).ln();
            product.1 += 1;
        }
    };
    real(&vm, &mut line);
    let maps = RandomMaps::new(&vm);
    for kind in [Kind::Alu, Kind::Bounds] {
        let programs: Vec<_> = (0..400).filter_map(|n| maps.program(kind, n)).collect();
        line(&format!("{} random, {kind:?}", programs.len()), &programs);
    }
    for (title, insns) in made() {
        line(title, &[Program::plain(insns)]);
    }
    println!(
        "\nGeometric mean: {:.2}",
        (product.0 / f64::from(product.1)).exp()
    );
}

/// Programs by rule. The last ones are those on which verifiers take long: in vain
/// (they are too complex), or to the end.
fn made() -> Vec<(&'static str, Vec<Insn>)> {
    vec![
        ("1,000 straight", straight(1000)),
        ("10,000 straight", straight(10_000)),
        ("1,000 branchy", branchy(1000)),
        ("10,000 branchy", branchy(10_000)),
        ("500 calls", calls(500)),
        ("full stacks, 80 branches", wide_states(80)),
        ("loop, 1,000 rounds", counted_loop(1000)),
        ("loop, 100,000 rounds", counted_loop(100_000)),
        ("loops, 60 by 60 rounds", nested_loops(60)),
        ("256 states", many_states(8)),
        ("100,000 jumps backwards", backwards(100_000)),
        ("endless: 1,000,000 instructions", counted_loop(10_000_000)),
        ("endless: loop in loop", nested_loops(10_000)),
    ]
}

fn real(vm: &Vm, line: &mut impl FnMut(&str, &[Program])) {
    for folder in ["programs", "objects", "bench"] {
        let entries = std::fs::read_dir(root().join("resources").join(folder)).unwrap();
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        let mut all = Vec::new();
        for path in paths
            .iter()
            .filter(|p| p.extension().is_some_and(|e| e == "o"))
        {
            let Some(pair) = Pair::open(vm, path) else {
                continue;
            };
            let both = pair.kernel.iter().zip(&pair.vm);
            let programs: Vec<_> = both
                .map(|(k, v)| Program {
                    prog_type: k.prog_type,
                    kernel: k.insns.clone(),
                    vm: v.insns.clone(),
                })
                .filter(|p| p.in_kernel().is_some_and(|c| c.0))
                .collect();
            if folder != "bench" && !programs.is_empty() {
                line(
                    &format!("{}", path.file_name().unwrap().display()),
                    &programs,
                );
            }
            all.push((pair, programs));
        }
        if folder == "bench" {
            let (_maps, programs): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            let programs: Vec<_> = programs.into_iter().flatten().collect();
            line(&format!("{} of resources/bench", programs.len()), &programs);
        }
    }
}

impl Program {
    fn plain(insns: Vec<Insn>) -> Self {
        Self {
            prog_type: ProgType::Xdp,
            kernel: insns.clone(),
            vm: insns,
        }
    }

    /// Whether the kernel takes it, and what that cost. `None` without statistics.
    fn in_kernel(&self) -> Option<(bool, Cost)> {
        let spec = kernel::ProgSpec {
            log_size: 1 << 16,
            ..kernel::ProgSpec::new(self.prog_type, &self.kernel).log_level(STATS)
        };
        let (taken, log) = match kernel::Prog::load(&spec) {
            Ok(prog) => (true, prog.log().to_owned()),
            Err(no) => (false, no.log),
        };
        let after = |words: &str| {
            let rest = log.split(words).nth(1)?;
            rest.split(' ').next()?.parse::<f64>().ok()
        };
        let cost = Cost {
            ns: after("verification time ")? * 1e3,
            processed: after("processed ")? as u32,
        };
        Some((taken, cost))
    }

    fn in_vm(&self, vm: &Vm) -> (bool, Cost) {
        let spec = ProgramSpec::new(self.prog_type, self.vm.clone()).license("GPL");
        let (taken, time, processed) = match vm.load(spec) {
            Ok(program) => (true, program.info().verify_time, program.info().processed),
            Err(Error::Program(no)) => (false, no.verify_time, no.processed),
            Err(e) => panic!("{e}"),
        };
        let ns = time.as_nanos() as f64;
        (taken, Cost { ns, processed })
    }
}

/// Prints a line about these programs together; gives the ratio.
fn compare(vm: &Vm, title: &str, programs: &[Program]) -> f64 {
    let followed = Cell::new([0, 0]);
    let sum = |at: usize, costs: &mut dyn Iterator<Item = (bool, Cost)>| {
        let (mut ns, mut processed) = (0.0, 0);
        for (_, cost) in costs {
            ns += cost.ns;
            processed += cost.processed;
        }
        let mut both = followed.get();
        both[at] = processed;
        followed.set(both);
        ns
    };
    for program in programs {
        let (kernel, ours) = (program.in_kernel().unwrap().0, program.in_vm(vm).0);
        assert_eq!(kernel, ours, "{title}: verdicts differ");
    }
    let mut contenders: [Contender<'_>; 2] = [
        (
            "kernel",
            Box::new(|| sum(0, &mut programs.iter().map(|p| p.in_kernel().unwrap()))),
        ),
        (
            "VM",
            Box::new(|| sum(1, &mut programs.iter().map(|p| p.in_vm(vm)))),
        ),
    ];
    let stats = in_turns(Duration::from_millis(700), &mut contenders);
    drop(contenders);
    let [theirs, ours] = followed.get();
    let ratio = stats[0].median / stats[1].median;
    println!(
        "  {title:34} {ours:>10} {theirs:>10} {:>10} {:>10} {ratio:>6.2}",
        time(stats[0].median),
        time(stats[1].median),
    );
    ratio
}

/// The maps that random programs name, on both sides.
struct RandomMaps {
    referee: Referee,
    vm: Vec<bpfvisor::Map>,
}

impl RandomMaps {
    fn new(vm: &Vm) -> Self {
        let map = |like: &kernel::MapSpec<'_>| {
            let (key, value) = (like.key_size, like.value_size);
            let spec = MapSpec::new("bench", like.map_type, key, value, like.max_entries);
            vm.create_map(spec.flags(like.flags)).unwrap()
        };
        Self {
            referee: Referee::new().unwrap(),
            vm: MAPS.iter().map(map).collect(),
        }
    }

    /// The program of a seed, if the kernel takes it (callbacks would need BTF) and
    /// it is of one type: a program array serves just one.
    fn program(&self, kind: Kind, seed: u64) -> Option<Program> {
        let sample = generate(kind, seed);
        if sample.prog_type != ProgType::Xdp {
            return None;
        }
        let program = Program {
            prog_type: sample.prog_type,
            kernel: self.referee.with_fds(&sample),
            vm: self.with_fds(&sample),
        };
        program.in_kernel()?.0.then_some(program)
    }

    fn with_fds(&self, sample: &Sample) -> Vec<Insn> {
        bpfvisor_tests::fuzz::world::with_fds(sample, |handle| self.vm[handle - 1].as_raw_fd())
    }
}
