//! Reading a map from shared memory, without asking the guest.

use crate::vm::VmInner;
use bpf_core::map::{Geometry, MapError};
use bpfvisor_vmm::Object;

/// A map's storage, and how to read it.
#[derive(Debug)]
pub(super) struct HostMap {}

impl HostMap {
    pub fn new(_vm: &VmInner, _geometry: &Geometry, _object: &Object) -> Option<Self> {
        None
    }

    /// Copies a value out; `None` where the guest must be asked.
    pub fn lookup(&self, _key: &[u8], _value: &mut [u8]) -> Option<Result<(), MapError>> {
        None
    }
}
