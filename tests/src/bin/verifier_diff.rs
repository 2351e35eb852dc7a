//! Gives random programs to the kernel's verifier and to ours, and reports where
//! they differ.
//!
//!     verifier_diff [--seed N] [--count N] [--kind alu|bounds|mutant] [--show N] [--why 1] [--text 1] [--soundness 1]
//!
//! Prints one minimised example for each of the first `--show` ways in which the
//! verdicts differ (how, and both reasons without their numbers), then counts,
//! and the share of programs that the kernel accepts. `--why 1` also counts the
//! kernel's reasons; with `--text 1` programs that both reject differ also where
//! the reasons do. With `--soundness 1` the kernel is left alone: accepted programs
//! run in a hostile world instead, and any hole is printed. Exits with 1 where
//! verdicts differ or there is a hole.

use bpf_core::disasm::listing;
use bpf_core::program::{FlatMemory, ProgramDesc, TypeInfo};
use bpfvisor_tests::generate::{Kind, Sample, generate};
use bpfvisor_tests::oracle::{Agreement, Referee, Verdict, minimise, mirror_maps, soundness};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Programs that take a judge longer are named and not examined further.
const SLOW: Duration = Duration::from_millis(500);

/// How long an example may be made smaller.
const PATIENCE: Duration = Duration::from_secs(3);

struct Args {
    seed: u64,
    count: u64,
    kind: Kind,
    show: usize,
    why: bool,
    text: bool,
    soundness: bool,
}

