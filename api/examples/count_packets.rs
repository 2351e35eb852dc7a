//! Counts packets in an array map with a program written as text, and reads the
//! count from shared memory.
//!
//! cargo run --release --example count_packets

use bpfvisor::asm::assemble;
use bpfvisor::{MapSpec, ProgramSpec, Vm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vm = Vm::builder().boot()?;
    let hits = vm.create_map(MapSpec::array("hits", 8, 1))?;
    let insns = assemble(
        "r1 = 0
         *(u32 *)(r10 -4) = r1
         r2 = r10
         r2 += -4
         r1 = 0 ll           ; the map, see fixup
         call bpf_map_lookup_elem#1
         if r0 == 0 goto out
         r1 = 1
         lock *(u64 *)(r0 +0) += r1
         out:
         r0 = 2
         exit",
    )?;
    let prog = vm.load(ProgramSpec::xdp(insns).license("GPL").fixup(4, &hits))?;
    for _ in 0..1000 {
        prog.run(&[0u8; 64])?;
    }
    let count = hits.get(&0u32.to_ne_bytes())?.ok_or("no such key")?;
    println!(
        "{} packets counted",
        u64::from_ne_bytes(count[..8].try_into()?)
    );
    let info = prog.info();
    println!(
        "{:?} to verify, {} bytes of code",
        info.verify_time, info.jited_len
    );
    Ok(())
}
