//! What the running kernel and our verifier say to cases in the one-line spelling
//! (see `bpfvisor_tests::cases`), given in files without their verdicts.
//!
//!     verifier_cases [--all] FILE...
//!
//! Prints the cases where the verdicts differ, with both reasons; with `--all`,
//! every case with the kernel's verdict added, ready to be kept. Exits with 1
//! where verdicts differ.

use bpfvisor_tests::cases::{Kernel, line, ours};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (flags, files): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let all = flags.iter().any(|f| f == "--all");
    let mut differ = 0;
    for file in &files {
        match compare(file, all) {
            Ok(n) => differ += n,
            Err(e) => {
                eprintln!("verifier_cases: {file}: {e}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(differ > 0))
}

/// The number of cases that are judged differently.
fn compare(file: &str, all: bool) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut kernel = Kernel::new().map_err(|e| e.to_string())?;
    let (mut differ, mut count) = (0, 0);
    for text in text.lines() {
        if text.is_empty() || text.starts_with('#') {
            if all {
                println!("{text}");
            }
            continue;
        }
        let case = match line(text) {
            Ok(case) => case,
            Err(e) => {
                eprintln!("{e}");
                continue;
            }
        };
        count += 1;
        let ours = ours(&case);
        let theirs = kernel.judge(&case).map_err(|e| e.to_string())?;
        let Some(theirs) = theirs else { continue };
        let same = ours.verdict == theirs.verdict;
        differ += usize::from(!same);
        if all {
            let bare = text
                .strip_suffix(&format!(" = {}", case.expected))
                .unwrap_or(text);
            println!("{bare} = {}", theirs.verdict);
        } else if !same {
            let why = kernel.explain(&case).map_err(|e| e.to_string())?;
            println!("{text}\n  kernel {why:?}\n  ours {ours:?}");
        }
    }
    eprintln!("{file}: {differ} of {count} differ");
    Ok(differ)
}
