//! Objects of the guest, as the host holds them.

use std::sync::Arc;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A loaded program.
    Program,
    /// A map.
    Map,
}

/// A program or map in a VM. The last reference frees it in the guest.
#[derive(Debug)]
pub struct Object {
    handle: u32,
    kind: Kind,
    keeps: Vec<Arc<Object>>,
}

impl Object {
    /// The guest's name for it.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Objects that live at least as long.
    pub fn keeps(&self) -> &[Arc<Object>] {
        &self.keeps
    }

    /// [`Vm::id`](crate::Vm::id) of its VM.
    pub fn vm_id(&self) -> u64 {
        todo!()
    }

    /// Offset and length in shared memory of a map's storage; zeroes for a program.
    pub fn storage(&self) -> (u64, u64) {
        todo!()
    }
}
