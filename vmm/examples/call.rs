//! Time of a request to an awake guest and back, of one run of a program of two
//! instructions, and of a batch of 256 per packet.
//!
//!     cargo run --release -p bpfvisor-vmm --example call [CALLS]

use std::error::Error;
use std::time::{Duration, Instant};

use bpfvisor_vmm::abi::op::{LoadRecord, code};
use bpfvisor_vmm::{CallError, Config, LoadRequest, Packet, Run, TypeInfo, Vm};
use zerocopy::FromZeros;

/// XDP: r0 = 2; exit.
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

fn main() -> Result<(), Box<dyn Error>> {
    let calls: u32 = std::env::args().nth(1).map_or(Ok(50_000), |n| n.parse())?;
    let vm = Vm::boot(Config::default())?;
    let mut record = LoadRecord::new_zeroed();
    record.prog_type = 6;
    let request = LoadRequest {
        record,
        insns: &PASS,
        types: TypeInfo::default(),
        maps: Vec::new(),
        note: Vec::new(),
        log_len: 0,
    };
    let program = vm.load(request)?.object;
    let buffer = vm.alloc_low(512, 64)?;
    let packet = Packet {
        off: buffer.offset().try_into()?,
        cap: 512,
        data: 256,
        len: 64,
        ..Packet::default()
    };
    let run = Run {
        repeat: 1,
        packet,
        ..Run::default()
    };
    let mut packets = [packet; 256];
    measure("empty request", calls, || {
        vm.call(code::NOP, [0; 7]).map(drop)
    })?;
    measure("one run", calls, || vm.run(&program, run).map(drop))?;
    let batch = measure("batch of 256", calls / 100, || {
        vm.run_batch(&program, &mut packets)
    })?;
    println!("per packet of the batch: {:?}", batch / 256);
    println!("{:?}", vm.stats());
    Ok(())
}

/// Prints and gives the median.
fn measure(
    what: &str,
    calls: u32,
    mut call: impl FnMut() -> Result<(), CallError>,
) -> Result<Duration, CallError> {
    let mut rounds = [Duration::ZERO; 15];
    for round in &mut rounds {
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        *round = start.elapsed() / calls.max(1);
    }
    rounds.sort();
    println!("{what}: min {:?}, median {:?}", rounds[0], rounds[7]);
    Ok(rounds[7])
}
