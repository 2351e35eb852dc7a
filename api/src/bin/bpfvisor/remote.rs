//! `bpfvisor --connect PATH prog|map …`: objects of a daemon's VM, in the manner of
//! bpftool.

mod date;
mod list;
mod map;
mod prog;
mod words;

pub use map::map;
pub use prog::{load, open as open_program, run, unload};

use crate::cli::ListArgs;
use anyhow::{Result, anyhow};
use bpfvisor::uapi::errno;
use bpfvisor::{Vm, Which};
use std::path::Path;

/// Connects to the daemon that was named.
pub fn connect(path: Option<&Path>) -> Result<Vm> {
    let path = path.ok_or_else(|| {
        anyhow!("this needs a daemon: give --connect PATH, the socket of a bpfvisor-vmm")
    })?;
    Ok(Vm::connect(path)?)
}

/// `prog list`.
pub fn programs(vm: &Vm, args: &ListArgs) -> Result<()> {
    list::print(&vm.programs()?, args)
}

/// An object as the user names it: `id:7` or `7`, `pinned:NAME`, or a name, first
/// of a pin, then one that it was created with.
fn open<T>(text: &str, open: impl Fn(Which<'_>) -> bpfvisor::Result<T>) -> Result<T> {
    if let Ok(id) = text.strip_prefix("id:").unwrap_or(text).parse() {
        return Ok(open(Which::Id(id))?);
    }
    if let Some(name) = text.strip_prefix("pinned:") {
        return Ok(open(Which::Pinned(name))?);
    }
    match open(Which::Pinned(text)) {
        Err(e) if e.errno() == errno::ENOENT || e.errno() == errno::EINVAL => {
            Ok(open(Which::Name(text))?)
        }
        found => Ok(found?),
    }
}
