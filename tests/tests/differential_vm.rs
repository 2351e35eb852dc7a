//! A slice of what `bpfvisor-fuzz` does, and the cases that it found before.
//! Needs root and /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic)]

use bpfvisor_tests::fuzz::text::{self, Kept};
use bpfvisor_tests::fuzz::{Case, Finding, Fuzzer, Outcome, Source};
use bpfvisor_tests::generate::Kind;
use std::time::{Duration, Instant};

/// Time for each kind of program; on a busy machine fewer are tried.
const SLICE: Duration = Duration::from_millis(2500);
/// Programs that run in one place before they run in the next.
const TOGETHER: u64 = 50;
/// Programs of each kind.
const COUNT: u64 = 600;

fn fuzzer() -> Fuzzer {
    Fuzzer::new().unwrap_or_else(|e| panic!("needs root and a usable /dev/kvm: {e}"))
}

/// Gives the share of programs that ran everywhere, in percent.
fn slice(fuzzer: &mut Fuzzer, source: Source) -> u64 {
    let (begin, mut same, mut total) = (Instant::now(), 0, 0);
    while total < COUNT && begin.elapsed() < SLICE {
        let cases: Vec<Case> = (total..total + TOGETHER)
            .map(|seed| Case::generate(source, seed))
            .collect();
        for finding in fuzzer.examine_all(&cases) {
            assert!(
                !finding.is_mismatch(),
                "{source:?}, seed {total}: {finding:?}"
            );
            same += u64::from(finding == Finding::Same);
            total += 1;
        }
    }
    100 * same / total
}

#[test]
fn programs_run_alike_compiled_interpreted_and_in_the_kernel() {
    let mut fuzzer = fuzzer();
    let sources = [
        (Source::Generated(Kind::Alu), 99),
        (Source::Packets, 90),
        (Source::Generated(Kind::Bounds), 60),
        (Source::Generated(Kind::Mutant), 10),
    ];
    for (source, least) in sources {
        let useful = slice(&mut fuzzer, source);
        assert!(
            useful >= least,
            "only {useful}% of {source:?} ran everywhere"
        );
    }
    assert_eq!(fuzzer.deaths(), 0);
}

#[test]
fn equal_seeds_give_equal_cases() {
    let case = |seed| Case::generate(Source::Packets, seed);
    assert_eq!(case(7), case(7));
    assert_ne!(case(7), case(8));
}

fn kept() -> Vec<(String, Kept)> {
    let dir = bpfvisor_tests::root().join("tests/regressions");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        out.push((
            name.clone(),
            text::read(&text).unwrap_or_else(|e| panic!("{name}: {e}")),
        ));
    }
    out
}

#[test]
fn what_was_wrong_once_is_right() {
    let mut fuzzer = fuzzer();
    let kept = kept();
    assert!(!kept.is_empty());
    for (name, kept) in kept {
        let [kernel, compiled, interpreted] = fuzzer.outcomes(&kept.case);
        for (place, outcome) in [("compiled", &compiled), ("interpreted", &interpreted)] {
            assert!(gives(outcome, &kept), "{name}, {place}: {outcome:02x?}");
        }
        assert_eq!(
            gives(&kernel, &kept),
            !kept.kernel_differs,
            "{name}: {kernel:02x?}"
        );
    }
}

fn gives(outcome: &Outcome, kept: &Kept) -> bool {
    match outcome {
        Outcome::Ran(seen) => seen.runs == kept.runs,
        Outcome::Rejected { .. } => kept.runs.is_empty(),
        _ => false,
    }
}

#[test]
fn cases_survive_being_written_down() {
    for seed in 0..50 {
        let case = Case::generate(Source::Packets, seed);
        let runs = case.packets.iter().map(|p| (2, p.clone())).collect();
        let kept = Kept {
            case,
            runs,
            kernel_differs: false,
        };
        assert_eq!(text::read(&text::write(&kept, "why\nso")).unwrap(), kept);
    }
}
