//! `bpfvisor doctor`: what this machine can do, and what to fix.

use crate::cli::DoctorArgs;
use anyhow::{Result, bail};
use serde_json::json;
use std::fs;
use std::time::Instant;

/// One thing looked at.
struct Finding {
    what: &'static str,
    state: State,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Works, but slower or smaller than it could be.
    Hint,
    /// bpfvisor can't run.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Hint => "hint",
            Self::Bad => "FAIL",
        }
    }
}

/// Looks, prints, and fails where bpfvisor can't run.
pub fn doctor(args: &DoctorArgs) -> Result<()> {
    let findings = match &args.connect {
        Some(path) => vec![daemon(path)],
        None => vec![kvm(), boot(), huge_pages(), cores(), memory()],
    };
    if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({"check": f.what, "state": f.state.word(), "text": f.text}))
            .collect();
        println!("{}", json!({ "checks": list }));
    } else {
        for f in &findings {
            println!("{:<5} {:<11} {}", f.state.word(), f.what, f.text);
        }
    }
    if findings.iter().any(|f| f.state == State::Bad) {
        bail!("this machine can't run bpfvisor yet: see what is marked FAIL");
    }
    Ok(())
}

fn finding(what: &'static str, state: State, text: impl Into<String>) -> Finding {
    Finding {
        what,
        state,
        text: text.into(),
    }
}

fn kvm() -> Finding {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    let (state, text) = match opened {
        Ok(_) => (State::Good, "/dev/kvm can be opened".to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            (State::Bad, bpfvisor::HostError::NoKvm.to_string())
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            (State::Bad, bpfvisor::HostError::KvmPermission.to_string())
        }
        Err(e) => (State::Bad, format!("/dev/kvm: {e}")),
    };
    finding("kvm", state, text)
}

fn daemon(path: &std::path::Path) -> Finding {
    let start = Instant::now();
    match bpfvisor::Vm::connect(path) {
        Ok(vm) => {
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let text = format!("a daemon answers in {ms:.2} ms, {} vCPUs", vm.vcpus());
            finding("daemon", State::Good, text)
        }
        Err(e) => finding("daemon", State::Bad, e.to_string()),
    }
}

fn boot() -> Finding {
    let start = Instant::now();
    match bpfvisor::Vm::builder().boot() {
        Ok(_) => finding(
            "boot",
            State::Good,
            format!(
                "a VM boots in {:.2} ms",
                start.elapsed().as_secs_f64() * 1e3
            ),
        ),
        Err(e) => finding("boot", State::Bad, e.to_string()),
    }
}

fn huge_pages() -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let setting = fs::read_to_string(path).unwrap_or_default();
    if setting.contains("[always]") || setting.contains("[madvise]") {
        return finding(
            "huge pages",
            State::Good,
            "transparent huge pages can be asked for",
        );
    }
    finding(
        "huge pages",
        State::Hint,
        format!("none: first use of memory is slow; echo madvise > {path}"),
    )
}

fn cores() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, |n| n.get());
    if count > 1 {
        return finding("cores", State::Good, format!("{count} usable"));
    }
    finding(
        "cores",
        State::Hint,
        "only 1: every call must switch between caller and vCPU",
    )
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0);
    let state = if available < 64 << 10 {
        State::Hint
    } else {
        State::Good
    };
    finding(
        "memory",
        state,
        format!("{} MiB available", available >> 10),
    )
}
