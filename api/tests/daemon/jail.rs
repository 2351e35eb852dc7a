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

/// What a daemon says that was told to do something forbidden.
fn provoked(arguments: &[&str], what: &str) -> String {
    let place = Place::new();
    let out = command(&place, &[arguments, &["--provoke", what]].concat()).output();
    String::from_utf8_lossy(&out.unwrap().stderr).into_owned()
}

#[test]
fn without_the_jail_they_are_let_through() {
    for what in ["open", "list", "socket", "exec", "kill", "code"] {
        let text = provoked(&[], &format!("vcpu:{what}"));
        assert!(text.contains(&format!("let {what:?} through")), "{text}");
    }
}

/// Landlock and the limits hold by themselves, on every thread.
#[test]
fn each_wall_holds_without_the_filters() {
    for role in ["main", "vcpu", "session", "warden", "fds"] {
        for (what, error) in [
            ("open", "Permission denied"),
            ("write", "Permission denied"),
            ("list", "Permission denied"),
            ("exec", "Permission denied"),
            ("socket", "Permission denied"),
            ("files", "Too many open files"),
        ] {
            let arguments = ["--jail", "--no-seccomp", "--files", "64"];
            let text = provoked(&arguments, &format!("{role}:{what}"));
            assert!(text.contains(error), "{role}:{what}: {text}");
        }
    }
}

/// The limits, the namespaces and the filters of a daemon that works, as the kernel
/// tells them.
#[test]
fn limits_and_namespaces_are_what_was_asked_for() {
    let of = |daemon: &Daemon, file: &str| format!("/proc/{}/{file}", daemon.child.id());
    let daemon = Daemon::start(&["--jail", "--no-seccomp", "--files", "77", "--namespaces"]);
    let limits = std::fs::read_to_string(of(&daemon, "limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|l| l.starts_with(name)).unwrap();
        let words: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        words.join(" ")
    };
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max open files"), "77 77");
    for (space, left) in [
        ("net", true),
        ("mnt", true),
        ("ipc", true),
        ("uts", true),
        ("pid", false),
    ] {
        let theirs = std::fs::read_link(of(&daemon, &format!("ns/{space}"))).unwrap();
        let ours = std::fs::read_link(format!("/proc/self/ns/{space}")).unwrap();
        assert_eq!(theirs != ours, left, "{space}");
    }
    let status = std::fs::read_to_string(of(&daemon, "status")).unwrap();
    let is = |field: &str, value: &str| {
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(value), "{line}");
    };
    is("NoNewPrivs:", "1");
    is("CapEff:", "0000000000000000");
    is("Seccomp:", "0");
    let vm = daemon.connect();
    let (prog, map) = counting(&vm);
    prog.run(&FRAME).unwrap();
    assert_eq!(number(&map, 0), 1);
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
