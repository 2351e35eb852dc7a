//! A slice of the soak (`src/bin/bpfvisor-soak.rs`), and the memory of a VM. They
//! need /dev/kvm.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

fn soak(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_bpfvisor-soak"))
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}\n{errors}");
    println!("{text}");
    text
}

#[test]
fn a_hundred_vms_lose_no_packet_and_leave_nothing_behind() {
    let text = soak(&["--seconds", "12", "--vms", "100"]);
    assert!(text.contains("accounted for"), "{text}");
    assert!(!text.contains("\n0 clients killed"), "{text}");
}

/// With a limit that is reached: what is refused is refused whole.
fn soak_with(limit: &str, args: &str) {
    let bin = env!("CARGO_BIN_EXE_bpfvisor-soak");
    let script = format!("ulimit {limit}; exec timeout -k 5 120 {bin} {args}");
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}\n{errors}");
    assert!(!text.contains(" 0 refused"), "{text}");
}

#[test]
fn running_out_of_descriptors_is_refused_and_survived() {
    soak_with("-n 160", "--seconds 4 --vms 60");
}

/// With address space for some of them only, as where memory has run out. VMs that
/// could not be rebuilt for want of it once tried for ever, and everybody waited.
#[test]
fn running_out_of_memory_is_refused_and_survived() {
    soak_with("-v 2000000", "--seconds 3 --vms 200");
}

#[test]
fn an_idle_vm_takes_less_than_five_mebibytes() {
    soak(&["--memory", "20"]);
}
