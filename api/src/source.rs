//! Where packets come from inside a process, and the programs linked to it.
//!
//! A [`PacketSource`] is to a VM what a network device is to Linux: a place to
//! which a program is linked, and through which packets are delivered. The link
//! is a descriptor; the program behind it can be exchanged between two packets.

use crate::error::{CallerError, Error, HostError, Result};
use crate::program::{Program, ProgramCore, ProgramInfo, Spare};
use crate::registry::Pinned;
use crate::run::{RunOutput, TestRun};
use crate::vm::Vm;
use bpf_core::uapi::{ProgType, errno};
use bpfvisor_vmm::Object;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, Weak};

const ENOLINK: i32 = 67;

/// A named place in this process from which packets come.
#[derive(Clone, Debug)]
pub struct PacketSource {
    vm: Vm,
    state: Arc<SourceState>,
    spare: Arc<Spare>,
}

#[derive(Debug)]
pub(crate) struct SourceState {
    name: String,
    index: u32,
    prog_type: ProgType,
    linked: RwLock<Option<Arc<Slot>>>,
    delivered: AtomicU64,
}

/// The program of a link.
#[derive(Debug)]
struct Slot(RwLock<Linked>);

/// Without the VM, so that what is linked does not keep it running.
#[derive(Clone, Debug)]
struct Linked {
    object: Arc<Object>,
    info: Arc<ProgramInfo>,
}

/// A link's other half: as long as it is there, the program is linked.
#[derive(Debug)]
pub(crate) struct LinkState {
    pub id: u32,
    pub index: u32,
    source: Weak<SourceState>,
    slot: Arc<Slot>,
}

/// A program linked to a [`PacketSource`]. It owns a real descriptor; when the
/// last copy of that is closed, the program is unlinked.
#[derive(Debug)]
#[doc(alias = "BPF_LINK_TYPE_XDP")]
pub struct Link {
    vm: Vm,
    state: Arc<LinkState>,
    fd: OwnedFd,
}

fn refused(what: impl Into<String>, errno: i32) -> Error {
    CallerError::Create {
        what: what.into(),
        errno,
    }
    .into()
}

impl Vm {
    /// Makes a place for packets to come from, for programs of one type. Its
    /// [`index`](PacketSource::index) is what `BPF_LINK_CREATE` calls
    /// `target_ifindex`. It is gone with its last clone.
    pub fn packet_source(&self, name: &str, prog_type: ProgType) -> PacketSource {
        let registry = &self.inner.registry;
        let state = registry.sources.add(|index| SourceState {
            name: name.into(),
            index,
            prog_type,
            linked: RwLock::default(),
            delivered: AtomicU64::new(0),
        });
        PacketSource {
            vm: self.clone(),
            state,
            spare: Arc::default(),
        }
    }
}

impl PacketSource {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its number in the VM, from 1.
    #[doc(alias = "target_ifindex")]
    pub fn index(&self) -> u32 {
        self.state.index
    }

    /// How many packets programs have seen here.
    pub fn delivered(&self) -> u64 {
        self.state.delivered.load(Relaxed)
    }

    /// Links a program.
    ///
    /// # Errors
    /// EBUSY where one is linked already ([`Link::update`] exchanges it), EINVAL
    /// for a program of another type, EXDEV for one of another VM.
    #[doc(alias = "BPF_LINK_CREATE")]
    pub fn attach(&self, program: &Program) -> Result<Link> {
        if program.vm().id() != self.vm.id() {
            return Err(refused("a program of another VM", errno::EXDEV));
        }
        let state = link(&self.vm, &self.state, program.core())?;
        let fd = export(&self.vm, &state)?;
        let vm = self.vm.clone();
        Ok(Link { vm, state, fd })
    }

    /// Runs the linked program over a packet; `None` where none is linked. Each
    /// packet is seen by exactly one program, also while it is exchanged.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn deliver(&self, packet: &[u8]) -> Result<Option<RunOutput>> {
        let Some(linked) = self.state.current() else {
            return Ok(None);
        };
        let program = ProgramCore {
            vm: self.vm.clone(),
            object: linked.object,
            info: linked.info,
        };
        let run = TestRun {
            data: packet,
            ..TestRun::default()
        };
        let out = program.test_run(&run, &self.spare)?;
        self.state.delivered.fetch_add(1, Relaxed);
        Ok(Some(out))
    }
}

impl SourceState {
    /// The program that is to see the next packet.
    fn current(&self) -> Option<Linked> {
        let linked = self.linked.read().unwrap_or_else(PoisonError::into_inner);
        let slot = linked.as_ref()?;
        Some(slot.get())
    }
}

