//! Exchanges the program of a running filter, without losing a packet: packets
//! are delivered to a packet source while the link behind it changes programs.
//!
//! Run with `cargo run --release --example reload`. Needs /dev/kvm.

use bpfvisor::asm::assemble;
use bpfvisor::uapi::ProgType;
use bpfvisor::{Link, PacketSource, Program, ProgramSpec, Vm};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const RELOADS: u32 = 50;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A program that answers its version.
fn version(vm: &Vm, n: u32) -> Result<Program> {
    let insns = assemble(&format!("r0 = {n}\nexit"))?;
    let spec = ProgramSpec::xdp(insns).license("GPL").name("version");
    Ok(vm.load(spec)?)
}

/// Loads one version after the other; each takes over between two packets.
fn reload(vm: &Vm, link: &Link) -> Result<()> {
    for n in 1..=RELOADS {
        link.update(&version(vm, n)?)?;
    }
    Ok(())
}

/// Delivers packets until told to stop, and one more: how many each version answered.
fn traffic(source: &PacketSource, stop: &AtomicBool) -> Result<(u64, BTreeMap<u32, u64>)> {
    let (mut sent, mut answers) = (0, BTreeMap::new());
    loop {
        let last = stop.load(Ordering::Relaxed);
        sent += 1;
        // `None` would be a packet that no program saw.
        if let Some(out) = source.deliver(&[0; 64])? {
            *answers.entry(out.retval).or_default() += 1;
        }
        if last {
            return Ok((sent, answers));
        }
    }
}

/// Packets sent, packets answered, and how many versions answered them.
pub fn run() -> Result<(u64, u64, usize)> {
    let vm = Vm::builder().boot()?;
    let source = vm.packet_source("uplink", ProgType::Xdp);
    let link = source.attach(&version(&vm, 0)?)?;
    // The first packet goes by before, the last one behind all changes.
    let (first, mut answers) = traffic(&source, &AtomicBool::new(true))?;
    let stop = AtomicBool::new(false);
    let (sent, later) = thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&source, &stop));
        let reloaded = reload(&vm, &link);
        stop.store(true, Ordering::Relaxed);
        let counted = traffic.join().map_err(|_| "the traffic thread panicked")?;
        reloaded.and(counted)
    })?;
    for (version, count) in later {
        *answers.entry(version).or_default() += count;
    }
    Ok((first + sent, answers.values().sum(), answers.len()))
}

#[allow(dead_code)] // the test has its own
fn main() -> Result<()> {
    let (sent, answered, versions) = run()?;
    let all = RELOADS + 1;
    println!("{sent} packets, {answered} answered, by {versions} versions of {all}");
    println!("lost: {}", sent - answered);
    Ok(())
}
