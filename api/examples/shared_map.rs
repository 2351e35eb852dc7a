//! Two processes, one VM: both run a program that counts in a map, and the first
//! reads the map while the second works. The daemon is on neither's way.
//!
//! bpfvisor-vmm --socket vm.sock &
//! cargo run --release --example shared_map vm.sock

use bpfvisor::asm::assemble;
use bpfvisor::{Map, MapSpec, ProgramSpec, Vm, Which};
use std::error::Error;
use std::process::Command;

const RUNS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [socket] => {
            let mut other = Command::new(std::env::current_exe()?);
            let total = first(socket, other.args([socket, "second"]))?;
            println!("{total} runs counted by both");
            Ok(())
        }
        [socket, "second"] => second(socket),
        _ => Err("usage: shared_map SOCKET".into()),
    }
}

/// Makes the map and the program, starts the second process, and says how many
/// runs there were.
pub fn first(socket: &str, other: &mut Command) -> Result<u64, Box<dyn Error>> {
    let vm = Vm::connect(socket)?;
    let hits = vm.create_map(MapSpec::array("hits", 8, 1))?;
    let insns = assemble(
        "r1 = 0 ll           ; the map, see fixup
         *(u32 *)(r10 -4) = 0
         r2 = r10
         r2 += -4
         call bpf_map_lookup_elem#1
         if r0 == 0 goto out
         r1 = 1
         lock *(u64 *)(r0 +0) += r1
         out:
         r0 = 2
         exit",
    )?;
    let spec = ProgramSpec::xdp(insns).name("count").fixup(0, &hits);
    let count = vm.load(spec)?;
    let mut other = other.spawn()?;
    for _ in 0..RUNS {
        count.run(&[0; 64])?;
    }
    println!("{RUNS} runs here, {} counted so far", read(&hits)?);
    if !other.wait()?.success() {
        return Err("the second process failed".into());
    }
    read(&hits)
}

/// Finds what the first has made, by name.
pub fn second(socket: &str) -> Result<(), Box<dyn Error>> {
    let vm = Vm::connect(socket)?;
    let count = vm.open_program(Which::Name("count"))?;
    for _ in 0..RUNS {
        count.run(&[0; 64])?;
    }
    Ok(())
}

/// From shared memory: neither the guest nor the daemon is asked.
fn read(hits: &Map) -> Result<u64, Box<dyn Error>> {
    let value = hits.get(&0u32.to_ne_bytes())?.ok_or("no such key")?;
    Ok(u64::from_ne_bytes(value[..8].try_into()?))
}
