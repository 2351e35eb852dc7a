//! `bpfvisor --connect`.

use super::support::*;
use serde_json::Value;
use std::process::{Command, Output};

fn bpfvisor(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfvisor"));
    command.arg("--connect").arg(daemon.path()).args(arguments);
    command.output().unwrap()
}

fn good(daemon: &Daemon, arguments: &[&str]) -> String {
    let out = bpfvisor(daemon, arguments);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(out.stdout).unwrap()
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    serde_json::from_str(&good(daemon, arguments)).unwrap()
}

fn bad(daemon: &Daemon, arguments: &[&str], words: &str) {
    let out = bpfvisor(daemon, arguments);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && errors.contains(words),
        "{arguments:?}: {errors}"
    );
}

#[test]
fn programs_and_maps_by_the_command_line() {
    let daemon = Daemon::start(&["--jail"]);
    let object = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../resources/programs/xdp_firewall.o");
    let object = object.to_str().unwrap();
    assert_eq!(good(&daemon, &["prog", "list"]), "");
    good(&daemon, &["prog", "load", object, "fw"]);
    bad(&daemon, &["prog", "load", object, "fw"], "pinned already");
    let list = json(&daemon, &["prog", "list", "--json"]);
    assert_eq!(
        (&list[0]["type"], &list[0]["pinned"][0]),
        (&"xdp".into(), &"fw".into())
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.unwrap().as_secs() as i64 - list[0]["loaded_at"].as_i64().unwrap();
    assert!((-5..60).contains(&age), "loaded {age} s ago");
    let text = good(&daemon, &["prog", "list"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("1: xdp  name firewall  tag "),
        "{text}"
    );
    assert!(
        lines[1].starts_with("\tloaded_at 20") && lines[1].ends_with("+0000"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("\txlated ") && lines[2].contains("B  map_ids "),
        "{text}"
    );
    assert_eq!(lines[3], "\tpinned fw");
    let frame = "00".repeat(64);
    let ran = json(&daemon, &["prog", "run", "fw", "--hex", &frame, "-j"]);
    assert!(ran["retval"].is_u64(), "{ran}");
    assert!(good(&daemon, &["prog", "dump", "fw"]).contains("exit"));
    assert!(
        !json(&daemon, &["map", "list", "-j"])
            .as_array()
            .unwrap()
            .is_empty()
    );

    let create = [
        "map", "create", "t", "--type", "hash", "--key", "4", "--value", "8",
    ];
    good(&daemon, &[&create[..], &["--entries", "10"]].concat());
    let update = ["map", "update", "t", "key", "hex", "01", "00", "00", "0a"];
    good(
        &daemon,
        &[
            &update[..],
            &["value", "7", "0", "0", "0", "0", "0", "0", "0"],
        ]
        .concat(),
    );
    let found = good(&daemon, &["map", "dump", "t"]);
    assert_eq!(
        found,
        "key: 01 00 00 0a  value: 07 00 00 00 00 00 00 00\nFound 1 element\n"
    );
    let one = json(
        &daemon,
        &["map", "lookup", "-j", "t", "key", "1", "0", "0", "10"],
    );
    assert_eq!(one["value"][0], "0x07");
    good(&daemon, &["map", "delete", "t", "key", "1", "0", "0", "10"]);
    bad(
        &daemon,
        &["map", "lookup", "t", "key", "1", "0", "0", "10"],
        "Not found",
    );
    bad(
        &daemon,
        &["map", "dump", "nothing"],
        "there is no map named",
    );
    good(&daemon, &["map", "unpin", "t"]);
    good(&daemon, &["prog", "unload", "fw"]);
    let all_gone = || json(&daemon, &["map", "list", "-j"]) == Value::Array(Vec::new());
    let left = || good(&daemon, &["map", "list"]);
    assert!(eventually(all_gone), "{}", left());
    assert!(good(&daemon, &["doctor"]).contains("a daemon answers"));
}

#[test]
fn no_daemon_is_said_clearly() {
    let mut daemon = Daemon::start(&[]);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    bad(&daemon, &["map", "list"], "no daemon answers at");
    let out = bpfvisor(&daemon, &["doctor"]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        !out.status.success() && said.contains("no daemon answers"),
        "{said}"
    );
    let alone = Command::new(env!("CARGO_BIN_EXE_bpfvisor"))
        .args(["map", "list"])
        .output();
    let errors = String::from_utf8(alone.unwrap().stderr).unwrap();
    assert!(errors.contains("--connect PATH"), "{errors}");
}

fn resource(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources");
    path.join(name).to_str().unwrap().into()
}

/// What `--connect` answers is what a VM of the command's own answers.
#[test]
fn run_verify_and_batch_are_the_same_there() {
    let daemon = Daemon::start(&["--jail"]);
    let alone = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bpfvisor"));
        let out = command.args(arguments).output().unwrap();
        assert!(out.status.success(), "{arguments:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let (object, capture) = (
        resource("programs/xdp_firewall.o"),
        resource("captures/mixed.pcap"),
    );
    let run = ["run", &object, "--pcap", &capture, "--json"];
    let figures = |text: &str| {
        let mut all: Value = serde_json::from_str(text).unwrap();
        // Hash tables are walked in the order of their seeds.
        for (_, map) in all["maps"].as_object_mut().unwrap() {
            if let Some(elements) = map["elements"].as_array_mut() {
                elements.sort_by_key(Value::to_string);
            }
        }
        (all["verdicts"].clone(), all["maps"].clone())
    };
    let (there, here) = (figures(&good(&daemon, &run)), figures(&alone(&run)));
    assert!(!there.0.is_null() && !there.1.is_null(), "{there:?}");
    assert_eq!(there, here);

    let verify = ["verify", &object, "--log-level", "2"];
    // The guest calls its maps otherwise each time.
    let instructions = |text: &str| {
        let lines = text
            .lines()
            .filter(|l| l.contains(": (") && !l.contains("map[id:"));
        let texts = lines.map(|l| l.split(';').next().unwrap_or_default().to_string());
        texts.collect::<Vec<_>>()
    };
    let (there, here) = (
        instructions(&good(&daemon, &verify)),
        instructions(&alone(&verify)),
    );
    assert!(there.len() > 20);
    assert_eq!(there, here);

    let questions = daemon.place.0.join("questions.jsonl");
    let pass = r#"{"name": "a", "prog_type": "xdp", "insns_hex": "b700000002000000 9500000000000000",
        "runs": [{"data_hex": "000000000000000000000000000000000000"}]}"#;
    let bad = r#"{"name": "b", "prog_type": "xdp", "insns_hex": "9500000000000000"}"#;
    let map = r#"{"name": "c", "prog_type": "xdp", "insns_hex":
        "1801000000000000 0000000000000000 b700000001000000 9500000000000000",
        "maps": [{"type": "hash", "key_size": 4, "value_size": 8, "max_entries": 4}],
        "fixups": [{"insn": 0, "map": 0}]}"#;
    let lines = [pass, bad, map].map(|line| line.replace("\n", " ").replace("00 ", "00"));
    std::fs::write(&questions, lines.join("\n") + "\n").unwrap();
    let batch = ["batch", questions.to_str().unwrap()];
    let verdicts = |text: &str| {
        let lines = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        let fields = ["name", "verdict", "errno", "insn"];
        let each = lines.map(|l| fields.map(|f| l[f].clone()));
        each.collect::<Vec<_>>()
    };
    let (there, here) = (verdicts(&good(&daemon, &batch)), verdicts(&alone(&batch)));
    assert_eq!(there.len(), 3);
    assert_eq!(
        (&there[0][1], &there[1][1]),
        (&"accept".into(), &"reject".into())
    );
    assert_eq!(there, here);
    // Nothing stays there.
    let left = || json(&daemon, &["prog", "list", "-j"]) == Value::Array(Vec::new());
    assert!(eventually(left));
}
