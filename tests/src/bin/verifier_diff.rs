//! Gives random programs to the kernel's verifier and to ours, and reports where
//! they differ.
//!
//!     verifier_diff [--seed N] [--count N] [--kind alu|bounds|mutant] [--show N]
//!
//! Prints counts, the share of programs that the kernel accepts, and minimised
//! examples with both reasons. Exits with 1 where the verdicts differ.

use bpfvisor_tests::generate::{Kind, Sample, generate};
use bpfvisor_tests::oracle::{Agreement, Referee, Verdict, minimise};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

struct Args {
    seed: u64,
    count: u64,
    kind: Kind,
    show: usize,
}

impl Args {
    fn parse() -> Result<Self, String> {
        let mut args = Self {
            seed: 1,
            count: 1000,
            kind: Kind::Bounds,
            show: 5,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || value.parse().map_err(|e| format!("{word} {value}: {e}"));
            match word.as_str() {
                "--seed" => args.seed = number()?,
                "--count" => args.count = number()?,
                "--show" => args.show = number()? as usize,
                "--kind" => {
                    let unknown = format!("--kind {value}: not alu, bounds or mutant");
                    args.kind = Kind::from_name(&value).ok_or(unknown)?;
                }
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("verifier_diff: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether the verdicts agreed throughout.
fn run() -> Result<bool, String> {
    let args = Args::parse()?;
    let referee = Referee::new().map_err(|e| e.to_string())?;
    let mut counts: BTreeMap<Agreement, u64> = BTreeMap::new();
    let mut shown: BTreeMap<Agreement, usize> = BTreeMap::new();
    let mut time = [Duration::ZERO; 2];
    let mut processed = [0u64; 2];
    for seed in args.seed..args.seed + args.count {
        let sample = generate(args.kind, seed);
        let (agreement, kernel, ours) = referee.compare(&sample);
        *counts.entry(agreement).or_default() += 1;
        time[0] += kernel.time;
        time[1] += ours.time;
        if agreement == Agreement::BothAccept {
            processed[0] += u64::from(kernel.processed);
            processed[1] += u64::from(ours.processed);
        }
        let seen = shown.entry(agreement).or_default();
        if agreement.is_disagreement() && *seen < args.show {
            *seen += 1;
            show(&referee, seed, &sample, agreement);
        }
    }
    let accepted = [Agreement::BothAccept, Agreement::FalseReject];
    let useful: u64 = accepted.iter().filter_map(|a| counts.get(a)).sum();
    println!("{counts:?}");
    println!("accepted by the kernel: {useful} of {}", args.count);
    println!("time: kernel {:?}, ours {:?}", time[0], time[1]);
    println!(
        "processed in programs that both accept: kernel {}, ours {}",
        processed[0], processed[1]
    );
    Ok(!counts.keys().any(|a| a.is_disagreement()))
}

fn show(referee: &Referee, seed: u64, sample: &Sample, agreement: Agreement) {
    let same = |trial: &Sample| {
        let (kernel, ours) = (referee.kernel(trial, 0), referee.ours(trial));
        Agreement::of(&kernel, &ours) == agreement
    };
    let small = minimise(sample, same);
    let (kernel, ours) = (referee.kernel(&small, 1), referee.ours(&small));
    let text = |v: &Verdict| match v.errno {
        0 => "accepts".to_owned(),
        errno => format!("errno {errno}: {}", v.reason),
    };
    println!("== {agreement:?}, seed {seed}, {:?}", small.prog_type);
    println!("   kernel: {}\n   ours:   {}", text(&kernel), text(&ours));
    for (at, insn) in small.insns.iter().enumerate() {
        println!("   {at:3}: {insn:02x?}");
    }
}
