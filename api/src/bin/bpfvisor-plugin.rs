//! The plugin of the `bpf_conformance` suite: program bytes in hex on standard
//! input (or as `--program HEX` or `--program FILE`), memory bytes in hex as first
//! argument, R0 in hex on standard output.
//! The program runs in a VM, over flat memory.

use anyhow::{Context, Result, bail};
use bpfvisor::insn::Insn;
use bpfvisor::{ProgramSpec, Vm, hex};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(r0) => {
            println!("{r0:x}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("bpfvisor-plugin: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u64> {
    let mut options = Options::parse(std::env::args().skip(1))?;
    let text = match options.program.take() {
        Some(program) => program_text(program)?,
        None => std::io::read_to_string(std::io::stdin())
            .context("cannot read the program from standard input")?,
    };
    let bytes = hex::decode(&text).context("program")?;
    let (slots, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || slots.is_empty() {
        bail!("program: {} bytes are not whole instructions", bytes.len());
    }
    let insns: Vec<Insn> = slots.iter().map(|s| Insn::from_bytes(*s)).collect();
    let builder = Vm::builder();
    let vm = if options.interpret {
        builder.interpret().boot()?
    } else {
        builder.boot()?
    };
    let len = options.memory.len() as u32;
    let spec = ProgramSpec::flat(insns)
        .license("GPL")
        .name("plugin")
        .flat_memory(len, len);
    let program = vm.load(spec)?;
    Ok(program.run(&options.memory)?.r0)
}

/// What `--program` names: a file that holds the program in hex, or the hex itself.
fn program_text(value: String) -> Result<String> {
    match Path::new(&value).is_file() {
        true => std::fs::read_to_string(&value).with_context(|| format!("program {value}")),
        false => Ok(value),
    }
}

/// Arguments. Unknown options are ignored: suites pass their own along.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    memory: Vec<u8>,
    program: Option<String>,
    interpret: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut out = Self::default();
        let mut has_memory = false;
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--interpret" => out.interpret = true,
                "--program" => {
                    let value = args.next();
                    out.program = Some(value.context("--program: expected hex or a file")?);
                }
                option if option.starts_with("--program=") => {
                    let value = option.strip_prefix("--program=");
                    out.program = value.map(str::to_owned);
                }
                option if option.starts_with("--") => {}
                memory if !has_memory => {
                    out.memory = hex::decode(memory).context("memory")?;
                    has_memory = true;
                }
                _ => {}
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split('|').filter(|s| *s != "-").map(String::from))
    }

    #[test]
    fn memory_comes_first_and_unknown_options_do_not_matter() {
        let o = parse("00 11|--debug|--elf|--interpret").unwrap();
        assert_eq!((o.memory, o.interpret), (vec![0, 0x11], true));
        assert!(parse("").unwrap().memory.is_empty());
        assert_eq!(parse("--interpret|aabb").unwrap().memory, [0xaa, 0xbb]);
        assert!(parse("xyz").is_err());
    }
}
