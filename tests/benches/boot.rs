//! What a VM costs: `Vm::boot`, one from a pool, and drop beside the bare floor of KVM, which is
//! to create a VM and a vCPU, give them 2 MiB and run to the first exit.
//!
//!     cargo bench -p bpfvisor-tests --bench boot
#![allow(clippy::unwrap_used, missing_docs, unsafe_code)]

mod support;

use bpfvisor::Vm;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use std::cell::Cell;
use std::time::{Duration, Instant};
use support::{in_turns, show};

const MEMORY: usize = 2 << 20;

fn main() {
    let kvm = Kvm::new().unwrap();
    let (closing, dropping) = (Cell::new(0.0), Cell::new(0.0));
    let pool = Vm::builder().pool(2).unwrap();
    let mut contenders: [support::Contender<'_>; 6] = [
        (
            "floor: create, first exit",
            Box::new(|| {
                let start = Instant::now();
                let bare = Bare::boot(&kvm);
                let took = nanos(start);
                let start = Instant::now();
                drop(bare);
                closing.set(nanos(start));
                took
            }),
        ),
        (
            "Vm::boot",
            Box::new(|| {
                let start = Instant::now();
                let vm = Vm::builder().boot().unwrap();
                let took = nanos(start);
                let start = Instant::now();
                drop(vm);
                dropping.set(nanos(start));
                took
            }),
        ),
        (
            "Vm::boot, 16 MiB, heap of 8",
            Box::new(|| {
                let start = Instant::now();
                let vm = Vm::builder().memory(16 << 20).heap(8 << 20).boot().unwrap();
                let took = nanos(start);
                drop(vm);
                took
            }),
        ),
        (
            "VmPool::take",
            Box::new(|| {
                while pool.ready() < 2 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let start = Instant::now();
                let vm = pool.take().unwrap();
                let took = nanos(start);
                // What boots in its place must not be in the others' time.
                while pool.ready() < 2 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                drop(vm);
                took
            }),
        ),
        ("floor: close", Box::new(|| closing.get())),
        ("drop of the Vm", Box::new(|| dropping.get())),
    ];
    let stats = in_turns(Duration::from_secs(8), &mut contenders);
    show("Boot", &contenders, &stats);
}

fn nanos(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}

/// A VM whose first instruction writes to a port. KVM goes before its memory.
struct Bare {
    vcpu: Option<VcpuFd>,
    vm: Option<VmFd>,
    memory: *mut libc::c_void,
}

impl Bare {
    fn boot(kvm: &Kvm) -> Self {
        const OUT_AND_SPIN: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];
        let vm = kvm.create_vm().unwrap();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at no particular place.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), MEMORY, rights, flags, -1, 0) };
        assert!(memory != libc::MAP_FAILED, "mmap of 2 MiB");
        // SAFETY: the mapping is longer, aligned, and nobody else knows it yet.
        unsafe { memory.cast::<[u8; 4]>().write(OUT_AND_SPIN) };
        let slot = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: memory as u64,
            ..Default::default()
        };
        // SAFETY: the mapping is unmapped only after the VM is gone (`drop`).
        unsafe { vm.set_user_memory_region(slot).unwrap() };
        let mut vcpu = vm.create_vcpu(0).unwrap();
        let mut system = vcpu.get_sregs().unwrap();
        (system.cs.base, system.cs.selector) = (0, 0);
        vcpu.set_sregs(&system).unwrap();
        let mut general = vcpu.get_regs().unwrap();
        (general.rip, general.rflags) = (0, 2);
        vcpu.set_regs(&general).unwrap();
        assert!(matches!(vcpu.run().unwrap(), VcpuExit::IoOut(0x10, _)));
        Self {
            vcpu: Some(vcpu),
            vm: Some(vm),
            memory,
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.vcpu.take());
        drop(self.vm.take());
        // SAFETY: the mapping of `boot`; its only user is gone.
        unsafe { libc::munmap(self.memory, MEMORY) };
    }
}
