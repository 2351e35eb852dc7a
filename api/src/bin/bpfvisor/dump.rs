//! `bpfvisor prog dump`: what a program became.

use crate::cli::{Dump, DumpArgs, ProgArgs, ProgCommand};
use anyhow::Result;
use bpfvisor::hex;
use bpfvisor::object::{LoadOptions, ObjectFile};
use bpfvisor::{MAX_PACKET, Program};

/// `prog` and what it is to do.
pub fn prog(args: &ProgArgs) -> Result<()> {
    match &args.command {
        ProgCommand::Dump(args) => dump(args),
    }
}

fn dump(args: &DumpArgs) -> Result<()> {
    let file = ObjectFile::open(&args.object)?;
    let vm = args.vm.builder().boot()?;
    for name in crate::verify::programs(&file, args.prog.as_deref())? {
        let options = LoadOptions {
            programs: vec![name.clone()],
            log_level: 0,
            flat: (0, MAX_PACKET as u32),
        };
        let object = file.load(&vm, &options).map_err(crate::run::explain)?;
        if let Some(program) = object.program(&name) {
            println!("program {name}");
            match args.what {
                Dump::Xlated => xlated(program)?,
                Dump::Jited => jited(program)?,
            }
        }
    }
    Ok(())
}

fn xlated(program: &Program) -> Result<()> {
    print!("{}", bpf_core::disasm::listing(&program.xlated()?));
    Ok(())
}

fn jited(program: &Program) -> Result<()> {
    let code = program.jited()?;
    for (line, bytes) in code.chunks(16).enumerate() {
        println!("{:>6x}: {}", line * 16, hex::encode(bytes));
    }
    Ok(())
}
