//! `prog load`, `unload` and `run`.

use super::{list, open as open_any};
use crate::cli::{PinArgs, RefRunArgs};
use crate::verdict;
use anyhow::{Context, Result, anyhow};
use bpfvisor::hex;
use bpfvisor::{Program, TestRun, Vm};
use serde_json::json;

/// A program as the user names it.
pub fn open(vm: &Vm, text: &str) -> Result<Program> {
    open_any(text, |which| vm.open_program(which))
}

/// Loads an object's program and has the daemon keep it under a name.
pub fn load(vm: &Vm, args: &PinArgs) -> Result<()> {
    let file = args.object_args.open(&args.object)?;
    let name = crate::run::choose(&file, args.prog.as_deref())?;
    let options = args.object_args.options(vec![name.clone()]);
    let object = file.load(vm, &options).map_err(crate::run::explain)?;
    let program = object
        .program(&name)
        .ok_or_else(|| anyhow!("program {name:?} is missing after load"))?;
    Ok(vm.pin(&args.name, program)?)
}

/// Takes the name away.
pub fn unload(vm: &Vm, name: &str) -> Result<()> {
    Ok(vm.unpin(name)?)
}

/// Runs a program over one packet.
pub fn run(vm: &Vm, args: &RefRunArgs) -> Result<()> {
    let program = open(vm, &args.program)?;
    let data = match (&args.data_in, &args.hex) {
        (Some(path), _) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        (None, Some(digits)) => hex::decode(digits)?,
        (None, None) => Vec::new(),
    };
    let out = program.test_run(&TestRun {
        data: &data,
        repeat: args.repeat,
        ..TestRun::default()
    })?;
    let ns = out.duration.as_nanos();
    if args.list.json || args.list.pretty {
        let value = json!({"retval": out.retval, "duration": ns as u64,
                           "data_out": hex::encode(&out.data)});
        println!("{}", list::text(&value, args.list.pretty)?);
        return Ok(());
    }
    println!("data {}", hex::encode(&out.data));
    println!(
        "Return value: {} ({}), duration{}: {ns}ns",
        out.retval,
        verdict::name(program.prog_type(), out.retval),
        if args.repeat > 1 { " (average)" } else { "" }
    );
    Ok(())
}
