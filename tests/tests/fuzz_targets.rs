//! A slice of every fuzz target (docs/fuzzing.md): inputs made from the seeds by
//! chance, without guidance. Needs /dev/kvm.
#![allow(clippy::unwrap_used, missing_docs)]

use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::targets::{ALL, mutate};
use std::time::{Duration, Instant};

/// For each target.
const SLICE: Duration = Duration::from_secs(2);

#[test]
fn no_input_does_more_than_to_be_refused() {
    let start = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    for target in &ALL {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}: no seeds", target.name);
        for seed in &seeds {
            (target.run)(seed);
        }
        let mut rng = Rng::new(start.as_nanos() as u64);
        let (mut cases, mut useful) = (0u64, 0u64);
        let begin = Instant::now();
        while begin.elapsed() < SLICE {
            let pick = |rng: &mut Rng| &seeds[rng.below(seeds.len() as u64) as usize];
            let mut input = pick(&mut rng).clone();
            let other = pick(&mut rng);
            mutate(&mut rng, &mut input, other, target.grain);
            useful += u64::from((target.run)(&input));
            cases += 1;
        }
        let share = useful as f64 / cases as f64 * 100.0;
        println!("{}: {cases} cases, {share:.0}% useful", target.name);
        assert!(
            useful > 0,
            "{}: nothing came past the first checks",
            target.name
        );
    }
}