impl Args {
    fn parse() -> Result<Self, String> {
        let mut args = Self {
            seed: 1,
            count: 1000,
            kind: Kind::Bounds,
            show: 5,
            why: false,
            text: false,
            soundness: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || value.parse().map_err(|e| format!("{word} {value}: {e}"));
            match word.as_str() {
                "--seed" => args.seed = number()?,
                "--count" => args.count = number()?,
                "--show" => args.show = number()? as usize,
                "--text" => args.text = number()? == 1,
                "--soundness" => args.soundness = number()? == 1,
                "--why" => args.why = number()? == 1,
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
    // A panic of the verifier is a result here, reported with its program.
    std::panic::set_hook(Box::new(|_| {}));
    let report = Args::parse().and_then(|args| {
        if args.soundness {
            return Ok(look_for_holes(&args));
        }
        let referee = Referee::new().map_err(|e| e.to_string())?;
        let mut report = Report::default();
        for seed in args.seed..args.seed + args.count {
            report.try_seed(&args, &referee, seed);
        }
        report.print(args.count);
        Ok(report.ways.is_empty())
    });
    match report {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("verifier_diff: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether runs of the accepted programs stay inside the verifier's states.
fn look_for_holes(args: &Args) -> bool {
    let maps = mirror_maps();
    let (mut ran, mut compared, mut holes) = (0, 0, 0);
    for seed in args.seed..args.seed + args.count {
        let sample = generate(args.kind, seed);
        let desc = ProgramDesc {
            insns: &sample.insns,
            prog_type: sample.prog_type,
            attach_type: 0,
            flags: 0,
            gpl: true,
            flat: FlatMemory::default(),
            types: TypeInfo::default(),
        };
        let outcome = soundness::examine(&desc, &maps, 6, seed);
        ran += u64::from(outcome.ran);
        compared += u64::from(outcome.compared);
        if let Some(hole) = outcome.hole {
            holes += 1;
            println!("== seed {seed}: {hole}\n{}", listing(&sample.insns));
        }
    }
    println!(
        "ran {ran} of {}, compared {compared}, holes {holes}",
        args.count
    );
    holes == 0
}

/// Figures for one judge.
#[derive(Default)]
struct Judge {
    time: Duration,
    processed: u64,
}

impl Judge {
    fn add(&mut self, verdict: &Verdict) {
        self.time += verdict.time;
        self.processed += u64::from(verdict.processed);
    }
}

#[derive(Default)]
struct Report {
    counts: BTreeMap<Agreement, u64>,
    /// Ways to differ, and how often.
    ways: BTreeMap<(Agreement, String, String), u64>,
    reasons: BTreeMap<String, u64>,
    useful: u64,
    kernel: Judge,
    ours: Judge,
}

impl Report {
    fn try_seed(&mut self, args: &Args, referee: &Referee, seed: u64) {
        let sample = generate(args.kind, seed);
        let (agreement, kernel, ours) = referee.compare(&sample);
        if kernel.time.max(ours.time) > SLOW {
            println!(
                "slow, seed {seed}: kernel {:?}, ours {:?}",
                kernel.time, ours.time
            );
            self.counts
                .entry(agreement)
                .and_modify(|n| *n += 1)
                .or_insert(1);
            return;
        }
        *self.counts.entry(agreement).or_default() += 1;
        self.useful += u64::from(kernel.errno == 0);
        if agreement == Agreement::BothAccept {
            self.kernel.add(&kernel);
            self.ours.add(&ours);
        }
        if kernel.errno != 0 && (args.why || agreement.is_disagreement()) {
            let reason = shape(&referee.kernel(&sample, 1).reason);
            *self.reasons.entry(reason).or_default() += 1;
        }
        let other_words = args.text && agreement == Agreement::BothReject && {
            let (_, kernel, ours) = way(referee, &sample);
            kernel != ours
        };
        if agreement.is_disagreement() || other_words {
            self.differ(args, referee, seed, &sample);
        }
    }

    fn differ(&mut self, args: &Args, referee: &Referee, seed: u64, sample: &Sample) {
        let way = way(referee, sample);
        let seen = self.ways.entry(way.clone()).or_default();
        *seen += 1;
        if *seen == 1 && self.ways.len() <= args.show {
            show(referee, seed, sample, &way);
        }
    }

    fn print(&self, count: u64) {
        for ((agreement, kernel, ours), n) in &self.ways {
            println!("{n:6} {agreement:?}: kernel {kernel:?}, ours {ours:?}");
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        for (reason, n) in reasons.iter().take(30) {
            println!("{n:6} {reason}");
        }
        println!("{:?}", self.counts);
        println!("accepted by the kernel: {} of {count}", self.useful);
        for (name, judge) in [("kernel", &self.kernel), ("ours", &self.ours)] {
            let Judge { time, processed } = judge;
            println!("{name}, where both accept: {processed} instructions in {time:?}");
        }
    }
}

/// How the verdicts on a program differ.
fn way(referee: &Referee, sample: &Sample) -> (Agreement, String, String) {
    let (kernel, ours) = (referee.kernel(sample, 1), referee.ours(sample));
    let agreement = Agreement::of(&kernel, &ours);
    let ours = shape(&ours.reason);
    let ours = ours.strip_prefix("#: ").unwrap_or(&ours);
    (agreement, shape(&kernel.reason), ours.to_owned())
}

/// A reason without its numbers.
fn shape(reason: &str) -> String {
    let mut out = String::new();
    for word in reason.split_inclusive([' ', ',', '=', '(', ')', ';']) {
        let hex = word.strip_prefix("0x").map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit());
            &rest[end.unwrap_or(rest.len())..]
        });
        if hex.is_some() {
            out.push('#');
        }
        for c in hex.unwrap_or(word).chars() {
            match c {
                '0'..='9' if out.ends_with('#') => {}
                '0'..='9' => out.push('#'),
                c => out.push(c),
            }
        }
    }
    out
}

fn show(referee: &Referee, seed: u64, sample: &Sample, like: &(Agreement, String, String)) {
    let end = Instant::now() + PATIENCE;
    // The cheap comparison first: most attempts end there.
    let small = minimise(sample, |trial| {
        Instant::now() < end && referee.compare(trial).0 == like.0 && way(referee, trial) == *like
    });
    let (kernel, ours) = (referee.kernel(&small, 1), referee.ours(&small));
    let text = |v: &Verdict| match v.errno {
        0 => "accepts".to_owned(),
        errno => format!("errno {errno}: {}", v.reason),
    };
    println!("== {:?}, seed {seed}, {:?}", like.0, small.prog_type);
    println!("kernel: {}\nours:   {}", text(&kernel), text(&ours));
    println!("{}", listing(&small.insns));
}
