//! The jail: all normal work goes on in it, and what it forbids is the end of the
//! daemon and of nobody else.

use super::support::*;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

const SIGSYS: i32 = 31;

#[test]
fn forbidden_calls_end_the_daemon() {
    let calls = [
        "main:exec",
        "main:open",
        "vcpu:open",
        "vcpu:socket",
        "session:exec",
        "session:code",
        "warden:kill",
        "fds:open",
    ];
    for call in calls {
        let place = Place::new();
        let mut command = command(&place, &["--jail", "--provoke", call]);
        let status = command.stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(SIGSYS), "{call}: {status}");
    }
}

#[test]
fn without_the_jail_they_are_let_through() {
    let place = Place::new();
    let out = command(&place, &["--provoke", "vcpu:open"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(text.contains("let \"open\" through"), "{text}");
}

#[test]
fn a_jailed_daemon_has_no_rights_left() {
    let daemon = Daemon::start(&["--jail"]);
    let vm = daemon.connect();
    let (prog, _map) = counting(&vm);
    prog.run(&FRAME).unwrap();
    let tasks = format!("/proc/{}/task", daemon.child.id());
    let mut names = Vec::new();
    for task in std::fs::read_dir(tasks).unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_string()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("CapPrm:"), "0000000000000000");
        assert_eq!(field("Seccomp:"), "2");
        let narrowed = field("Name:") == "bpfvisor-vmm" || field("Seccomp_filters:") == "2";
        assert!(narrowed, "{} has one filter only", field("Name:"));
        names.push(field("Name:"));
    }
    for name in [
        "bpfvisor-vcpu0",
        "bpfvisor-warden",
        "bpfvisor-client",
        "bpfvisor-fds",
    ] {
        assert!(names.iter().any(|n| n == name), "no {name} in {names:?}");
    }
}

#[test]
fn all_work_goes_on_in_the_jail() {
    let daemon = Daemon::start(&["--jail", "--namespaces", "--vcpus", "2"]);
    super::work(&daemon);
}
