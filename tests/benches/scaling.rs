//! How the cost of a hash map grows with its keys, and its speed with vCPUs,
//! beside the kernel's in the same run.
//!
//!     cargo bench -p bpfvisor-tests --bench scaling [-- FOLDER [MOST-KEYS]]
//!
//! As root, with /dev/kvm. Prints tables; with a folder, writes map-size and
//! map-vcpus there, as .csv and .svg each. The largest map has ten million keys
//! if MOST-KEYS doesn't say less, and takes 2 GiB, half of it the kernel's.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/plot.rs"]
mod plot;
mod support;
#[path = "support/walker.rs"]
mod walker;

use bpf_core::uapi::{Cmd, MapType, ProgType};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use plot::{Plot, Series};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use support::{Contender, each, in_turns};
use walker::{LOOKUP, STEPS, UPDATE, walker};

const SIZES: [u32; 8] = [
    1000, 4000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000, 10_000_000,
];
const VCPUS: [u32; 3] = [1, 2, 4];
/// Operations in a sample from the host.
const CALLS: usize = 4096;

/// Lookups, of which a quarter are updates instead if that is wished.
fn steps(update: bool) -> String {
    match update {
        true => {
            format!("r1 = r6\nr1 &= 768\nif r1 != 0 goto get\n{UPDATE}goto next\nget:\n{LOOKUP}")
        }
        false => LOOKUP.to_owned(),
    }
}

/// A full map here and one in the kernel, and programs over each.
struct Sides {
    map: Map,
    theirs: kernel::Map,
    keys: u32,
}

impl Sides {
    fn new(vm: &Vm, keys: u32) -> Self {
        let map = vm.create_map(MapSpec::hash("m", 4, 8, keys)).unwrap();
        let theirs = kernel::MapSpec::new(MapType::Hash, 4, 8, keys);
        let theirs = kernel::Map::create(&theirs).unwrap();
        let all: Vec<u32> = (0..keys).collect();
        for part in all.chunks(1 << 16) {
            let mut k: Vec<u8> = part.iter().flat_map(|k| k.to_le_bytes()).collect();
            let mut v: Vec<u8> = part
                .iter()
                .flat_map(|k| u64::from(*k).to_le_bytes())
                .collect();
            map.update_batch(&k, &v, 0).1.unwrap();
            theirs
                .batch(Cmd::MapUpdateBatch, None, &mut k, &mut v, 0)
                .0
                .unwrap();
        }
        Self { map, theirs, keys }
    }

    fn programs(&self, vm: &Vm, update: bool) -> (Program, kernel::Prog) {
        let ours = walker(self.map.as_raw_fd(), self.keys, &steps(update));
        let theirs = walker(self.theirs.as_raw_fd(), self.keys, &steps(update));
        let theirs = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &theirs));
        (vm.load(ProgramSpec::xdp(ours)).unwrap(), theirs.unwrap())
    }

    /// From the host and from a program, ours and the kernel's: ns per lookup.
    fn lookups(&self, vm: &Vm) -> [f64; 4] {
        let (ours, theirs) = self.programs(vm, false);
        let mut rng = Rng::new(u64::from(self.keys));
        let mut key = move |keys: u32| (rng.below(keys.into()) as u32).to_le_bytes();
        let picked: Vec<_> = (0..64 * CALLS).map(|_| key(self.keys)).collect();
        let (mut a, mut b) = (picked.iter().cycle(), picked.iter().cycle());
        let mut value = [0; 8];
        let calls = CALLS as u32;
        let mut contenders: [Contender<'_>; 4] = [
            (
                "host",
                Box::new(|| {
                    each(calls, || {
                        let key = black_box(a.next().unwrap());
                        assert!(self.map.get_into(key, &mut value).unwrap());
                    })
                }),
            ),
            (
                "kernel, system call",
                Box::new(|| {
                    each(calls, || {
                        assert!(self.theirs.lookup(b.next().unwrap()).unwrap().is_some());
                    })
                }),
            ),
            ("program", Box::new(|| run(&ours, 8) / f64::from(STEPS))),
            (
                "kernel, program",
                Box::new(|| run_theirs(&theirs, 8) / f64::from(STEPS)),
            ),
        ];
        let stats = in_turns(Duration::from_secs(2), &mut contenders);
        [0, 1, 2, 3].map(|i| stats[i].median)
    }
}

