//! Descriptors for objects.
//!
//! A program or map is one end of a socket pair; the VMM keeps the other. All
//! copies of the descriptor, in whatever process, are the same socket, so
//! `fstat` tells which object it is, and when the last copy is closed the VMM's
//! end hangs up. One thread per process waits for that.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::error::{CallError, FdError};
use crate::jail;
use crate::object::{Access, Object};
use crate::stat::{Inode, inode};

/// An exported object, and the end of its socket pair that the VMM keeps.
#[derive(Debug)]
struct Export {
    object: Arc<Object>,
    access: Access,
    _kept: UnixStream,
    token: u64,
}

#[derive(Debug, Default)]
struct Table {
    by_inode: HashMap<Inode, Export>,
    /// How epoll names an export: descriptors' numbers are used again too soon.
    by_token: HashMap<u64, Inode>,
    last_token: u64,
}

/// All descriptors of all VMs of this process.
pub(crate) struct Registry {
    table: Mutex<Table>,
    /// Wakes the watcher when a kept end hangs up.
    hangups: Epoll,
}

fn os(step: &'static str) -> impl Fn(io::Error) -> CallError {
    move |e| CallError::Os {
        step,
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    }
}

impl Registry {
    /// The process's registry; its watcher starts with the first use.
    pub(crate) fn get() -> Result<&'static Self, CallError> {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(registry) = REGISTRY.get() {
            return Ok(registry);
        }
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = REGISTRY.get() {
            return Ok(registry);
        }
        let hangups = Epoll::new().map_err(os("create an epoll descriptor"))?;
        let registry = REGISTRY.get_or_init(|| Self {
            table: Mutex::default(),
            hangups,
        });
        start_watcher(registry).map_err(os("start the descriptors' thread"))?;
        Ok(registry)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new descriptor that stands for the object and keeps it alive.
    pub(crate) fn export(
        &self,
        object: &Arc<Object>,
        access: Access,
    ) -> Result<OwnedFd, CallError> {
        let (given, kept) = UnixStream::pair().map_err(os("create a descriptor"))?;
        let key = inode(given.as_raw_fd()).map_err(os("look at a descriptor"))?;
        let mut table = self.table();
        table.last_token += 1;
        let token = table.last_token;
        let event = EpollEvent::new(EventSet::HANG_UP, token);
        self.hangups
            .ctl(ControlOperation::Add, kept.as_raw_fd(), event)
            .map_err(os("watch a descriptor"))?;
        object.opened();
        let object = Arc::clone(object);
        table.by_inode.insert(
            key,
            Export {
                object,
                access,
                _kept: kept,
                token,
            },
        );
        table.by_token.insert(token, key);
        Ok(given.into())
    }

    /// The object that a descriptor stands for, and what for.
    pub(crate) fn resolve(&self, fd: RawFd) -> Result<(Arc<Object>, Access), FdError> {
        let key = inode(fd).map_err(|_| FdError::NotOpen(fd))?;
        let table = self.table();
        let export = table.by_inode.get(&key).ok_or(FdError::NotOurs(fd))?;
        Ok((Arc::clone(&export.object), export.access))
    }

    /// Lets go of all objects of a VM, whose descriptors then name nothing.
    pub(crate) fn forget_vm(&self, id: u64) {
        let mut gone = Vec::new();
        let mut table = self.table();
        table.by_inode.retain(|_, export| {
            let of_vm = export.object.vm_id() == id;
            if of_vm {
                gone.push((Arc::clone(&export.object), export.token));
            }
            !of_vm
        });
        for (_, token) in &gone {
            table.by_token.remove(token);
        }
        // The objects go only after the lock.
        drop(table);
    }

    /// Lets go of the objects whose last descriptor was closed.
    fn reap(&self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); 64];
        let count = self.hangups.wait(0, &mut events)?;
        let mut gone = Vec::new();
        let mut table = self.table();
        for event in events.iter().take(count) {
            if let Some(key) = table.by_token.remove(&event.data()) {
                gone.extend(table.by_inode.remove(&key));
            }
        }
        drop(table);
        gone.iter().for_each(|export| export.object.closed());
        Ok(())
    }
}

/// The registry as a subscriber of the process's event loop.
struct Watcher(&'static Registry);

impl MutEventSubscriber for Watcher {
    fn process(&mut self, _: Events, _: &mut EventOps) {
        // Interrupted or not, epoll says it again.
        let _ = self.0.reap();
    }

    fn init(&mut self, ops: &mut EventOps) {
        // Without it closed descriptors would keep their objects; `ctl` on two
        // descriptors of our own fails only for lack of kernel memory.
        let _ = ops.add(Events::new(&self.0.hangups, EventSet::IN));
    }
}

fn start_watcher(registry: &'static Registry) -> io::Result<()> {
    let mut manager = EventManager::<Watcher>::new().map_err(io::Error::other)?;
    manager.add_subscriber(Watcher(registry));
    let run = move || {
        jail::confine(jail::Role::Fds);
        while manager.run().is_ok() {}
    };
    std::thread::Builder::new()
        .name("bpfvisor-fds".into())
        .spawn(run)?;
    Ok(())
}
