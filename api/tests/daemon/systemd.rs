//! Started as systemd starts it: the test plays systemd.

use super::support::*;
use bpfvisor::Vm;
use rustix::net::*;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn it_takes_a_socket_and_tells_when_it_is_ready() {
    let place = Place::new();
    let kind = SocketType::SEQPACKET;
    let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::empty(), None).unwrap();
    bind(&listener, &SocketAddrUnix::new(place.socket()).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let notify = place.0.join("notify");
    let heard = UnixDatagram::bind(&notify).unwrap();
    heard
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // The shell puts the socket where systemd would, and becomes the daemon.
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" --jail \
                  --memory 64";
    let child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_bpfvisor-vmm")])
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::from(listener.as_fd().try_clone_to_owned().unwrap()))
        .spawn()
        .unwrap();
    drop(listener);
    let daemon = Daemon { child, place };
    let mut buffer = [0; 256];
    let len = heard.recv(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    assert!(text.lines().any(|l| l == "READY=1"), "{text}");
    let vm = Vm::connect(daemon.path()).unwrap();
    let (prog, map) = counting(&vm);
    prog.run(&FRAME).unwrap();
    assert_eq!(number(&map, 0), 1);
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let script = "exec 3</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bpfvisor-vmm")]);
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && text.contains("no listening"),
        "{text}"
    );
}

/// The unit files name options that there are, and the socket type we speak.
#[test]
fn the_unit_files_fit() {
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/systemd");
    let read = |name: &str| std::fs::read_to_string(units.join(name)).unwrap();
    let (service, socket) = (read("bpfvisor-vmm.service"), read("bpfvisor-vmm.socket"));
    assert!(socket.contains("ListenSequentialPacket="));
    let start = service
        .lines()
        .find(|l| l.starts_with("ExecStart="))
        .unwrap();
    let options = start
        .split_whitespace()
        .skip(1)
        .filter(|w| w.starts_with("--"));
    let help = Command::new(env!("CARGO_BIN_EXE_bpfvisor-vmm"))
        .arg("--help")
        .output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let mut count = 0;
    for option in options {
        assert!(help.contains(option), "{option}");
        count += 1;
    }
    assert!(count > 0 && service.contains("Type=notify") && start.contains("--jail"));
}

/// What systemd itself makes of the units, where its tools are installed.
#[test]
fn systemd_takes_the_units() {
    let place = Place::new();
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/systemd");
    for name in ["bpfvisor-vmm.service", "bpfvisor-vmm.socket"] {
        let text = std::fs::read_to_string(units.join(name)).unwrap();
        let installed = text.replace("/usr/bin/bpfvisor-vmm", env!("CARGO_BIN_EXE_bpfvisor-vmm"));
        std::fs::write(place.0.join(name), installed).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(["bpfvisor-vmm.service", "bpfvisor-vmm.socket"].map(|name| place.0.join(name)))
        .output();
    let Ok(out) = verify else {
        return eprintln!("skipped: systemd-analyze is not installed");
    };
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && !errors.contains("bpfvisor"),
        "{errors}"
    );
}

/// The same with systemd's own hand, where it is installed: it starts the daemon at the
/// first connection.
#[test]
fn systemd_starts_it_at_the_first_connection() {
    let place = Place::new();
    let child = Command::new("systemd-socket-activate")
        .args(["--seqpacket", "--listen"])
        .arg(place.socket())
        .arg(env!("CARGO_BIN_EXE_bpfvisor-vmm"))
        .args(["--jail", "--memory", "64"])
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        return eprintln!("skipped: systemd-socket-activate is not installed");
    };
    let daemon = Daemon { child, place };
    assert!(eventually(|| daemon.path().exists()));
    let vm = Vm::connect(daemon.path()).unwrap();
    let (prog, map) = counting(&vm);
    prog.run(&FRAME).unwrap();
    assert_eq!(number(&map, 0), 1);
}
