//! The daemon: one VM for other processes, in a jail.
#![allow(missing_docs)]

mod cli;
mod systemd;

use anyhow::{Context, Result, bail};
use bpfvisor_vmm::daemon::{self, Ended, Policy, Server};
use bpfvisor_vmm::jail::{self, Role};
use bpfvisor_vmm::{Config, Vm};
use clap::Parser;
use cli::Cli;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bpfvisor-vmm: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// What needs the world outside comes first, then the jail, then the guest.
fn run(cli: &Cli) -> Result<()> {
    let listener = listener(cli)?;
    let mut manager = systemd::Manager::from_environment();
    if cli.jail {
        jail::enter(&cli.limits()).context("cannot enter the jail")?;
    }
    let vm = Vm::boot(config(cli))?;
    let policy = Policy {
        uids: cli.allow_uid.clone(),
    };
    let server = Server::new(vm, policy).context("cannot start the server")?;
    manager.tell("READY=1\nSTATUS=The VM is up.");
    if let Some(what) = &cli.provoke {
        provoke(what)?;
    }
    let ended = server.run(&listener);
    manager.tell("STOPPING=1");
    match ended.context("cannot take connections any more")? {
        Ended::Dead(report) => bail!("the VM died: {report}"),
        Ended::Stopped => Ok(()),
    }
}

/// Tests want to see the process end here.
fn provoke(what: &str) -> Result<()> {
    let (role, what) = what.split_once(':').unwrap_or(("main", what));
    let role = Role::ALL.into_iter().find(|r| r.name() == role);
    let role = role.context("no such role")?;
    jail::provoke(role, what).context("an error instead of an end")?;
    bail!("the jail let {what:?} through")
}

fn listener(cli: &Cli) -> Result<OwnedFd> {
    if let Some(given) = systemd::listener()? {
        return Ok(given);
    }
    let Some(path) = &cli.socket else {
        bail!("no socket: give --socket PATH, or start it by socket activation");
    };
    // Who may in is then decided by user.
    let mode = if cli.allow_uid.is_empty() {
        0o600
    } else {
        0o666
    };
    daemon::listen(path, mode).with_context(|| format!("cannot listen at {}", path.display()))
}

fn config(cli: &Cli) -> Config {
    Config {
        vcpus: cli.vcpus,
        shared_bytes: cli.memory,
        heap_bytes: cli.heap,
        call_timeout: Duration::from_millis(cli.timeout_ms),
        verify_timeout: Duration::from_millis(cli.verify_timeout_ms),
        clients: cli.clients,
        interpret: cli.interpret,
        ..Config::default()
    }
}
