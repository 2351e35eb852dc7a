#![allow(clippy::unwrap_used)]

//! The programs of `tests/cases/` get the verdicts that stand there: from us, and
//! (as root) from the running kernel.

use bpfvisor_tests::cases::{Case, Kernel, ours, parse};

/// The cases of every file, with the file's name.
fn files() -> Vec<(String, Vec<Case>)> {
    let folder = bpfvisor_tests::root().join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let cases = parse(&std::fs::read_to_string(&path).unwrap());
            (name, cases.unwrap())
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

#[test]
fn our_verdicts_are_those_of_the_files() {
    let mut wrong = Vec::new();
    for (file, cases) in files() {
        for case in &cases {
            let got = ours(case);
            if got.verdict != case.expected {
                let Case { name, expected, .. } = case;
                wrong.push(format!("{file}: {name}: {got:?}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where we answer `unsupported` the kernel may say what it likes, and in
/// `known.txt` it accepts. Programs that use the budget up are left out: while the
/// kernel is busy with one, everything else on the machine waits.
#[test]
fn the_kernels_verdicts_are_those_of_the_files() {
    let mut kernel = Kernel::new().unwrap();
    let mut wrong = Vec::new();
    for (file, cases) in files() {
        for case in &cases {
            let expected = match (file.as_str(), case.expected.as_str()) {
                ("known", _) => "accept",
                (_, "unsupported" | "reject 7") => continue,
                (_, expected) => expected,
            };
            if let Some(got) = kernel.judge(case).unwrap()
                && got.verdict != expected
            {
                wrong.push(format!(
                    "{file}: {}: {got:?}, expected {expected}",
                    case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
