//! Objects of the guest, as the host holds them.
//!
//! Dropping the last reference must free the object in the guest, but a drop may
//! happen anywhere, even on the thread that watches the descriptors of all VMs:
//! it must not wait behind a long request. So it digs a grave, and buries it if
//! a vCPU is free; if none is, whoever gives one back does it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bpfvisor_abi::op::code;

use crate::alloc::Block;
use crate::core::Core;

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
    core: Arc<Core>,
    handle: u32,
    kind: Kind,
    keeps: Vec<Arc<Object>>,
    storage: Option<Block>,
}

/// What is left of an object until the guest has let go of it.
#[derive(Debug)]
pub(crate) struct Grave {
    handle: u32,
    kind: Kind,
    _keeps: Vec<Arc<Object>>,
    _storage: Option<Block>,
}

impl Object {
    pub(crate) fn new(
        core: &Arc<Core>,
        (kind, handle): (Kind, u32),
        storage: Option<Block>,
        keeps: Vec<Arc<Object>>,
    ) -> Arc<Self> {
        core.objects.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            core: Arc::clone(core),
            handle,
            kind,
            keeps,
            storage,
        })
    }

    /// The guest's name for it.
    #[inline]
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
    #[inline]
    pub fn vm_id(&self) -> u64 {
        self.core.id
    }

    /// The storage of a map, in shared memory.
    pub fn storage(&self) -> Option<&Block> {
        self.storage.as_ref()
    }

    /// The shared memory of its VM, which stays mapped while the object lives.
    pub fn shared(&self) -> &crate::SharedMemory {
        &self.core.shared
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.core.objects.fetch_sub(1, Ordering::Relaxed);
        if self.kind == Kind::Program {
            self.core.programs.remove(self.handle);
        }
        if self.core.fault().is_some() {
            return;
        }
        let grave = Grave {
            handle: self.handle,
            kind: self.kind,
            _keeps: std::mem::take(&mut self.keeps),
            _storage: self.storage.take(),
        };
        self.core.graves().push(grave);
        self.core.unburied.store(true, Ordering::SeqCst);
        self.core.bury();
    }
}

impl Core {
    fn graves(&self) -> MutexGuard<'_, Vec<Grave>> {
        self.graves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees dropped objects in the guest, if a lane is free. If none is, its
    /// holder looks at `unburied` after it has given the lane back.
    pub(crate) fn bury(&self) {
        while self.unburied.load(Ordering::SeqCst) {
            let Some((lane, mut turn)) = self.free_lane() else {
                return;
            };
            self.unburied.store(false, Ordering::SeqCst);
            let graves = std::mem::take(&mut *self.graves());
            for grave in &graves {
                let op = match grave.kind {
                    Kind::Program => code::PROG_UNLOAD,
                    Kind::Map => code::MAP_FREE,
                };
                let arg = [u64::from(grave.handle), 0, 0, 0, 0, 0, 0];
                // A guest that refuses keeps its memory; a dead one is gone.
                let _ = lane.call(self, &mut turn, (op, &arg), self.config.call_timeout);
            }
            drop(turn);
            // May drop more objects, and so come back here.
            drop(graves);
        }
    }
}
