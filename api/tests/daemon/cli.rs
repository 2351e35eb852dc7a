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
