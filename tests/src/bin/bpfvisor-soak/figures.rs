//! What a VM takes when idle, and how long rebuilding one takes.

use super::usage;
use bpfvisor::{Error, MapSpec, ProgramSpec, Recovery, Result, Vm};
use bpfvisor_tests::attack::{FRAME, program};
use std::time::{Duration, Instant};

/// KiB of this process for each of so many VMs, all idle with a program each that
/// has run, beyond their maps' and packets' own.
pub fn memory(vms: u64) {
    let one = || {
        let vm = Vm::builder().boot()?;
        let program = vm.load(ProgramSpec::xdp(program("r0 = 2\nexit")))?;
        program.run(&FRAME)?;
        Ok::<_, Error>((vm, program))
    };
    // What the first of a process costs is not each one's.
    let _first = one().map_err(|e| println!("{e}"));
    let before = usage()[2];
    let all: Vec<_> = (0..vms).map_while(|_| one().ok()).collect();
    let each = (usage()[2].saturating_sub(before)) / (all.len() as u64).max(1);
    println!("{} VMs, {each} KiB each", all.len());
    assert!(
        all.len() as u64 == vms && each < 5 << 10,
        "aim: below 5 MiB"
    );
}

/// Has VMs of several contents die so many times each; says how long it took until
/// they were rebuilt, and until the next call was answered.
pub fn rebuilds(times: u64) -> Result<()> {
    let contents = [
        ("one program", 1, 0),
        ("100 programs, a hash of 100,000 elements", 100, 100_000),
        ("one program, a hash of 1,000,000 elements", 1, 1_000_000),
    ];
    for (name, programs, elements) in contents {
        let (mut inside, mut outside) = of(times, programs, elements)?;
        println!("{name}, {times} times:");
        println!("  rebuilt  {}", spread(&mut inside));
        println!("  answered {}", spread(&mut outside));
    }
    Ok(())
}

fn of(times: u64, programs: u64, elements: u32) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let vm = Vm::builder().memory(256 << 20);
    let vm = vm.recovery(Recovery::KeepMaps);
    // No pauses between attempts, and as many as it takes.
    let vm = vm
        .recovery_limit(u32::MAX, Duration::from_nanos(1))
        .boot()?;
    let all: Vec<_> = (0..programs)
        .map(|n| vm.load(ProgramSpec::xdp(program(&format!("r0 = {n}\nexit")))))
        .collect::<Result<_>>()?;
    let map = match elements {
        0 => None,
        n => {
            let map = vm.create_map(MapSpec::hash("hash", 4, 8, n))?;
            let keys: Vec<u8> = (0..n).flat_map(u32::to_ne_bytes).collect();
            for keys in keys.chunks(4 * 10_000) {
                map.update_batch(keys, &vec![7; keys.len() * 2], 0).1?;
            }
            Some(map)
        }
    };
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let begin = Instant::now();
        vm.inject_fault("to be rebuilt");
        while let Err(e) = all[0].run(&FRAME) {
            if !matches!(e, Error::Guest(_)) {
                return Err(e);
            }
        }
        outside.push(begin.elapsed());
        inside.extend(vm.recoveries().last().map(|r| r.duration));
    }
    if let Some(map) = map {
        assert_eq!(map.get(&[0; 4])?, Some(vec![7; 8]), "kept");
    }
    Ok((inside, outside))
}

/// Shortest, median, 90th and 99th percentile, longest.
pub fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
    match (times.first(), at(50), at(90), at(99), times.last()) {
        (Some(a), Some(b), Some(c), Some(d), Some(e)) => {
            format!("{a:.1?} median {b:.1?} 90% {c:.1?} 99% {d:.1?} longest {e:.1?}")
        }
        _ => "never".into(),
    }
}
