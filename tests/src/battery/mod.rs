//! Batteries: programs that go through every form of every instruction with the
//! values that break arithmetic, in the format of `bpfvisor batch`.
//!
//! What they must give is what the running kernel gives: `bpfvisor batch
//! --kernel` over the same lines. Each program folds all that it computed into
//! R0, both halves, so that one number speaks for hundreds of results.

mod alu;
mod atomic;
mod call;
mod flow;
mod fold;
mod jump;
mod long;
mod memory;
mod packet;

use bpf_core::insn::Insn;
use std::fmt::Write;

/// A program with its maps and packets: one line of a battery.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it tries.
    pub name: String,
    /// As the batch format spells it.
    pub prog_type: &'static str,
    /// Map loads name no map yet: see [`Line::fixups`].
    pub insns: Vec<Insn>,
    /// Maps, by index.
    pub maps: Vec<Table>,
    /// Which wide loads take which map.
    pub fixups: Vec<Fixup>,
    /// Packets, one run each.
    pub packets: Vec<Vec<u8>>,
}

/// A map.
#[derive(Clone, Debug)]
pub enum Table {
    /// An array of one value.
    Value(Vec<u8>),
    /// A program array of this many slots, with the program itself in slot 1.
    Programs(u32),
}

/// A wide load that names a map.
#[derive(Clone, Copy, Debug)]
pub struct Fixup {
    /// The instruction.
    pub insn: usize,
    /// Index into [`Line::maps`].
    pub map: usize,
    /// Whether it loads the value's address.
    pub value: bool,
}

/// All batteries.
pub fn all() -> Vec<Line> {
    let parts = [
        alu::lines(),
        memory::lines(),
        atomic::lines(),
        jump::lines(),
        flow::lines(),
        packet::lines(),
        call::lines(),
        long::lines(),
    ];
    parts.into_iter().flatten().collect()
}

/// A packet that holds different bytes everywhere.
fn packet(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 37 + 11) as u8).collect()
}

impl Line {
    /// A socket filter over one packet of 64 bytes.
    fn new(name: impl Into<String>, insns: Vec<Insn>) -> Self {
        Self {
            name: name.into(),
            prog_type: "socket_filter",
            insns,
            maps: Vec::new(),
            fixups: Vec::new(),
            packets: vec![packet(64)],
        }
    }

    /// The line in the format of `bpfvisor batch`.
    pub fn to_json(&self) -> String {
        let insns: Vec<u8> = self.insns.iter().flat_map(|i| i.to_bytes()).collect();
        let maps: Vec<String> = self.maps.iter().map(Table::to_json).collect();
        let fixup = |f: &Fixup| {
            let kind = if f.value { "value" } else { "fd" };
            format!(r#"{{"insn":{},"map":{},"kind":"{kind}"}}"#, f.insn, f.map)
        };
        let fixups: Vec<String> = self.fixups.iter().map(fixup).collect();
        let run = |p: &Vec<u8>| format!(r#"{{"data_hex":"{}"}}"#, hex(p));
        let runs: Vec<String> = self.packets.iter().map(run).collect();
        format!(
            r#"{{"name":"{}","prog_type":"{}","license":"GPL","insns_hex":"{}","maps":[{}],"fixups":[{}],"runs":[{}]}}"#,
            self.name,
            self.prog_type,
            hex(&insns),
            maps.join(","),
            fixups.join(","),
            runs.join(",")
        )
    }
}

impl Table {
    fn to_json(&self) -> String {
        match self {
            Self::Value(bytes) => format!(
                r#"{{"name":"v","type":"array","key_size":4,"value_size":{},"max_entries":1,"init":[["00000000","{}"]]}}"#,
                bytes.len(),
                hex(bytes)
            ),
            Self::Programs(slots) => format!(
                r#"{{"name":"p","type":"prog_array","key_size":4,"value_size":4,"max_entries":{slots},"init":[["01000000","self"]]}}"#,
            ),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
