//! Runs random programs compiled in a VM, interpreted in a VM and in the kernel,
//! and reports where they differ. Needs root and /dev/kvm.
//!
//!     bpfvisor-fuzz [--seed N] [--count N] [--kind alu|bounds|mutant|packets|all]
//!                   [--minimise SECONDS] [--keep DIR]
//!     bpfvisor-fuzz --replay FILE
//!
//! Case N of kind K is always the same program. Each mismatch is made smaller for
//! at most `--minimise` seconds (default 20, 0 for not at all), printed, and with
//! `--keep` written to DIR as a text case, which `--replay` runs again. Exits with 1 where something differs.

use bpfvisor_tests::fuzz::text::{self, Kept};
use bpfvisor_tests::fuzz::{Case, Finding, Fuzzer, Outcome, Source};
use bpfvisor_tests::generate::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Cases that run in one place before they run in the next.
const TOGETHER: usize = 64;

struct Args {
    seed: u64,
    count: u64,
    kinds: Vec<(String, Source)>,
    minimise: Duration,
    keep: Option<PathBuf>,
    replay: Option<PathBuf>,
}

const ALL: [(&str, Source); 4] = [
    ("alu", Source::Generated(Kind::Alu)),
    ("bounds", Source::Generated(Kind::Bounds)),
    ("mutant", Source::Generated(Kind::Mutant)),
    ("packets", Source::Packets),
];

impl Args {
    fn parse() -> Result<Self, String> {
        let mut args = Self {
            seed: 1,
            count: 1000,
            kinds: ALL.map(|(name, source)| (name.to_owned(), source)).to_vec(),
            minimise: Duration::from_secs(20),
            keep: None,
            replay: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || value.parse().map_err(|e| format!("{word} {value}: {e}"));
            match word.as_str() {
                "--seed" => args.seed = number()?,
                "--count" => args.count = number()?,
                "--minimise" => args.minimise = Duration::from_secs(number()?),
                "--keep" => args.keep = Some(value.into()),
                "--replay" => args.replay = Some(value.into()),
                "--kind" if value == "all" => {}
                "--kind" => {
                    let source = Source::from_name(&value).ok_or_else(|| {
                        format!("--kind {value}: not alu, bounds, mutant, packets or all")
                    })?;
                    args.kinds = vec![(value, source)];
                }
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    match Args::parse().and_then(run) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("bpfvisor-fuzz: {message}");
            ExitCode::from(2)
        }
    }
}

/// Gives the number of mismatches.
fn run(args: Args) -> Result<u64, String> {
    let mut fuzzer = Fuzzer::new()?;
    if let Some(path) = &args.replay {
        return replay(&mut fuzzer, path);
    }
    let mut mismatches = 0;
    for (name, source) in &args.kinds {
        let mut tally = Tally::default();
        let end = args.seed.saturating_add(args.count);
        for first in (args.seed..end).step_by(TOGETHER) {
            let seeds = first..end.min(first.saturating_add(TOGETHER as u64));
            let case = |seed| Case::generate(*source, seed);
            let cases: Vec<Case> = seeds.clone().map(case).collect();
            let findings = fuzzer.examine_all(&cases);
            for ((seed, case), finding) in seeds.zip(&cases).zip(&findings) {
                if finding.is_notable() {
                    mismatches += 1;
                    show(&mut fuzzer, &args, &format!("{name}-{seed}"), case, finding)?;
                }
                tally.add(finding);
            }
            tally.progress(name, args.count);
        }
        tally.print(name);
    }
    eprintln!("VMs that died: {}", fuzzer.deaths());
    Ok(mismatches)
}

/// Runs a text case and prints what came of it.
fn replay(fuzzer: &mut Fuzzer, path: &Path) -> Result<u64, String> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|e| format!("{}: {e}", path.display()))?;
    let kept = text::read(&text)?;
    let places = ["kernel", "compiled", "interpreted"];
    for (place, outcome) in places.iter().zip(fuzzer.outcomes(&kept.case)) {
        println!("{place}: {outcome:02x?}");
    }
    let finding = fuzzer.examine(&kept.case);
    println!("{finding:?}");
    Ok(finding.is_notable().into())
}

/// What came of one kind.
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    total: u64,
    begin: Instant,
    told: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            counts: BTreeMap::new(),
            total: 0,
            begin: now,
            told: now,
        }
    }
}

impl Tally {
    fn add(&mut self, finding: &Finding) {
        *self.counts.entry(finding.name()).or_default() += 1;
        self.total += 1;
    }

    fn useful(&self) -> u64 {
        let same = self.counts.get(Finding::Same.name());
        100 * same.copied().unwrap_or(0) / self.total.max(1)
    }

    fn rate(&self) -> u64 {
        (self.total as f64 / self.begin.elapsed().as_secs_f64()) as u64
    }

    fn progress(&mut self, name: &str, count: u64) {
        if self.told.elapsed() > Duration::from_secs(5) {
            self.told = Instant::now();
            eprintln!(
                "{name}: {} of {count}, {}/s, {}% ran everywhere",
                self.total,
                self.rate(),
                self.useful()
            );
        }
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: {} programs, {}/s, {}% ran everywhere with the same results",
            self.total,
            self.rate(),
            self.useful()
        );
        for (what, n) in &self.counts {
            println!("{n:9} {what}");
        }
    }
}

fn show(
    fuzzer: &mut Fuzzer,
    args: &Args,
    name: &str,
    case: &Case,
    finding: &Finding,
) -> Result<(), String> {
    let small = match args.minimise.is_zero() {
        true => case.clone(),
        false => fuzzer.minimise(case, finding, args.minimise),
    };
    let now = fuzzer.examine(&small);
    let [kernel, _, interpreted] = fuzzer.outcomes(&small);
    let runs = match (&kernel, &interpreted) {
        (Outcome::Ran(seen), _) | (_, Outcome::Ran(seen)) => seen.runs.clone(),
        _ => Vec::new(),
    };
    let kept = Kept {
        case: small,
        runs,
        kernel_differs: false,
    };
    let why = format!("{name}: {finding:?}\nhere: {now:?}");
    let text = text::write(&kept, &why);
    println!("{text}");
    if let Some(dir) = &args.keep {
        let path = dir.join(format!("{name}.txt"));
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
