//! Arguments.

use bpfvisor_vmm::jail::Limits;
use clap::Parser;
use std::path::PathBuf;

/// Runs one VM and serves it to other processes over a Unix socket.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Where to listen; not needed with socket activation
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Memory for maps and packets: a number of MiB, or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub memory: u64,
    /// Memory for programs and verification, likewise
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = size)]
    pub heap: u64,
    /// vCPUs: as many calls run at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub vcpus: u32,
    /// Most clients at a time
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=63))]
    pub clients: u32,
    /// Longest time of one call, in milliseconds
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
    /// Longest time that the verification of a program may take, in milliseconds
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=120_000))]
    pub verify_timeout_ms: u64,
    /// Interpret programs instead of compiling them
    #[arg(long)]
    pub interpret: bool,
    /// A user that may connect, beside root and the daemon's own; may be repeated
    #[arg(long, value_name = "UID")]
    pub allow_uid: Vec<u32>,
    /// Give up all rights that are not needed, before the guest runs
    #[arg(long)]
    pub jail: bool,
    /// Most descriptors that the daemon may have open in the jail: two for each
    /// object that clients hold
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536)]
    pub files: u64,
    /// In the jail, leave the namespaces of network, mounts, IPC and host name, too
    #[arg(long, requires = "jail")]
    pub namespaces: bool,
    /// In the jail, do not filter system calls, to test the other walls
    #[arg(long, hide = true, requires = "jail")]
    pub no_seccomp: bool,
    /// Do something forbidden on a thread of a role (ROLE:WHAT), to test the jail
    #[arg(long, hide = true, value_name = "ROLE:WHAT")]
    pub provoke: Option<String>,
}

impl Cli {
    pub fn limits(&self) -> Limits {
        Limits {
            files: self.files,
            namespaces: self.namespaces,
            seccomp: !self.no_seccomp,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 20),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a size such as 256M"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is too much"))
}
