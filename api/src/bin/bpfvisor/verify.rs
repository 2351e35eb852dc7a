//! `bpfvisor verify`: the verifier's verdict and log.

use crate::cli::VerifyArgs;
use anyhow::{Result, bail};
use bpfvisor::object::{LoadOptions, ObjectFile};
use bpfvisor::{Error, Vm};

/// Verifies each program, prints the logs, fails where one is not accepted.
pub fn verify(args: &VerifyArgs) -> Result<()> {
    let file = args.object_args.open(&args.object)?;
    let names = programs(&file, args.prog.as_deref())?;
    let vm = args.vm.vm()?;
    let mut refused = 0;
    for name in &names {
        if !one(&file, &vm, name, args)? {
            refused += 1;
        }
    }
    if refused > 0 {
        bail!("{refused} of {} programs not accepted", names.len());
    }
    Ok(())
}

/// The named program, or all.
pub fn programs(file: &ObjectFile, wanted: Option<&str>) -> Result<Vec<String>> {
    if wanted.is_some() {
        return Ok(vec![crate::run::choose(file, wanted)?]);
    }
    let all: Vec<String> = file.programs().map(|p| p.name.into()).collect();
    if all.is_empty() {
        bail!("the object has no programs (functions in sections such as \"xdp\")");
    }
    Ok(all)
}

fn one(file: &ObjectFile, vm: &Vm, name: &str, args: &VerifyArgs) -> Result<bool> {
    let options = LoadOptions {
        log_level: args.log_level,
        ..args.object_args.options(vec![name.into()])
    };
    println!("program {name}");
    match file.load(vm, &options) {
        Ok(object) => {
            if let Some(program) = object.program(name) {
                print_log(&program.info().log);
                println!(
                    "accepted: {} instructions processed",
                    program.info().processed
                );
            }
            Ok(true)
        }
        Err(Error::Program(r)) => {
            print_log(&r.log);
            println!("{r}");
            Ok(false)
        }
        Err(e @ Error::Caller(_)) => {
            println!("{e}");
            Ok(false)
        }
        Err(e) => Err(e.into()),
    }
}

fn print_log(log: &str) {
    if !log.is_empty() {
        println!("{}", log.trim_end());
    }
}
