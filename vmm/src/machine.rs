//! One KVM virtual machine with its two memory slots.
#![allow(unsafe_code)]

use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{VcpuFd, VmFd};

use crate::error::BootError;
use crate::host::{Host, kvm_error};
use crate::memory::Private;
use crate::shared::SharedMemory;

/// A new, empty VM.
fn create_vm(host: &Host) -> Result<VmFd, BootError> {
    loop {
        match host.kvm.create_vm() {
            Err(e) if e.errno() == libc::EINTR => {}
            result => return result.map_err(kvm_error("create a VM")),
        }
    }
}

/// A VM and the memory it runs in. The order of fields matters: KVM goes first.
#[derive(Debug)]
pub(crate) struct Machine {
    vm: VmFd,
    pub(crate) private: Arc<Private>,
    _shared: Arc<SharedMemory>,
}

impl Machine {
    /// A VM with its two slots and no vCPU.
    pub(crate) fn new(
        host: &Host,
        private: Arc<Private>,
        shared: Arc<SharedMemory>,
    ) -> Result<Self, BootError> {
        let vm = create_vm(host)?;
        let slots = [
            slot(0, 0, private.places.private_len(), private.mapping.as_ptr()),
            slot(1, private.places.shared, shared.len(), shared.as_ptr()),
        ];
        for slot in slots {
            // SAFETY: each slot is a whole mapping that this value keeps alive,
            // as every vCPU keeps this value, and that the host reaches only
            // through volatile accesses.
            unsafe { vm.set_user_memory_region(slot) }
                .map_err(kvm_error("give the VM its memory"))?;
        }
        Ok(Self {
            vm,
            private,
            _shared: shared,
        })
    }

    pub(crate) fn create_vcpu(&self, index: u32) -> Result<VcpuFd, BootError> {
        self.vm
            .create_vcpu(u64::from(index))
            .map_err(kvm_error("create a vCPU"))
    }
}

fn slot(slot: u32, at: u64, len: u64, host: *mut u8) -> kvm_userspace_memory_region {
    kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: at,
        memory_size: len,
        userspace_addr: host as u64,
    }
}
