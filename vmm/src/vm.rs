//! A virtual machine: the facade of this crate.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use bpfvisor_abi::op::{MapRecord, Packet, Run, RunResult};
use bpfvisor_abi::ring::Completion;

use crate::alloc::Block;
use crate::config::Config;
use crate::error::{BootError, CallError, FdError};
use crate::fault::FaultReport;
use crate::load::{LoadError, LoadRequest, Loaded};
use crate::object::Object;
use crate::shared::SharedMemory;

/// Counters since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmStats {
    /// Requests answered.
    pub calls: u64,
    /// Times a sleeping vCPU was woken for a request.
    pub wakes: u64,
    /// Times a caller slept for its answer.
    pub waits: u64,
    /// Exits of all vCPUs to the VMM.
    pub exits: u64,
    /// Programs cut short by the watchdog.
    pub timeouts: u64,
    /// Objects alive in the guest.
    pub objects: u64,
    /// Bytes of shared memory given out.
    pub shared_used: u64,
    /// From the call of [`Vm::boot`] to the guest's announcement, ns.
    pub boot_ns: u64,
}

/// A running VM. Clones name the same VM; it is shut down when the last of them
/// is dropped, whatever descriptors are still open.
#[derive(Clone, Debug)]
pub struct Vm(Arc<()>);

#[allow(unused_variables, missing_docs)]
impl Vm {
    pub fn boot(config: Config) -> Result<Vm, BootError> {
        todo!()
    }
    /// Unique in this process.
    pub fn id(&self) -> u64 {
        todo!()
    }
    pub fn shared(&self) -> &SharedMemory {
        todo!()
    }
    pub fn alloc(&self, len: u64, align: u64) -> Result<Block, CallError> {
        todo!()
    }
    pub fn alloc_low(&self, len: u64, align: u64) -> Result<Block, CallError> {
        todo!()
    }
    pub fn create_map(
        &self,
        record: MapRecord,
        storage: Block,
        keeps: Vec<Arc<Object>>,
    ) -> Result<Arc<Object>, CallError> {
        todo!()
    }
    pub fn load(&self, request: LoadRequest<'_>) -> Result<Loaded, LoadError> {
        todo!()
    }
    pub fn call(&self, op: u32, arg: [u64; 7]) -> Result<Completion, CallError> {
        todo!()
    }
    pub fn run(&self, program: &Arc<Object>, run: Run) -> Result<RunResult, CallError> {
        todo!()
    }
    pub fn run_batch(
        &self,
        program: &Arc<Object>,
        packets: &mut [Packet],
    ) -> Result<(), CallError> {
        todo!()
    }
    pub fn export(&self, object: &Arc<Object>) -> Result<OwnedFd, CallError> {
        todo!()
    }
    pub fn resolve(&self, fd: RawFd) -> Result<Arc<Object>, FdError> {
        todo!()
    }
    pub fn take_trace(&self) -> String {
        todo!()
    }
    pub fn fault(&self) -> Option<Arc<FaultReport>> {
        todo!()
    }
    pub fn is_alive(&self) -> bool {
        todo!()
    }
    pub fn stats(&self) -> VmStats {
        todo!()
    }
}
