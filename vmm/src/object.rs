//! Objects of the guest, as the host holds them.
//!
//! Dropping the last reference must free the object in the guest, but a drop may
//! happen anywhere, even on the thread that watches the descriptors of all VMs:
//! it must not wait behind a long request. So it digs a grave, and buries it if
//! a vCPU is free; if none is, whoever gives one back does it.

use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    /// What it was told to keep later.
    bound: Mutex<Vec<Arc<Object>>>,
    storage: Option<Block>,
    /// Descriptors made of it by [`Vm::export`](crate::Vm::export) that are open.
    exports: AtomicU32,
    companion: OnceLock<Companion>,
}

/// What its user keeps with an object, and lets go with it.
struct Companion(Arc<dyn LastClose>);

/// Something that lives as long as an object and is told when the last of its
/// descriptors was closed (programs may still use the object).
pub trait LastClose: Any + Send + Sync {
    /// On the thread that watches all descriptors: not to wait for anything.
    fn last_closed(&self, object: &Object);
}

impl std::fmt::Debug for Companion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Companion")
    }
}

/// What is left of an object until the guest has let go of it, or what else the
/// guest is to do when it can.
#[derive(Debug)]
pub(crate) struct Grave {
    op: u32,
    handle: u32,
    _keeps: Vec<Arc<Object>>,
    storage: Option<Block>,
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
            bound: Mutex::default(),
            storage,
            exports: AtomicU32::new(0),
            companion: OnceLock::new(),
        })
    }

    /// Gives it a companion, which is dropped with it; the first stays.
    pub fn accompany(&self, companion: Arc<dyn LastClose>) {
        let _ = self.companion.set(Companion(companion));
    }

    pub(crate) fn opened(&self) {
        self.exports.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        if self.exports.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(Companion(companion)) = self.companion.get()
        {
            companion.last_closed(self);
        }
    }

    /// Has the guest empty a program array, soon.
    pub fn clear(&self) {
        self.core.dig(Grave {
            op: code::MAP_CLEAR,
            handle: self.handle,
            _keeps: Vec::new(),
            storage: None,
        });
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

    /// Keeps another object alive from now on; false where it did so already.
    pub fn bind(&self, other: Arc<Object>) -> bool {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |o: &Arc<Object>| Arc::ptr_eq(o, &other);
        if self.keeps.iter().any(known) || bound.iter().any(known) {
            return false;
        }
        bound.push(other);
        true
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
        self.core.dig(Grave {
            op: match self.kind {
                Kind::Program => code::PROG_UNLOAD,
                Kind::Map => code::MAP_FREE,
            },
            handle: self.handle,
            _keeps: std::mem::take(&mut self.keeps),
            storage: self.storage.take(),
        });
    }
}

impl Core {
    fn graves(&self) -> MutexGuard<'_, Vec<Grave>> {
        self.graves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dig(&self, grave: Grave) {
        self.graves().push(grave);
        self.unburied.store(true, Ordering::SeqCst);
        self.bury();
    }

    /// Frees dropped objects in the guest, if a lane is free. If none is, its
    /// holder looks at `unburied` after it has given the lane back.
    pub(crate) fn bury(&self) {
        while self.unburied.load(Ordering::SeqCst) {
            let Some((lane, mut turn)) = self.free_lane() else {
                return;
            };
            self.unburied.store(false, Ordering::SeqCst);
            self.rested();
            let mut graves = std::mem::take(&mut *self.graves());
            for grave in &mut graves {
                let arg = [u64::from(grave.handle), 0, 0, 0, 0, 0, 0];
                // A guest that refuses keeps its memory; a dead one is gone.
                let _ = lane.call(self, &mut turn, (grave.op, &arg), self.config.call_timeout);
                if let Some(storage) = grave.storage.take() {
                    self.lay_to_rest(storage, lane.index());
                }
            }
            drop(turn);
            // May drop more objects, and so come back here.
            drop(graves);
        }
    }
}
