//! The command line as a person meets it: what it prints, and one clear message
//! with a non-zero exit for each mistake. Needs /dev/kvm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn resources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("resources")
}

fn program(name: &str) -> String {
    resources()
        .join("programs")
        .join(name)
        .display()
        .to_string()
}

fn capture() -> String {
    resources()
        .join("captures/mixed.pcap")
        .display()
        .to_string()
}

fn bpfvisor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bpfvisor"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What it printed, after it went well.
fn good(arguments: &[&str]) -> String {
    let out = bpfvisor(arguments);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?} failed: {errors}");
    String::from_utf8(out.stdout).unwrap()
}

/// The message, after it failed: one line on stderr, and it says `words`.
fn bad(arguments: &[&str], words: &[&str]) {
    let out = bpfvisor(arguments);
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success(), "{arguments:?} went well");
    for word in words {
        assert!(
            message.contains(word),
            "{arguments:?}: no {word:?} in {message:?}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn run_prints_verdicts_maps_and_rates() {
    let text = good(&["run", &program("xdp_firewall.o"), "--pcap", &capture()]);
    for part in [
        "282  XDP_PASS",
        "60  XDP_DROP",
        "map rules",
        "boot",
        "packets/s",
        "342 packets",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn run_prints_json() {
    let text = good(&[
        "run",
        &program("xdp_firewall.o"),
        "--pcap",
        &capture(),
        "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["verdicts"]["XDP_PASS"], 282);
    assert_eq!(json["verdicts"]["XDP_DROP"], 60);
    assert_eq!(json["packets"], 342);
    assert_eq!(json["globals"]["bytes_seen"], 125_663);
    assert!(json["boot_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(
        json["maps"]["reasons"]["elements"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn interpreter_and_compiler_agree() {
    let arguments = |mode: &[&str]| -> Vec<String> {
        let fixed = [
            "run",
            &program("flow_counter.o"),
            "--pcap",
            &capture(),
            "--json",
        ];
        fixed.iter().chain(mode).map(|a| (*a).to_string()).collect()
    };
    let run = |mode: &[&str]| {
        let owned = arguments(mode);
        let text = good(&owned.iter().map(String::as_str).collect::<Vec<_>>());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        (
            json["verdicts"].clone(),
            json["globals"].clone(),
            json["packets"].clone(),
        )
    };
    assert_eq!(run(&[]), run(&["--interpret"]));
}

#[test]
fn one_packet_comes_from_hex_or_a_file() {
    let hex = "02000000000b02000000000a0800450000140007000040010000c0000201c0000202";
    let text = good(&["run", &program("xdp_firewall.o"), "--hex", hex, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["verdicts"]["XDP_PASS"], 1);
    let file = scratch("packet.bin");
    std::fs::write(&file, [0u8; 20]).unwrap();
    let text = good(&[
        "run",
        &program("xdp_firewall.o"),
        "--data",
        file.to_str().unwrap(),
        "--repeat",
        "5",
    ]);
    assert!(text.contains("XDP_PASS"), "{text}");
}

#[test]
fn passed_packets_are_written_as_the_program_left_them() {
    let out = scratch("rewritten.pcap");
    let name = out.to_str().unwrap();
    good(&[
        "run",
        &program("xdp_rewriter.o"),
        "--pcap",
        &capture(),
        "--write-pcap",
        name,
    ]);
    // Reading it back, nothing is left to rewrite but what one pass leaves: the
    // outer tags are gone and the padding is cut.
    let text = good(&["run", &program("xdp_rewriter.o"), "--pcap", name, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["globals"]["bytes_trimmed"], 0);
    assert!(json["packets"].as_u64().unwrap() > 300);
    assert!(json["globals"]["tags_removed"].as_u64().unwrap() < 10);
}

#[test]
fn counters_are_printed_on_request() {
    let text = good(&[
        "run",
        &program("xdp_firewall.o"),
        "--pcap",
        &capture(),
        "--stats",
    ]);
    assert!(text.contains("boot_ns"), "{text}");
}

#[test]
fn programs_can_be_verified_and_dumped() {
    let log = good(&["verify", &program("xdp_firewall.o"), "--log-level", "2"]);
    assert!(log.contains("processed"), "{log}");
    let text = good(&["prog", "dump", &program("xdp_firewall.o"), "xlated"]);
    assert!(text.contains("exit"), "{text}");
    assert!(!good(&["prog", "dump", &program("xdp_firewall.o"), "jited"]).is_empty());
}

#[test]
fn each_mistake_gets_its_message() {
    let firewall = program("xdp_firewall.o");
    bad(
        &["run", "nothing.o", "--hex", "00"],
        &["nothing.o", "No such file"],
    );
    bad(
        &["run", &firewall, "--pcap", "nothing.pcap"],
        &["nothing.pcap"],
    );
    bad(
        &["run", &firewall, "--prog", "other", "--hex", "00"],
        &["other", "firewall"],
    );
    bad(&["run", &firewall, "--hex", "0g"], &["position 1"]);
    bad(&["run", &capture(), "--hex", "00"], &["not an ELF file"]);
    bad(
        &["run", &firewall, "--pcap", &firewall],
        &["not a capture file"],
    );
    bad(
        &["run", &firewall, "--hex", "00", "--set", "nothing=1"],
        &["nothing"],
    );
    bad(&["run", &firewall], &["--pcap"]);
}

#[test]
fn a_damaged_capture_says_where() {
    let whole = std::fs::read(capture()).unwrap();
    let cut = scratch("cut.pcap");
    std::fs::write(&cut, &whole[..5000]).unwrap();
    bad(
        &[
            "run",
            &program("xdp_firewall.o"),
            "--pcap",
            cut.to_str().unwrap(),
        ],
        &["cut", "packet"],
    );
}

#[test]
fn a_damaged_object_never_panics() {
    let whole = std::fs::read(program("xdp_firewall.o")).unwrap();
    let file = scratch("damaged.o");
    for (n, at) in (0..whole.len()).step_by(whole.len() / 40).enumerate() {
        let mut bytes = whole.clone();
        if n % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 0xff;
        }
        std::fs::write(&file, &bytes).unwrap();
        let out = bpfvisor(&["verify", file.to_str().unwrap()]);
        let message = String::from_utf8_lossy(&out.stderr);
        assert!(!message.contains("panicked"), "byte {at}: {message}");
        assert!(out.status.code().is_some(), "byte {at}: killed by a signal");
    }
}

/// Runs the conformance plugin with `program` on stdin.
fn plugin(arguments: &[&str], program: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bpfvisor-plugin"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn plugin_speaks_the_conformance_protocol() {
    // r0 = *(u8 *)(r1 +1); exit
    let load = "71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00";
    for arguments in [&["aa bb"][..], &["aabb"], &["aabb", "--interpret"]] {
        let out = plugin(arguments, load);
        assert_eq!(
            String::from_utf8_lossy(&out.stdout).trim(),
            "bb",
            "{arguments:?}"
        );
        assert!(out.status.success());
    }
    let rejected = plugin(&["aa"], load);
    assert!(!rejected.status.success());
    assert!(!rejected.stderr.is_empty());
    assert!(!plugin(&[], "b7").status.success());
}

#[test]
fn manual_pages_name_every_command() {
    let folder = std::env::temp_dir().join(format!("bpfvisor-man-{}", std::process::id()));
    let folder = folder.to_str().unwrap();
    bad(&["man", folder], &["manual pages into", folder]);
    std::fs::create_dir(folder).unwrap();
    good(&["man", folder]);
    for page in ["bpfvisor", "bpfvisor-run", "bpfvisor-prog-dump"] {
        let text = std::fs::read_to_string(format!("{folder}/{page}.1")).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