/// Nanoseconds of one run.
fn run(program: &Program, repeat: u32) -> f64 {
    let spec = TestRun {
        data: &[0; 64],
        repeat,
        ..TestRun::default()
    };
    program.test_run(&spec).unwrap().duration.as_nanos() as f64
}

fn run_theirs(program: &kernel::Prog, repeat: u32) -> f64 {
    let spec = kernel::RunSpec {
        repeat,
        ..kernel::RunSpec::data(&[0; 64])
    };
    program.run(&spec).unwrap().duration.as_nanos() as f64
}

/// Operations per second of `threads` threads at once, in millions.
fn together(threads: u32, run: impl Fn(u32) + Sync) -> f64 {
    const RUNS: u32 = 300;
    let barrier = Barrier::new(threads as usize + 1);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(|| {
                    barrier.wait();
                    run(RUNS);
                })
            })
            .collect();
        barrier.wait();
        let begin = Instant::now();
        all.into_iter().for_each(|t| t.join().unwrap());
        let ops = f64::from(threads) * f64::from(RUNS) * f64::from(STEPS);
        ops / begin.elapsed().as_secs_f64() / 1e6
    })
}

/// One map of 64K keys, used by several at once.
fn by_vcpus() -> Plot {
    let mut series = [
        ("lookups", false, true),
        ("lookups, kernel", false, false),
        ("1/4 updates", true, true),
        ("1/4 updates, kernel", true, false),
    ]
    .map(|(name, update, ours)| {
        (
            Series {
                name,
                points: Vec::new(),
            },
            update,
            ours,
        )
    });
    for vcpus in VCPUS {
        let vm = Vm::builder().memory(64 << 20).vcpus(vcpus).boot().unwrap();
        let sides = Sides::new(&vm, 64_000);
        let pairs = [false, true].map(|update| sides.programs(&vm, update));
        let mut samples = series.each_ref().map(|_| Vec::new());
        for _ in 0..7 {
            for ((_, update, ours), samples) in series.iter().zip(&mut samples) {
                let (program, theirs) = &pairs[usize::from(*update)];
                samples.push(match ours {
                    true => together(vcpus, |runs| {
                        run(program, runs);
                    }),
                    false => together(vcpus, |runs| {
                        run_theirs(theirs, runs);
                    }),
                });
            }
        }
        for (series, mut samples) in series.iter_mut().zip(samples) {
            samples.sort_by(f64::total_cmp);
            series.0.points.push((vcpus.into(), samples[3]));
        }
    }
    Plot {
        title: "Operations on one hash map of 64,000 keys by several vCPUs (CPUs) at once",
        x: "vCPUs",
        y: "million/s",
        log_y: false,
        series: series.into_iter().map(|s| s.0).collect(),
    }
}

fn by_size(most: u32) -> Plot {
    let vm = Vm::builder().memory(1 << 30).boot().unwrap();
    let names = ["host", "kernel, system call", "program", "kernel, program"];
    let mut series = names.map(|name| Series {
        name,
        points: Vec::new(),
    });
    for keys in SIZES.into_iter().filter(|k| *k <= most) {
        let lookups = Sides::new(&vm, keys).lookups(&vm);
        for (series, ns) in series.iter_mut().zip(lookups) {
            series.points.push((keys.into(), ns));
        }
    }
    Plot {
        title: "A lookup in a full hash map, random keys",
        x: "keys",
        y: "ns",
        log_y: true,
        series: series.into(),
    }
}

fn main() {
    kernel::require().unwrap();
    let args: Vec<_> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let most = args.get(1).map_or(u32::MAX, |m| m.parse().unwrap());
    for (name, plot) in [("map-size", by_size(most)), ("map-vcpus", by_vcpus())] {
        println!("{}\n{}", plot.title, plot.csv());
        if let Some(folder) = args.first() {
            let path = Path::new(folder).join(name);
            std::fs::write(path.with_extension("csv"), plot.csv()).unwrap();
            std::fs::write(path.with_extension("svg"), plot.svg()).unwrap();
        }
    }
}
