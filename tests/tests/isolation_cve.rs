//! The shapes of past holes in kernel verifiers (`tests/cases/cve.txt`, table in
//! docs/cve.md): with the verifier on they are rejected, and with it off they harm
//! their own VM at most. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::insn::Insn;
use bpfvisor::{Error, Map, MapSpec, Program, ProgramSpec, Recovery, Result, Vm};
use bpfvisor_tests::attack::{BUDGET, FRAME, Neighbour, settings};
use bpfvisor_tests::cases::{Case, Maps, parse};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn cases() -> Vec<Case> {
    let file = bpfvisor_tests::root().join("tests/cases/cve.txt");
    let cases = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    cases
}

/// The maps that cases name, by number; a few types do not exist here.
fn maps(vm: &Vm) -> Vec<Option<Map>> {
    let mut made: Vec<Option<Map>> = Vec::new();
    for m in Maps::new().0 {
        let mut spec = MapSpec::new("case", m.map_type, m.key_size, m.value_size, m.max_entries);
        spec.flags = m.flags;
        spec.spin_lock_off = m.spin_lock_off;
        spec.inner = m
            .inner
            .and_then(|i| made.get(i as usize).cloned().flatten());
        made.push(vm.create_map(spec).ok());
    }
    made
}

fn load(vm: &Vm, case: &Case, maps: &[Option<Map>]) -> Result<Program> {
    let wide = |i: &Insn| i.opcode == 0x18 && matches!(i.src, 1 | 2);
    let insns: Vec<Insn> = case
        .insns
        .iter()
        .map(|i| match maps.get(i.imm as usize) {
            Some(Some(map)) if wide(i) => Insn {
                imm: map.as_raw_fd(),
                ..*i
            },
            _ => *i,
        })
        .collect();
    let spec = ProgramSpec::new(case.prog_type, insns).name("attack");
    vm.load(spec.license("GPL"))
}

#[test]
fn with_the_verifier_the_hole_is_closed_and_the_program_next_to_it_runs() {
    let vm = Vm::builder()
        .memory(16 << 20)
        .heap(32 << 20)
        .boot()
        .unwrap();
    let maps = maps(&vm);
    for case in cases() {
        let loaded = load(&vm, &case, &maps);
        match (case.expected.as_str(), loaded) {
            ("accept", Ok(program)) => {
                program.run(&FRAME).unwrap();
            }
            (expected, Err(e @ Error::Program(_))) => {
                assert_eq!(expected, format!("reject {}", e.errno()), "{}", case.name);
            }
            (expected, other) => panic!("{}: {other:?}, expected {expected}", case.name),
        }
    }
    assert!(vm.is_alive());
}

#[test]
fn without_it_they_harm_their_own_vm_at_most() {
    let vm = settings().recovery(Recovery::KeepMaps);
    let vm = vm
        .recovery_limit(u32::MAX, Duration::from_secs(1))
        .boot()
        .unwrap();
    let maps = maps(&vm);
    let mut harmed = 0;
    for case in cases() {
        // A shape without meaning (a jump into an instruction) is not even loaded.
        let Ok(program) = load(&vm, &case, &maps) else {
            assert_ne!(case.expected, "accept", "{}", case.name);
            continue;
        };
        Neighbour::beside(|| {
            for round in 0..3u8 {
                for map in maps.iter().flatten().take(4) {
                    let value = vec![round.wrapping_mul(0x7f); map.value_len()];
                    let _ = map.insert(&vec![0; map.key_size()], &value);
                }
                let begin = Instant::now();
                let answer = program.run(&FRAME);
                assert!(begin.elapsed() < BUDGET + Duration::from_secs(10));
                if let Err(e) = answer {
                    assert!(matches!(e, Error::Guest(_) | Error::Timeout(_)), "{e}");
                    assert_ne!(case.expected, "accept", "{}: {e}", case.name);
                    harmed += 1;
                }
            }
        });
    }
    println!("{harmed} runs did harm, to their own VM");
    assert!(vm.is_alive());
}
