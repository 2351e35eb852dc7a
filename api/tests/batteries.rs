//! `bpfvisor batch` over the batteries of `tests/src/battery`: compiled,
//! interpreted and in the running kernel. Verdicts, return values and packets
//! afterwards must be the same. Needs /dev/kvm and root.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor_tests::battery::{self, Line};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Longer programs cost the kernel most of the time.
const SHORT: usize = 2500;

/// The answers to these lines, one for each.
fn answers(file: &Path, lines: &[Line], option: &[&str]) -> Vec<Value> {
    let out = Command::new(env!("CARGO_BIN_EXE_bpfvisor"))
        .arg("batch")
        .args(option)
        .arg(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "needs /dev/kvm and root; {option:?}: {errors}"
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    let answers: Vec<Value> = text.lines().map(parse).collect();
    assert_eq!(answers.len(), lines.len());
    answers
}

/// What must be alike everywhere; R0 as a whole where the place knows it.
fn essence(answer: &Value) -> (Value, Vec<[Value; 2]>) {
    let runs = answer["runs"].as_array().unwrap().iter();
    (
        answer["verdict"].clone(),
        runs.map(|run| {
            assert!(run["error"].is_null(), "{answer}");
            [run["retval"].clone(), run["data_hex"].clone()]
        })
        .collect(),
    )
}

fn r0s(answer: &Value) -> Vec<Value> {
    let runs = answer["runs"].as_array().unwrap().iter();
    runs.map(|run| run["r0"].clone()).collect()
}

fn assert_alike(lines: &[Line]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("battery-{}", lines.len()));
    let text: Vec<String> = lines.iter().map(Line::to_json).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    let compiled = answers(&file, lines, &[]);
    let interpreted = answers(&file, lines, &["--interpret"]);
    let kernel = answers(&file, lines, &["--kernel"]);
    std::fs::remove_file(&file).unwrap();
    let mut differ = Vec::new();
    let mut accepted = 0;
    for (i, line) in lines.iter().enumerate() {
        let (ours, other) = (&compiled[i], &interpreted[i]);
        accepted += u32::from(ours["verdict"] == "accept");
        if essence(ours) != essence(other) || r0s(ours) != r0s(other) {
            differ.push(format!("{}: {ours}, interpreted {other}", line.name));
        }
        if essence(ours) != essence(&kernel[i]) {
            differ.push(format!("{}: {ours}, kernel {}", line.name, kernel[i]));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    println!("{accepted} of {} accepted", lines.len());
    assert!(accepted as usize * 100 > lines.len() * 95);
}

#[test]
fn short_programs_give_what_the_kernel_gives() {
    let lines: Vec<Line> = battery::all()
        .into_iter()
        .filter(|line| line.insns.len() <= SHORT)
        .collect();
    assert!(lines.len() > 2500, "{}", lines.len());
    assert_alike(&lines);
}

#[test]
#[ignore = "takes minutes, most of them in the kernel's verifier"]
fn long_programs_give_what_the_kernel_gives() {
    let lines: Vec<Line> = battery::all()
        .into_iter()
        .filter(|line| line.insns.len() > SHORT)
        .collect();
    assert!(lines.len() > 300, "{}", lines.len());
    assert_alike(&lines);
}
