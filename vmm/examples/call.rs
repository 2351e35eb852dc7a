//! Time of one request to an awake guest and back.
//!
//!     cargo run --release -p bpfvisor-vmm --example call [CALLS]

use std::error::Error;
use std::time::Instant;

use bpfvisor_vmm::abi::op::code;
use bpfvisor_vmm::{Config, Vm};

fn main() -> Result<(), Box<dyn Error>> {
    let calls: u32 = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse())?;
    let vm = Vm::boot(Config::default())?;
    let mut rounds = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..calls {
            vm.call(code::NOP, [0; 7])?;
        }
        rounds.push(start.elapsed() / calls);
    }
    rounds.sort();
    println!(
        "one call: min {:?}, median {:?}; {:?}",
        rounds[0],
        rounds[7],
        vm.stats()
    );
    Ok(())
}
