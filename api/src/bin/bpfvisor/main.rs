//! The command line of bpfvisor.
#![allow(missing_docs)]

mod batch;
mod cli;
mod doctor;
mod dump;
mod remote;
mod run;
mod show;
mod verdict;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    cli.hand_down();
    let socket = cli.connect.as_deref();
    let done = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Verify(args) => verify::verify(args),
        Command::Prog(args) => dump::prog(args, socket),
        Command::Map(args) => remote::map(args, socket),
        Command::Batch(args) => batch::batch(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Completions { shell } => {
            cli::completions(*shell);
            Ok(())
        }
        Command::Man { folder } => cli::man(folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bpfvisor: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The reader of our output went away: nothing to complain about.
fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
