//! Time to boot a VM against the bare floor of KVM: create a VM, give it 2 MiB,
//! create a vCPU, run it to its first exit. Both in turns, in one process.
//!
//!     cargo run --release -p bpfvisor-vmm --example boot [ROUNDS]
#![allow(unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use bpfvisor_vmm::{Config, Vm};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit};

const MEMORY: usize = 2 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(100), |n| n.parse())?;
    let kvm = Kvm::new()?;
    let (mut floor, mut boot, mut drops) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + 3 {
        let bare = bare(&kvm)?;
        let start = Instant::now();
        let vm = Vm::boot(Config::default())?;
        let ours = start.elapsed();
        let start = Instant::now();
        drop(vm);
        if round >= 3 {
            floor.push(bare);
            boot.push(ours);
            drops.push(start.elapsed());
        }
    }
    let (floor, boot) = (
        line("bare KVM floor", &mut floor),
        line("Vm::boot", &mut boot),
    );
    line("drop of the VM", &mut drops);
    println!(
        "boot / floor (medians): {:.2}",
        boot.as_secs_f64() / floor.as_secs_f64()
    );
    Ok(())
}

/// Prints and gives the median.
fn line(what: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let at = |nth: usize| times.get(nth).copied().unwrap_or_default();
    let (min, median, p90) = (at(0), at(times.len() / 2), at(times.len() * 9 / 10));
    println!("{what:<16} min {min:>10.1?}  median {median:>10.1?}  p90 {p90:>10.1?}");
    median
}

/// A vCPU in real mode whose first instruction writes to a port.
fn bare(kvm: &Kvm) -> Result<Duration, Box<dyn Error>> {
    const OUT_AND_SPIN: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];
    let start = Instant::now();
    let vm = kvm.create_vm()?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping; it is unmapped below, after the VM is gone.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), MEMORY, rights, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the mapping is longer, and nobody else knows it yet.
    unsafe { memory.cast::<[u8; 4]>().add(0x1000 / 4).write(OUT_AND_SPIN) };
    let slot = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory as u64,
        ..Default::default()
    };
    // SAFETY: the mapping outlives the VM.
    unsafe { vm.set_user_memory_region(slot)? };
    let mut vcpu = vm.create_vcpu(0)?;
    let mut system = vcpu.get_sregs()?;
    (system.cs.base, system.cs.selector) = (0, 0);
    vcpu.set_sregs(&system)?;
    let mut general = vcpu.get_regs()?;
    (general.rip, general.rflags) = (0x1000, 2);
    vcpu.set_regs(&general)?;
    let exit = vcpu.run()?;
    let took = start.elapsed();
    if !matches!(exit, VcpuExit::IoOut(0x10, _)) {
        return Err(format!("unexpected exit {exit:?}").into());
    }
    drop(vcpu);
    drop(vm);
    // SAFETY: nobody uses the mapping any more.
    unsafe { libc::munmap(memory, MEMORY) };
    Ok(took)
}
