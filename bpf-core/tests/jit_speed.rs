//! Times of compiled code beside those of rbpf's compiler, in this process:
//! `cargo test --release -p bpf-core --test jit_speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jit_support;

use bpf_core::insn::{Insn, op};
use bpf_core::program::{Fact, MapDesc, Program};
use bpf_core::uapi::MapType;
use jit_support::elf::Object;
use jit_support::exec::cpu_nanos;
use jit_support::world::{Env, Loaded, Maps, features, single};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PROGRAMS: [&str; 10] = [
    "trivial",
    "array_loop",
    "branches",
    "compare",
    "copy",
    "fnv",
    "jhash",
    "logarithm",
    "primes",
    "sieve",
];

/// Median nanoseconds of processor time of a run.
fn time(mut run: impl FnMut() -> u64) -> f64 {
    let mut sample = |runs: u32| {
        let start = cpu_nanos();
        for _ in 0..runs {
            std::hint::black_box(run());
        }
        (cpu_nanos() - start) as f64 / f64::from(runs)
    };
    // Reading the clock takes a system call: let a sample last far longer.
    let runs = (200_000.0 / sample(4)) as u32 + 1;
    let begin = Instant::now();
    let mut samples = vec![sample(runs)];
    while begin.elapsed() < Duration::from_millis(200) {
        samples.push(sample(runs));
    }
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Where rbpf's lookup finds the array.
static VALUES: AtomicU64 = AtomicU64::new(0);
const ENTRIES: u32 = 4096;

fn lookup(_: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // The key is on the program's stack; a test of speed only, so it is not read.
    VALUES.load(Ordering::Relaxed) + (key & 0xff8)
}

fn array(values: &[u64]) -> MapDesc {
    MapDesc {
        handle: 1,
        map_type: MapType::Array,
        key_size: 4,
        value_size: 8,
        max_entries: ENTRIES,
        flags: 0,
        frozen: false,
        spin_lock_off: None,
        inner: None,
        object_addr: 0x1234_5678,
        values_addr: values.as_ptr() as u64,
        value_stride: 8,
    }
}

fn with_map(object: &Object) -> Program {
    let mut prog = single(&object.insns, 16);
    for &at in &object.map_loads {
        prog.insns[at].src = op::PSEUDO_MAP_FD;
        prog.insns[at].imm = 1;
    }
    for (insn, fact) in prog.insns.iter().zip(&mut prog.facts) {
        if insn.opcode == op::JMP | op::CALL {
            *fact = Fact {
                map: Some(1),
                key: None,
            };
        }
    }
    prog
}

fn ours(object: &Object, values: &[u64]) -> (f64, u64, usize) {
    let maps = Maps(vec![array(values)]);
    let loaded = Loaded::new(&with_map(object), &maps, features()).unwrap();
    let mut env = Env::default();
    let result = loaded.run(&mut env, [0; 4]);
    let ns = time(|| loaded.run(&mut env, [0; 4]));
    (ns, result & 0xffff_ffff, loaded.code.bytes.len())
}

fn rbpf_time(object: &Object) -> (f64, u64) {
    let bytes: Vec<u8> = object
        .insns
        .iter()
        .flat_map(|i| Insn::to_bytes(*i))
        .collect();
    let mut vm = rbpf::EbpfVmNoData::new(Some(&bytes)).unwrap();
    vm.register_helper(1, lookup).unwrap();
    vm.jit_compile().unwrap();
    let run = || jit_support::exec::rbpf_run(&vm);
    let result = run();
    (time(run), result & 0xffff_ffff)
}

#[test]
#[ignore = "measures"]
fn beside_rbpf() {
    let values = vec![0_u64; ENTRIES as usize];
    VALUES.store(values.as_ptr() as u64, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/bench");
    println!(
        "{:12} {:>10} {:>10} {:>6} {:>6}",
        "program", "ns", "rbpf ns", "ratio", "bytes"
    );
    let mut product = 1.0;
    for name in PROGRAMS {
        let elf = std::fs::read(dir.join(format!("{name}.o"))).expect("a benchmark object");
        let object = Object::read(&elf);
        let (ns, result, bytes) = ours(&object, &values);
        let (other, expected) = rbpf_time(&object);
        product *= other / ns;
        println!(
            "{name:12} {ns:10.1} {other:10.1} {:6.2} {bytes:6}",
            other / ns
        );
        assert!(
            result == expected || !object.map_loads.is_empty(),
            "{name}: {result:#x}, rbpf {expected:#x}"
        );
    }
    println!(
        "geometric mean {:.2}",
        f64::powf(product, 1.0 / PROGRAMS.len() as f64)
    );
}

/// Nanoseconds of compilation per instruction.
#[test]
#[ignore = "measures"]
fn compile_time() {
    use bpf_core::insn::build::*;
    for n in [2, 1000, 10_000, 100_000, 1_000_000] {
        let mut p = vec![mov64_imm(0, 0)];
        while p.len() + 2 < n {
            p.extend([
                alu64_imm(op::ADD, 0, 1),
                mov64_reg(3, 0),
                alu64_reg(op::XOR, 3, 1),
                jmp_imm(op::JEQ, 3, 7, 1),
            ]);
        }
        p.extend([mov64_reg(0, 3), exit()]);
        let prog = single(&p, 0);
        let host = jit_support::world::Host {
            features: features(),
        };
        let ns = time(|| {
            let code = bpf_core::jit::compile(&prog, &Maps::default(), &host, 0x10_0000);
            code.unwrap().bytes.len() as u64
        });
        println!(
            "{n:8} instructions {:10.1} µs, {:5.1} ns each",
            ns / 1000.0,
            ns / n as f64
        );
    }
}
