//! Arguments.

use bpfvisor::VmBuilder;
use bpfvisor::object::LoadOptions;
use bpfvisor::uapi::ProgType;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Verifies, compiles and runs BPF programs inside a small virtual machine.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program of an object file over packets
    Run(RunArgs),
    /// Verify the programs of an object file and print the verifier's log
    Verify(VerifyArgs),
    /// Look at programs
    Prog(ProgArgs),
    /// Run many programs, one JSON object per line
    Batch(BatchArgs),
    /// Say whether this machine can run bpfvisor, and what to fix
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Settings of the VM.
#[derive(Args, Clone, Debug)]
pub struct VmArgs {
    /// Interpret programs instead of compiling them
    #[arg(long)]
    pub interpret: bool,
    /// vCPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub vcpus: u32,
    /// Longest time of one call, in milliseconds
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
    /// Memory for maps and packets, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=262_144))]
    pub memory: u64,
}

impl VmArgs {
    /// A builder with these settings.
    pub fn builder(&self) -> VmBuilder {
        let builder = bpfvisor::Vm::builder()
            .vcpus(self.vcpus)
            .memory(self.memory << 20)
            .timeout(Duration::from_millis(self.timeout_ms));
        if self.interpret {
            builder.interpret()
        } else {
            builder
        }
    }
}

/// What an object may leave open.
#[derive(Args, Clone, Debug)]
pub struct ObjectArgs {
    /// Type of programs in sections whose names say none: xdp, sched_cls, socket_filter, flat, …
    #[arg(long = "type", value_name = "TYPE", value_parser = prog_type)]
    pub prog_type: Option<ProgType>,
}

impl ObjectArgs {
    /// Options that load these programs.
    pub fn options(&self, programs: Vec<String>) -> LoadOptions {
        LoadOptions {
            programs,
            prog_type: self.prog_type,
            flat: (0, bpfvisor::MAX_PACKET as u32),
            ..LoadOptions::default()
        }
    }
}

fn prog_type(name: &str) -> Result<ProgType, String> {
    let short = match name {
        "socket" => "socket_filter",
        "classifier" | "tc" => "sched_cls",
        "action" => "sched_act",
        other => other,
    };
    ProgType::from_name(short).ok_or_else(|| {
        let names: Vec<&str> = ProgType::ALL.iter().map(|t| t.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Object file, compiled with clang -O2 -g -target bpf
    pub object: PathBuf,
    /// Program to run, by function or section name; needed where there are several
    #[arg(long, short)]
    pub prog: Option<String>,
    #[command(flatten)]
    pub input: Input,
    /// Run over each packet that often (the packet changes along)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Write the packets that passed, as the program left them, to this file
    #[arg(long, value_name = "OUT", conflicts_with_all = ["data", "hex"])]
    pub write_pcap: Option<PathBuf>,
    /// Print the VM's counters too
    #[arg(long)]
    pub stats: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Set a global variable first: NAME=NUMBER, or NAME=hex:BYTES
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub object_args: ObjectArgs,
    #[command(flatten)]
    pub vm: VmArgs,
}

/// Where packets come from.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Input {
    /// Capture file: pcap or pcapng
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// File with the bytes of one packet
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The bytes of one packet in hex
    #[arg(long, value_name = "HEX")]
    pub hex: Option<String>,
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Object file
    pub object: PathBuf,
    /// Only this program
    #[arg(long, short)]
    pub prog: Option<String>,
    /// 1: branch states, 2: every instruction, 4: statistics
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=7))]
    pub log_level: u32,
    #[command(flatten)]
    pub object_args: ObjectArgs,
    #[command(flatten)]
    pub vm: VmArgs,
}

#[derive(Args, Debug)]
pub struct ProgArgs {
    #[command(subcommand)]
    pub command: ProgCommand,
}

#[derive(Debug, Subcommand)]
pub enum ProgCommand {
    /// Print the instructions as they run, the machine code, or both side by side
    Dump(DumpArgs),
}

#[derive(Args, Debug)]
pub struct DumpArgs {
    /// Object file
    pub object: PathBuf,
    /// What to print
    #[arg(value_enum, default_value_t = Dump::Xlated)]
    pub what: Dump,
    /// Only this program
    #[arg(long, short)]
    pub prog: Option<String>,
    /// Print the bytes of each instruction, too
    #[arg(long)]
    pub hex: bool,
    /// Print one JSON object per program
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub object_args: ObjectArgs,
    #[command(flatten)]
    pub vm: VmArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dump {
    /// BPF instructions after verification
    Xlated,
    /// Machine code
    Jited,
    /// Each BPF instruction with its machine code below
    Both,
}

#[derive(Args, Debug)]
pub struct BatchArgs {
    /// File with one JSON object per line; - for standard input
    pub file: PathBuf,
    /// Ask the running kernel instead (needs root)
    #[arg(long, conflicts_with = "interpret")]
    pub kernel: bool,
    /// Verifier log level; the log's last line names what was wrong
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2))]
    pub log_level: u32,
    /// Print totals to standard error
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    pub vm: VmArgs,
}

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) {
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "bpfvisor", &mut std::io::stdout());
}

#[cfg(test)]
mod tests;
