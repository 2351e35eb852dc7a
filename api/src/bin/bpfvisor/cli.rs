//! Arguments.

use anyhow::Context;
use bpfvisor::VmBuilder;
use bpfvisor::object::{LoadOptions, ObjectFile};
use bpfvisor::uapi::ProgType;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Verifies, compiles and runs BPF programs inside a small virtual machine.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Use the VM of the bpfvisor-vmm that listens at this socket
    #[arg(long, global = true, value_name = "PATH")]
    pub connect: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program of an object file over packets
    Run(RunArgs),
    /// Verify the programs of an object file and print the verifier's log
    Verify(VerifyArgs),
    /// Look at programs; with --connect: load, list and run them
    Prog(ProgArgs),
    /// Maps of a daemon's VM (with --connect)
    Map(MapArgs),
    /// Run many programs, one JSON object per line
    Batch(BatchArgs),
    /// Say whether this machine can run bpfvisor, and what to fix
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command
    Man {
        /// Where to: a folder that exists
        folder: PathBuf,
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
    /// Longest time that the verification of a program may take, in milliseconds
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub verify_timeout_ms: u64,
    /// Memory for maps and packets, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=262_144))]
    pub memory: u64,
    /// The daemon's socket instead, as main has it from `--connect`.
    #[arg(skip)]
    pub connect: Option<PathBuf>,
}

impl VmArgs {
    /// A VM with these settings, or that of the daemon.
    pub fn vm(&self) -> bpfvisor::Result<bpfvisor::Vm> {
        match &self.connect {
            Some(path) => bpfvisor::Vm::connect(path),
            None => self.builder().boot(),
        }
    }

    /// A builder with these settings.
    pub fn builder(&self) -> VmBuilder {
        let builder = bpfvisor::Vm::builder()
            .vcpus(self.vcpus)
            .memory(self.memory << 20)
            .timeout(Duration::from_millis(self.timeout_ms))
            .verify_timeout(Duration::from_millis(self.verify_timeout_ms));
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
    /// Make this map with so many entries, where the object leaves that to its loader
    #[arg(long, value_name = "MAP=COUNT", value_parser = entries)]
    pub entries: Vec<(String, u32)>,
}

impl ObjectArgs {
    /// Reads the object file, and fills in what it leaves open.
    pub fn open(&self, path: &Path) -> bpfvisor::Result<ObjectFile> {
        let mut file = ObjectFile::open(path)?;
        for (map, count) in &self.entries {
            file.set_max_entries(map, *count)?;
        }
        Ok(file)
    }

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

fn entries(text: &str) -> Result<(String, u32), String> {
    let (map, count) = text.split_once('=').ok_or("expected MAP=COUNT")?;
    let count = count.parse().map_err(|e| format!("{count:?}: {e}"))?;
    Ok((map.into(), count))
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
    /// List the programs of a daemon's VM
    #[command(visible_alias = "show")]
    List(ListArgs),
    /// Load a program into a daemon's VM, to stay under a name
    Load(PinArgs),
    /// Take the name of a program away, which goes if nobody uses it
    Unload {
        /// Its name
        name: String,
    },
    /// Run a program of a daemon's VM over one packet
    Run(RefRunArgs),
}

/// How lists and elements are printed.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long, short)]
    pub json: bool,
    /// Print JSON, indented
    #[arg(long, short)]
    pub pretty: bool,
}

#[derive(Args, Debug)]
pub struct PinArgs {
    /// Object file
    pub object: PathBuf,
    /// Name to keep the program under
    pub name: String,
    /// Program to load, by function or section name; needed where there are several
    #[arg(long)]
    pub prog: Option<String>,
    #[command(flatten)]
    pub object_args: ObjectArgs,
}

#[derive(Args, Debug)]
pub struct RefRunArgs {
    /// The program: its id, or its name
    pub program: String,
    /// File with the bytes of one packet
    #[arg(
        long,
        visible_alias = "data_in",
        value_name = "FILE",
        conflicts_with = "hex"
    )]
    pub data_in: Option<PathBuf>,
    /// The bytes of one packet in hex
    #[arg(long, value_name = "HEX")]
    pub hex: Option<String>,
    /// Run it that often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Args, Debug)]
pub struct MapArgs {
    #[command(subcommand)]
    pub command: MapCommand,
}

#[derive(Debug, Subcommand)]
pub enum MapCommand {
    /// List the maps
    #[command(visible_alias = "show")]
    List(ListArgs),
    /// Create a map, to stay under a name
    Create(CreateArgs),
    /// Print an element: MAP key [hex] BYTES
    Lookup(ElementArgs),
    /// Set an element: MAP key [hex] BYTES value [hex] BYTES [any|exist|noexist]
    Update(ElementArgs),
    /// Remove an element: MAP key [hex] BYTES
    Delete(ElementArgs),
    /// Print all elements
    Dump(MapDumpArgs),
    /// Take the name of a map away, which goes if nobody uses it
    Unpin {
        /// Its name
        name: String,
    },
}

#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Name to keep it under
    pub name: String,
    /// Type: hash, array, lru_hash, …
    #[arg(long = "type", value_name = "TYPE")]
    pub map_type: String,
    /// Bytes per key
    #[arg(long)]
    pub key: u32,
    /// Bytes per value
    #[arg(long)]
    pub value: u32,
    /// Capacity
    #[arg(long)]
    pub entries: u32,
    /// Flags, a number
    #[arg(long, default_value_t = 0)]
    pub flags: u32,
    /// Its own name, if it is another: at most 15 letters, digits, _ and .
    #[arg(long, value_name = "NAME")]
    pub map_name: Option<String>,
}

#[derive(Args, Debug)]
pub struct ElementArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// The map: its id, or its name
    pub map: String,
    /// key [hex] BYTES [value [hex] BYTES] [any|exist|noexist]
    #[arg(required = true)]
    pub words: Vec<String>,
}

#[derive(Args, Debug)]
pub struct MapDumpArgs {
    /// The map: its id, or its name
    pub map: String,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Args, Debug)]
pub struct DumpArgs {
    /// Object file; with --connect: id or name of a loaded program
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
    /// As main has it from `--connect`.
    #[arg(skip)]
    pub connect: Option<PathBuf>,
}

impl Cli {
    /// Tells the commands that may use a daemon which.
    pub fn hand_down(&mut self) {
        let to = match &mut self.command {
            Command::Run(args) => &mut args.vm.connect,
            Command::Verify(args) => &mut args.vm.connect,
            Command::Batch(args) => &mut args.vm.connect,
            Command::Doctor(args) => &mut args.connect,
            Command::Prog(ProgArgs {
                command: ProgCommand::Dump(args),
            }) => &mut args.vm.connect,
            _ => return,
        };
        to.clone_from(&self.connect);
    }
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) {
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "bpfvisor", &mut std::io::stdout());
}

/// Writes the manual pages.
pub fn man(folder: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("manual pages into {}", folder.display()))
}

#[cfg(test)]
mod tests;
