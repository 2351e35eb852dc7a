//! One KVM virtual machine with its two memory slots.
#![allow(unsafe_code)]

use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;

use crate::error::BootError;
use crate::host::{Host, kvm_error};
use crate::memory::Private;
use crate::shared::SharedMemory;

/// A new, empty VM.
pub(crate) fn create_vm(host: &Host) -> Result<VmFd, BootError> {
    loop {
        match host.kvm.create_vm() {
            Err(e) if e.errno() == libc::EINTR => {}
            result => return result.map_err(kvm_error("create a VM")),
        }
    }
}

/// A VM and the memory it runs in. Every vCPU that runs holds on to it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) private: Private,
    _shared: Arc<SharedMemory>,
}

impl Machine {
    /// Gives `vm` its memory.
    pub(crate) fn new(
        vm: &VmFd,
        private: Private,
        shared: Arc<SharedMemory>,
    ) -> Result<Self, BootError> {
        let slots = [
            slot(0, 0, private.places.private_len(), private.mapping.as_ptr()),
            slot(1, private.places.shared, shared.len(), shared.as_ptr()),
        ];
        for slot in slots {
            // SAFETY: each slot is a whole mapping that this value keeps alive
            // for as long as a vCPU may run, and that the host reaches only
            // through volatile accesses. (Once unmapped, KVM knows it, too.)
            unsafe { vm.set_user_memory_region(slot) }
                .map_err(kvm_error("give the VM its memory"))?;
        }
        Ok(Self {
            private,
            _shared: shared,
        })
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
