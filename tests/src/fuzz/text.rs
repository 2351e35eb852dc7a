//! Cases as text.
//!
//! ```text
//! # why it is kept
//! .type xdp
//! .packet 0011…      (in hex; one line for each run)
//! .retval 0x2        (what the run of the packet before must return)
//! .after 0011…       (the packet afterwards, where it has changed)
//! .kernel differs    (where the kernel is known to be wrong)
//!     r0 = 2
//!     exit
//! ```
//! The rest is the program as [`bpf_core::asm`] reads it; maps are named by
//! their handles in [`crate::generate::MAPS`].

use super::Case;
use crate::generate::Sample;
use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::uapi::ProgType;
use bpfvisor::hex;
use std::fmt::Write;

/// A case with what it must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The case.
    pub case: Case,
    /// Return value and packet afterwards, for each packet; empty where the
    /// program must not load.
    pub runs: Vec<(u32, Vec<u8>)>,
    /// The kernel gives something else.
    pub kernel_differs: bool,
}

const TYPES: [(&str, ProgType); 3] = [
    ("xdp", ProgType::Xdp),
    ("sched_cls", ProgType::SchedCls),
    ("socket_filter", ProgType::SocketFilter),
];

/// Writes a case down.
pub fn write(kept: &Kept, why: &str) -> String {
    let mut out = String::new();
    for line in why.lines() {
        let _ = writeln!(out, "# {line}");
    }
    let sample = &kept.case.sample;
    let name = TYPES.iter().find(|(_, t)| *t == sample.prog_type);
    let _ = writeln!(out, ".type {}", name.map_or("?", |(name, _)| name));
    if kept.kernel_differs {
        out.push_str(".kernel differs\n");
    }
    for (at, packet) in kept.case.packets.iter().enumerate() {
        let _ = writeln!(out, ".packet {}", hex::encode(packet));
        if let Some((retval, after)) = kept.runs.get(at) {
            let _ = writeln!(out, ".retval {retval:#x}");
            if after != packet {
                let _ = writeln!(out, ".after {}", hex::encode(after));
            }
        }
    }
    out.push_str(&listing(&sample.insns));
    out
}

/// Reads a case.
///
/// # Errors
/// What is wrong with the text.
pub fn read(text: &str) -> Result<Kept, String> {
    let mut kept = Kept {
        case: Case {
            sample: Sample {
                prog_type: ProgType::Xdp,
                insns: Vec::new(),
            },
            packets: Vec::new(),
        },
        runs: Vec::new(),
        kernel_differs: false,
    };
    let mut program = String::new();
    for line in text.lines() {
        match line.strip_prefix('.') {
            Some(field) => kept.field(field).map_err(|e| format!(".{field}: {e}"))?,
            None => {
                program.push_str(line);
                program.push('\n');
            }
        }
    }
    kept.case.sample.insns = assemble(&program).map_err(|e| e.to_string())?;
    Ok(kept)
}

impl Kept {
    fn field(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = field.split_once(' ').ok_or("expected a value")?;
        match key {
            "type" => {
                let found = TYPES.iter().find(|(name, _)| *name == value);
                self.case.sample.prog_type = found.ok_or("no such type")?.1;
            }
            "kernel" => self.kernel_differs = value == "differs",
            "packet" => self.case.packets.push(bytes(value)?),
            "retval" => {
                let packet = self.case.packets.last().ok_or("no packet before it")?;
                self.runs.push((number(value)?, packet.clone()));
            }
            "after" => {
                self.runs.last_mut().ok_or("no .retval before it")?.1 = bytes(value)?;
            }
            _ => return Err("no such field".to_owned()),
        }
        Ok(())
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|e| e.to_string())
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|e| e.to_string())
}
