//! Prints the batteries of instructions in the format of `bpfvisor batch`.
//!
//!     bpfvisor-battery > battery.jsonl
//!     bpfvisor batch battery.jsonl > ours.jsonl
//!     bpfvisor batch --kernel battery.jsonl > kernel.jsonl

use std::io::{BufWriter, Write};

fn main() -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in bpfvisor_tests::battery::all() {
        writeln!(out, "{}", line.to_json())?;
    }
    out.flush()
}
