//! `bpfvisor prog dump`: what a program became.

mod machine;
#[cfg(test)]
mod tests;

use crate::cli::{Dump, DumpArgs, ProgArgs, ProgCommand};
use crate::remote;
use anyhow::{Result, bail};
use bpfvisor::Program;
use bpfvisor::hex;
use bpfvisor::insn::Insn;
use machine::{Line, disassemble};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// `prog` and what it is to do.
pub fn prog(args: &ProgArgs, socket: Option<&Path>) -> Result<()> {
    let there = || remote::connect(socket);
    match &args.command {
        ProgCommand::Dump(args) if args.vm.connect.is_some() => dump_there(args),
        ProgCommand::Dump(args) => dump(args),
        ProgCommand::List(args) => remote::programs(&there()?, args),
        ProgCommand::Load(args) => remote::load(&there()?, args),
        ProgCommand::Unload { name } => remote::unload(&there()?, name),
        ProgCommand::Run(args) => remote::run(&there()?, args),
    }
}

/// A program of a daemon's VM: what stands for the object is its id or name.
fn dump_there(args: &DumpArgs) -> Result<()> {
    let vm = remote::connect(args.vm.connect.as_deref())?;
    let program = remote::open_program(&vm, &args.object.to_string_lossy())?;
    print(program.name(), &program, args)
}

fn dump(args: &DumpArgs) -> Result<()> {
    if args.vm.interpret && args.what != Dump::Xlated {
        bail!("an interpreted program has no machine code: leave out --interpret");
    }
    let file = args.object_args.open(&args.object)?;
    let vm = args.vm.vm()?;
    for name in crate::verify::programs(&file, args.prog.as_deref())? {
        let options = args.object_args.options(vec![name.clone()]);
        let object = file.load(&vm, &options).map_err(crate::run::explain)?;
        if let Some(program) = object.program(&name) {
            print(&name, program, args)?;
        }
    }
    Ok(())
}

fn print(name: &str, program: &Program, args: &DumpArgs) -> Result<()> {
    let mut out = io::stdout().lock();
    let xlated = program.xlated()?;
    let code = Code::of(program, args.what)?;
    if args.json {
        writeln!(out, "{}", to_json(name, &xlated, &code, args.what))?;
        return Ok(());
    }
    writeln!(out, "program {name}")?;
    if args.what == Dump::Jited {
        for line in &code.lines {
            line.write(&mut out, args.hex)?;
        }
        return Ok(());
    }
    for slot in slots(&xlated) {
        slot.write(&mut out, args.hex)?;
        for line in code.lines_of(&slot) {
            line.write(&mut out, args.hex)?;
        }
    }
    Ok(())
}

/// The machine code of a program, and which of it belongs to which slot.
#[derive(Default)]
struct Code {
    lines: Vec<Line>,
    offsets: Vec<u32>,
}

impl Code {
    fn of(program: &Program, what: Dump) -> Result<Self> {
        if what == Dump::Xlated {
            return Ok(Self::default());
        }
        Ok(Self {
            lines: disassemble(&program.jited()?, program.info().jited_addr),
            offsets: match what {
                Dump::Both => program.jited_offsets()?,
                _ => Vec::new(),
            },
        })
    }

    /// A slot's lines. What lies before the first slot's code (the entry of the
    /// program) is the first slot's, too.
    fn lines_of(&self, slot: &Slot) -> &[Line] {
        let next = slot.index + slot.bytes.len() / Insn::SIZE;
        let (Some(&begin), Some(&end)) = (self.offsets.get(slot.index), self.offsets.get(next))
        else {
            return &[];
        };
        let begin = if slot.index == 0 { 0 } else { begin };
        let at = |offset| self.lines.partition_point(|line| line.offset < offset);
        self.lines.get(at(begin)..at(end)).unwrap_or(&[])
    }
}

/// One BPF instruction: one slot, or two.
struct Slot {
    index: usize,
    text: String,
    bytes: Vec<u8>,
}

impl Slot {
    fn write(&self, out: &mut impl Write, with_bytes: bool) -> io::Result<()> {
        if with_bytes {
            let bytes = hex::encode(&self.bytes);
            return writeln!(out, "{:>6}: {:<34}{}", self.index, bytes, self.text);
        }
        writeln!(out, "{:>6}: {}", self.index, self.text)
    }

    fn json(&self) -> Value {
        json!({"index": self.index, "text": self.text, "bytes": hex::encode(&self.bytes)})
    }
}

fn slots(insns: &[Insn]) -> Vec<Slot> {
    let mut out = Vec::new();
    for (index, op) in bpf_core::insn::ops(insns) {
        let count = op.as_ref().map_or(1, |op| op.slots());
        let slots = insns.iter().skip(index).take(count);
        out.push(Slot {
            index,
            text: op.map_or_else(|e| format!("<{e}>"), |op| op.to_string()),
            bytes: slots.flat_map(|insn| insn.to_bytes()).collect(),
        });
    }
    out
}

fn to_json(name: &str, xlated: &[Insn], code: &Code, what: Dump) -> Value {
    let lines = |lines: &[Line]| lines.iter().map(Line::json).collect::<Vec<_>>();
    if what == Dump::Jited {
        return json!({"program": name, "jited": lines(&code.lines)});
    }
    let slots = slots(xlated);
    let each = slots.iter().map(|slot| {
        let mut item = slot.json();
        if what == Dump::Both {
            item["jited"] = lines(code.lines_of(slot)).into();
        }
        item
    });
    json!({"program": name, "xlated": each.collect::<Vec<_>>()})
}
