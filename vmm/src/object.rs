//! Objects of the guest, as the host holds them.
//!
//! Dropping the last reference must free the object in the guest, but a drop may
//! happen anywhere, even on the thread that watches the descriptors of all VMs:
//! it must not wait behind a long request. So it digs a grave, and buries it if
//! a vCPU is free; if none is, whoever gives one back does it.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bpfvisor_abi::op::code;
use serde::{Deserialize, Serialize};

use crate::alloc::Block;
use crate::core::Core;
use crate::daemon::Description;
use crate::roll::Origin;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A loaded program.
    Program,
    /// A map.
    Map,
}

/// What a descriptor is good for. It belongs to the descriptor, and all copies of it,
/// not to the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Reading and writing.
    #[default]
    Both,
    /// Reading only (`BPF_F_RDONLY`).
    Read,
    /// Writing only (`BPF_F_WRONLY`).
    Write,
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
    companion: OnceLock<Beside>,
    /// What it was made from, if it is to be made again.
    origin: Option<Origin>,
    /// Its place on the roll.
    place: u64,
    /// The VM's life in which the guest knows it.
    life: AtomicU64,
    /// It is a daemon's, where it has its last references.
    remote: Option<Remote>,
}

/// What a client knows about an object of its daemon.
#[derive(Debug)]
struct Remote {
    description: Description,
    /// A descriptor for it that was not asked for yet.
    given: Mutex<Option<OwnedFd>>,
}

/// What its user keeps with an object, and lets go with it.
struct Beside(Arc<dyn Companion>);

/// What the user of an object knows of it, as long as it lives. Nothing of this
/// may wait for a call into the VM.
pub trait Companion: Any + Send + Sync {
    /// The last of its descriptors was closed (programs may still use it).
    fn last_closed(&self, object: &Object);

    /// Whether the storage of a map is whole, with nobody at it, after the VM has
    /// died anywhere; what an interrupted writer leaves may be put in order.
    ///
    /// # Errors
    /// Why it is not.
    fn mend(&self, object: &Object) -> Result<Kept, String>;

    /// The objects that a map's values name, by key; `None` for other maps.
    fn links(&self) -> Option<Vec<(Vec<u8>, Arc<Object>)>>;

    /// Contents that nobody can change any more.
    fn constant(&self) -> Option<Arc<[u8]>>;

    /// Contents that it had before any program could see it: a map whose contents
    /// are given up begins anew with these, not empty.
    fn initial(&self) -> Option<Arc<[u8]>> {
        None
    }

    /// Whether it was frozen.
    fn is_frozen(&self) -> bool;
}

/// What is to be said of storage that was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Records of a ring buffer that were reserved and never committed.
    pub records_lost: u64,
}

impl std::fmt::Debug for Beside {
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
        origin: impl FnOnce() -> Origin,
    ) -> Arc<Self> {
        core.objects.fetch_add(1, Ordering::Relaxed);
        let origin = core.is_recoverable().then(origin);
        let make = |place| {
            Arc::new(Self {
                core: Arc::clone(core),
                handle,
                kind,
                keeps,
                bound: Mutex::default(),
                storage,
                exports: AtomicU32::new(0),
                companion: OnceLock::new(),
                origin,
                place,
                life: AtomicU64::new(core.life.number()),
                remote: None,
            })
        };
        if core.is_recoverable() {
            core.roll.enter(make)
        } else {
            make(0)
        }
    }

    /// One of the daemon whose VM `core` is.
    pub(crate) fn of_daemon(
        core: &Arc<Core>,
        description: Description,
        given: Option<OwnedFd>,
    ) -> Arc<Self> {
        core.objects.fetch_add(1, Ordering::Relaxed);
        let (offset, len) = description.storage;
        Arc::new(Self {
            core: Arc::clone(core),
            handle: description.handle,
            kind: description.kind,
            keeps: Vec::new(),
            bound: Mutex::default(),
            storage: (len > 0).then(|| core.arena.lent(offset, len)),
            exports: AtomicU32::new(0),
            companion: OnceLock::new(),
            origin: None,
            place: 0,
            life: AtomicU64::new(0),
            remote: Some(Remote {
                description,
                given: Mutex::new(given),
            }),
        })
    }

    /// What a daemon says about it, if it is one of a daemon.
    pub fn description(&self) -> Option<&Description> {
        Some(&self.remote.as_ref()?.description)
    }

    /// The descriptor that came with it, once.
    pub(crate) fn take_given(&self) -> Option<OwnedFd> {
        let given = &self.remote.as_ref()?.given;
        given.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The guest knows it again, after the VM was rebuilt.
    pub(crate) fn reborn(&self) {
        self.life.store(self.core.life.number(), Ordering::Release);
    }

    /// Its name, if it is one that can be made again.
    pub(crate) fn name(&self) -> String {
        let name: &[u8] = match &self.origin {
            Some(Origin::Map(record)) => &record.name,
            Some(Origin::Program(source)) => &source.record.name,
            None => &[],
        };
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// Gives it a companion, which is dropped with it; the first stays.
    pub fn accompany(&self, companion: Arc<dyn Companion>) {
        let _ = self.companion.set(Beside(companion));
    }

    pub(crate) fn companion(&self) -> Option<&dyn Companion> {
        self.companion.get().map(|beside| &*beside.0)
    }

    pub(crate) fn opened(&self) {
        self.exports.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        if self.exports.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(companion) = self.companion()
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

    /// Ids, of those whose `id` is known, of all that it keeps alive.
    pub(crate) fn kept<T>(&self, id: impl Fn(&Object) -> Option<T>) -> Vec<T> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.keeps.iter().chain(bound.iter());
        all.filter_map(|object| id(object)).collect()
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
        if self.remote.is_some() {
            return;
        }
        if self.origin.is_some() {
            self.core.roll.leave(self.place);
        }
        if self.core.life.is_dead() {
            if let Some(storage) = self.storage.take() {
                self.core.set_aside(storage);
            }
            return;
        }
        // The guest of another life does not know it.
        if *self.life.get_mut() != self.core.life.number() {
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

    /// Keeps storage of a VM that has died, and may yet write to it, until its
    /// vCPUs have stopped.
    fn set_aside(&self, storage: Block) {
        self.graves().push(Grave {
            op: code::NOP,
            handle: 0,
            _keeps: Vec::new(),
            storage: Some(storage),
        });
    }

    /// The old machine is gone: what it was to let go of is free.
    pub(crate) fn bury_the_past(&self) {
        self.unburied.store(false, Ordering::SeqCst);
        let graves = std::mem::take(&mut *self.graves());
        drop(graves);
        self.rest.clear();
        self.programs.clear();
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
