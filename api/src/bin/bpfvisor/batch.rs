//! `bpfvisor batch`: many programs, one VM, one line of answer each.

mod answer;
mod kernel;
mod ours;
mod sys;
#[cfg(test)]
mod tests;

use crate::cli::BatchArgs;
use answer::Answer;
use anyhow::{Context, Result, bail};
use bpfvisor::input::question::Question;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

/// Who answers.
trait Oracle {
    /// Judges and runs one program. Errors of one line end up in its answer; an
    /// `Err` means that there is no going on.
    fn answer(&mut self, question: &Question) -> Result<Answer>;
}

/// Totals, for `--stats`.
#[derive(Default)]
struct Totals {
    lines: u64,
    accepted: u64,
    rejected: u64,
    unsupported: u64,
    runs: u64,
    failed_runs: u64,
}

/// Answers every line.
pub fn batch(args: &BatchArgs) -> Result<()> {
    let input: Box<dyn BufRead> = if args.file.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(&args.file);
        Box::new(BufReader::new(file.with_context(|| {
            format!("cannot open {}", args.file.display())
        })?))
    };
    let mut oracle: Box<dyn Oracle> = if args.kernel {
        Box::new(kernel::Kernel::new(args.log_level)?)
    } else {
        Box::new(ours::Ours::new(args)?)
    };
    let begin = Instant::now();
    let mut totals = Totals::default();
    let mut out = std::io::stdout().lock();
    each_line(input, |line| {
        let answer = reply(&mut *oracle, line)?;
        totals.count(&answer);
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    })?;
    if args.stats {
        totals.print(begin.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A line may hold a program of a million instructions in hex, and its packets.
const LONGEST_LINE: u64 = 256 << 20;

fn each_line(mut input: impl BufRead, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut part = std::io::Read::take(&mut input, LONGEST_LINE);
        if part
            .read_until(b'\n', &mut line)
            .context("cannot read the input")?
            == 0
        {
            return Ok(());
        }
        if line.len() as u64 == LONGEST_LINE {
            bail!("a line of the input is longer than {LONGEST_LINE} bytes");
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            each(&line)?;
        }
    }
}

/// The answer to one line, whatever is in it.
fn reply(oracle: &mut dyn Oracle, line: &[u8]) -> Result<Answer> {
    match Question::parse(line) {
        Ok(question) => oracle.answer(&question),
        Err(bad) => Ok(Answer::bad_line(bad.name, bad.reason)),
    }
}

impl Totals {
    fn count(&mut self, answer: &Answer) {
        self.lines += 1;
        match answer.verdict {
            answer::Verdict::Accept => self.accepted += 1,
            answer::Verdict::Reject => self.rejected += 1,
            answer::Verdict::Unsupported => self.unsupported += 1,
        }
        self.runs += answer.runs.len() as u64;
        self.failed_runs += answer.runs.iter().filter(|r| r.error.is_some()).count() as u64;
    }

    fn print(&self, seconds: f64) {
        eprintln!(
            "{} lines in {seconds:.2} s: {} accepted, {} rejected, {} unsupported; {} runs, \
             {} of them failed",
            self.lines, self.accepted, self.rejected, self.unsupported, self.runs, self.failed_runs
        );
    }
}