impl Slot {
    fn get(&self) -> Linked {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Links a program to a source of the same VM.
pub(crate) fn link(
    vm: &Vm,
    source: &Arc<SourceState>,
    program: &ProgramCore,
) -> Result<Arc<LinkState>> {
    let wanted = source.prog_type;
    if program.prog_type() != wanted {
        return Err(Error::argument(format!(
            "packet source {:?} takes programs of type {}, not {}",
            source.name,
            wanted.name(),
            program.prog_type().name()
        )));
    }
    let mut linked = source
        .linked
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    if linked.is_some() {
        return Err(refused(
            format!("packet source {:?} has a program already", source.name),
            errno::EBUSY,
        ));
    }
    let slot = Arc::new(Slot(RwLock::new(Linked {
        object: program.object.clone(),
        info: program.info.clone(),
    })));
    *linked = Some(slot.clone());
    drop(linked);
    let index = source.index;
    let source = Arc::downgrade(source);
    Ok(vm.inner.registry.link_ids.add(|id| LinkState {
        id,
        index,
        source,
        slot,
    }))
}

/// One more descriptor for a link. A thread sleeps until it is closed, to unlink
/// the program then and not when somebody happens to look.
pub(crate) fn export(vm: &Vm, link: &Arc<LinkState>) -> Result<OwnedFd> {
    let registry = &vm.inner.registry;
    let os = |e: std::io::Error| HostError::Os {
        what: "cannot make a descriptor for a link".into(),
        errno: e.raw_os_error().unwrap_or(errno::EMFILE),
    };
    let (fd, end, key) = registry.links.export_watched(link).map_err(os)?;
    let vm = Arc::downgrade(&vm.inner);
    let watch = move || {
        crate::hosted::wait(end);
        if let Some(vm) = vm.upgrade() {
            vm.registry.links.remove(&key);
        }
    };
    let thread = std::thread::Builder::new().name("bpfvisor-link".into());
    thread.stack_size(64 << 10).spawn(watch).map_err(os)?;
    Ok(fd)
}

impl LinkState {
    /// The program's id; 0 where the link is none any more.
    pub fn prog_id(&self) -> u32 {
        self.slot.get().info.id
    }

    /// The source's index; 0 where the link is none any more.
    pub fn linked_index(&self) -> u32 {
        if self.source().is_some() {
            self.index
        } else {
            0
        }
    }

    /// The source, as long as this link is the one in it.
    fn source(&self) -> Option<Arc<SourceState>> {
        let source = self.source.upgrade()?;
        let linked = source.linked.read().unwrap_or_else(PoisonError::into_inner);
        let own = linked.as_ref().is_some_and(|s| Arc::ptr_eq(s, &self.slot));
        drop(linked);
        own.then_some(source)
    }

    /// Exchanges the program, where `old` is the one there now (or none is named).
    pub fn update(&self, new: &ProgramCore, old: Option<&ProgramCore>) -> Result<()> {
        if self.source().is_none() {
            return Err(refused("the link is detached", ENOLINK));
        }
        let mut linked = self.slot.0.write().unwrap_or_else(PoisonError::into_inner);
        if old.is_some_and(|old| !Arc::ptr_eq(&old.object, &linked.object)) {
            return Err(refused(
                "another program is linked than was named",
                errno::EPERM,
            ));
        }
        if new.prog_type() != linked.info.prog_type {
            return Err(Error::argument(format!(
                "the link is for programs of type {}, not {}",
                linked.info.prog_type.name(),
                new.prog_type().name()
            )));
        }
        let new = Linked {
            object: new.object.clone(),
            info: new.info.clone(),
        };
        let old = std::mem::replace(&mut *linked, new);
        drop(linked);
        drop(old); // may free the program
        Ok(())
    }

    /// Unlinks the program; the link stays, without effect.
    pub fn detach(&self) {
        let Some(source) = self.source.upgrade() else {
            return;
        };
        let mut linked = source
            .linked
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let own = linked.as_ref().is_some_and(|s| Arc::ptr_eq(s, &self.slot));
        let gone = if own { linked.take() } else { None };
        drop(linked);
        drop(gone);
    }
}

impl Drop for LinkState {
    fn drop(&mut self) {
        self.detach();
    }
}

impl Link {
    /// Its number in the VM.
    pub fn id(&self) -> u32 {
        self.state.id
    }

    /// Exchanges the program. A packet that is being looked at is still the old
    /// program's, the next one is the new program's; none is left out.
    ///
    /// # Errors
    /// ENOLINK where the link is detached or its source gone, EINVAL for a
    /// program of another type, EXDEV for one of another VM.
    #[doc(alias = "BPF_LINK_UPDATE")]
    pub fn update(&self, program: &Program) -> Result<()> {
        if program.vm().id() != self.vm.id() {
            return Err(refused("a program of another VM", errno::EXDEV));
        }
        self.state.update(program.core(), None)
    }

    /// Unlinks the program now.
    #[doc(alias = "BPF_LINK_DETACH")]
    pub fn detach(&self) {
        self.state.detach();
    }

    /// Gives the link a name, which keeps the program linked without a
    /// descriptor until [`Vm::unpin`].
    ///
    /// # Errors
    /// As [`Vm::pin`].
    #[doc(alias = "BPF_OBJ_PIN")]
    pub fn pin(&self, path: &str) -> Result<()> {
        self.vm.pin_any(path, Pinned::Link(self.state.clone()))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
