#![allow(clippy::unwrap_used)]

//! Generated programs are what they promise to be, and our verifier and the
//! kernel's agree on them. Needs root. `verifier_diff` runs more of the same.

use bpfvisor_tests::generate::{Kind, MAX_INSNS, generate};
use bpfvisor_tests::oracle::{Agreement, Referee, minimise};
use std::collections::BTreeMap;

/// How verdicts on `count` programs relate, and the share that the kernel
/// accepts, in percent.
fn tally(kind: Kind, count: u64) -> (BTreeMap<Agreement, u64>, u64) {
    let referee = Referee::new().unwrap();
    let (mut counts, mut accepted) = (BTreeMap::new(), 0);
    for seed in 0..count {
        let (agreement, kernel, _) = referee.compare(&generate(kind, seed));
        *counts.entry(agreement).or_default() += 1;
        accepted += u64::from(kernel.errno == 0);
    }
    (counts, 100 * accepted / count)
}

#[test]
fn equal_seeds_give_equal_programs_of_bounded_length() {
    for kind in [Kind::Alu, Kind::Bounds, Kind::Mutant] {
        for seed in 0..200 {
            let sample = generate(kind, seed);
            assert_eq!(sample, generate(kind, seed));
            assert!(sample.insns.len() <= MAX_INSNS + 60);
        }
        assert_ne!(generate(kind, 1), generate(kind, 2));
    }
}

#[test]
fn arithmetic_programs_are_accepted_by_both() {
    let (counts, accepted) = tally(Kind::Alu, 150);
    assert_eq!(accepted, 100);
    assert_eq!(counts, BTreeMap::from([(Agreement::BothAccept, 150)]));
}

#[test]
fn programs_with_pointers_are_judged_alike() {
    let (counts, accepted) = tally(Kind::Bounds, 600);
    assert!((60..95).contains(&accepted), "{accepted}% are accepted");
    judged_alike(&counts);
}

#[test]
fn damaged_programs_are_judged_alike() {
    let (counts, accepted) = tally(Kind::Mutant, 600);
    assert!((15..60).contains(&accepted), "{accepted}% are accepted");
    judged_alike(&counts);
}

/// Nothing that the kernel accepts is refused. A few programs are accepted by us
/// alone, where the numeric domain knows more.
fn judged_alike(counts: &BTreeMap<Agreement, u64>) {
    assert_eq!(counts.get(&Agreement::Crash), None, "{counts:?}");
    assert_eq!(counts.get(&Agreement::FalseReject), None, "{counts:?}");
    let more = counts.get(&Agreement::FalseAccept).copied();
    assert!(more.unwrap_or(0) <= 3, "{counts:?}");
}

#[test]
fn examples_are_made_as_small_as_they_can_be() {
    let referee = Referee::new().unwrap();
    let refused = (0..)
        .map(|seed| generate(Kind::Bounds, seed))
        .find(|sample| {
            let verdict = referee.kernel(sample, 1);
            verdict.reason.contains("outside of the packet")
        })
        .unwrap();
    let shows = |s: &_| {
        referee
            .kernel(s, 1)
            .reason
            .contains("outside of the packet")
    };
    let small = minimise(&refused, shows);
    assert!(shows(&small) && small.insns.len() <= 8, "{small:?}");
}
