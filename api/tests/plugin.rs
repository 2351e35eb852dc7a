//! `bpfvisor-plugin`, as suites call it. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn plugin(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bpfvisor-plugin"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that has its program elsewhere does not read this.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn answer(args: &[&str], stdin: &str) -> String {
    let out = plugin(args, stdin);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {errors}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn refusal(args: &[&str], stdin: &str) -> String {
    let out = plugin(args, stdin);
    assert!(!out.status.success() && out.stdout.is_empty(), "{out:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// r0 = r2; exit
const LENGTH: &str = "bf 20 00 00 00 00 00 00 95 00 00 00 00 00 00 00";
/// r0 = *(u8 *)(r1 +1); exit
const SECOND: &str = "7110010000000000\n9500000000000000\n";

#[test]
fn memory_and_program_come_in_many_spellings() {
    for memory in [
        "0011",
        "00 11",
        "0x0011",
        "0x00 0x11",
        "00\n11\n",
        " 00 11 ",
    ] {
        assert_eq!(answer(&[memory], SECOND), "11", "{memory:?}");
    }
    assert_eq!(answer(&[], LENGTH), "0");
    assert_eq!(answer(&[""], LENGTH), "0");
    assert_eq!(answer(&["--interpret", "aabbcc"], LENGTH), "3");
    assert_eq!(answer(&["aabbcc", "--debug", "--interpret"], LENGTH), "3");
    assert_eq!(answer(&["aabb"], &LENGTH.replace(' ', "")), "2");
    assert_eq!(answer(&["aabb"], &LENGTH.to_uppercase()), "2");
    let with_prefix = format!("0x{}", LENGTH.replace(' ', " 0x"));
    assert_eq!(answer(&["aabb"], &with_prefix), "2");
}

#[test]
fn the_program_may_be_an_argument_or_a_file() {
    assert_eq!(answer(&["--program", LENGTH, "aabb"], ""), "2");
    let path = std::env::temp_dir().join(format!("plugin-{}.hex", std::process::id()));
    std::fs::write(&path, LENGTH).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(answer(&["aabb", "--program", path], ""), "2");
    assert_eq!(answer(&[&format!("--program={path}"), "aabb"], ""), "2");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn results_are_whole_registers() {
    // r0 = -2; exit
    let text = "b7000000feffffff9500000000000000";
    assert_eq!(answer(&[], text), "fffffffffffffffe");
}

#[test]
fn helpers_and_local_calls_work() {
    // call bpf_ktime_get_ns; r0 >>= 63; exit
    let clock = "8500000005000000 770000003f000000 9500000000000000";
    // call pc+1; exit; r0 = 7; exit
    let local = "8510000001000000 9500000000000000 b700000007000000 9500000000000000";
    for mode in [&[][..], &["--interpret"]] {
        assert_eq!(answer(mode, clock), "0");
        assert_eq!(answer(mode, local), "7");
    }
}

#[test]
fn what_does_not_load_is_said_and_fails() {
    // r0 = *(u8 *)(r1 +2); exit, over two bytes
    let beyond = "7110020000000000 9500000000000000";
    assert!(refusal(&["0011"], beyond).contains("rejected at instruction 0"));
    assert!(refusal(&[], "").contains("not whole instructions"));
    assert!(refusal(&[], "b7 00").contains("not whole instructions"));
    assert!(refusal(&[], "xy").contains("not a hex digit"));
    assert!(refusal(&["0"], LENGTH).contains("odd number"));
    assert!(refusal(&["--program"], LENGTH).contains("--program"));
}
