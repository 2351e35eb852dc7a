//! The runtime of one VM, shared by its vCPUs.
use crate::dispatch;
use crate::hal::{Machine, Shared};
use crate::queue::Queue;
use alloc::vec::Vec;
use bpf_core::uapi::errno;
use bpfvisor_abi::PROTOCOL_VERSION;
use bpfvisor_abi::boot::{BootInfo, port};
use bpfvisor_abi::layout::{BOOT_INFO, MAX_VCPUS};
use bpfvisor_abi::ring::Phase;

/// Everything that lives as long as the VM.
pub struct Runtime {
    pub(crate) machine: &'static dyn Machine,
    pub(crate) shared: Shared,
    pub(crate) boot: BootInfo,
    queues: Vec<Queue>,
}

impl Runtime {
    /// A runtime over a machine and its shared slot.
    ///
    /// # Panics
    /// If the boot record is of another protocol version or names more vCPUs
    /// than there is room for: the image does not belong to this VMM.
    #[allow(clippy::panic)]
    pub fn new(machine: &'static dyn Machine, shared: Shared) -> Self {
        let boot: BootInfo = shared.read(BOOT_INFO).unwrap_or_default();
        if boot.version != PROTOCOL_VERSION {
            panic!(
                "protocol version {} expected, the VMM speaks {}",
                PROTOCOL_VERSION, boot.version
            );
        }
        let queues: Vec<Queue> = (0..boot.vcpus.min(MAX_VCPUS))
            .map_while(|v| Queue::new(shared, v))
            .collect();
        if queues.is_empty() || queues.len() != boot.vcpus as usize {
            panic!("no room for the queues of {} vCPUs", boot.vcpus);
        }
        Self {
            machine,
            shared,
            boot,
            queues,
        }
    }

    /// Announces a vCPU to the VMM.
    pub fn ready(&self, _vcpu: u32) {
        self.machine.ready();
    }

    /// Serves one vCPU's queue until the host asks it to stop.
    pub fn serve(&self, vcpu: u32) {
        let Some(queue) = self.queues.get(vcpu as usize) else {
            return self.machine.out(port::STOPPED, vcpu);
        };
        loop {
            queue.set_phase(Phase::Idle);
            let Some(sub) = queue.wait(self.machine, self.boot.idle_polls) else {
                return self.machine.out(port::STOPPED, vcpu);
            };
            queue.set_phase(Phase::Runtime);
            let (status, val) = dispatch::execute(self, vcpu, &sub);
            queue.complete(self.machine, status, val);
        }
    }

    /// Answers the request that the watchdog cut short with ETIMEDOUT.
    pub fn aborted(&self, vcpu: u32) {
        let Some(queue) = self.queues.get(vcpu as usize) else {
            return;
        };
        if queue.phase() == Phase::Program as u32 && queue.poll().is_some() {
            queue.set_phase(Phase::Runtime);
            queue.complete(self.machine, -errno::ETIMEDOUT, [0; 7]);
        }
    }
}
