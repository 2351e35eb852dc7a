//! A client's connection to its daemon.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bpfvisor_abi::op::MapRecord;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::socket_with;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to};
use zerocopy::IntoBytes;

use super::socket::{Socket, SocketError};
use super::wire::{Description, MAGIC, Refusal, Reply, Request, VERSION, Welcome};
use crate::bell::Bell;
use crate::config::Config;
use crate::core::Core;
use crate::doorbell::Doorbell;
use crate::error::{CallError, ConnectError, FdError};
use crate::fault::{Cause, FaultReport};
use crate::image::Image;
use crate::lane::Lane;
use crate::load::LoadRequest;
use crate::mapping::keeps_its_length;
use crate::object::{Access, Kind, Object};
use crate::shared::SharedMemory;
use crate::stat::inode;

/// How long a daemon may take to say hello, and to take a request.
const GREETING: Duration = Duration::from_secs(10);
/// How long a request may take: a load verifies for two minutes at most.
const PATIENCE: Duration = Duration::from_secs(180);

/// The connection. Requests go one at a time.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    turn: Mutex<Vec<u8>>,
    /// Objects of the daemon that this process knows: one value for each.
    known: Mutex<HashMap<u32, Weak<Object>>>,
    core: Mutex<Weak<Core>>,
}

fn own<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// Connects to the daemon that listens at `path`.
pub(crate) fn connect(path: &Path) -> Result<Arc<Core>, ConnectError> {
    let socket = open(path).map_err(|source| ConnectError::NoDaemon {
        path: path.to_path_buf(),
        source,
    })?;
    let protocol = |text: String| ConnectError::Protocol {
        path: path.to_path_buf(),
        text,
    };
    let (welcome, fds) = greet(&socket, path)?;
    let config = config(&welcome).ok_or_else(|| protocol("its VM makes no sense".into()))?;
    let mut fds = fds.into_iter();
    let memory = fds
        .next()
        .ok_or_else(|| protocol("no memory came".into()))?;
    let memory = File::from(memory);
    if !keeps_its_length(&memory, welcome.shared_len) {
        return Err(protocol("its memory is short, or may become so".into()));
    }
    let shared = Arc::new(SharedMemory::of_file(memory, welcome.shared_len)?);
    let bells: Vec<_> = fds.map(Doorbell::from_fd).collect();
    if bells.len() != 2 * config.vcpus as usize {
        return Err(protocol("not as many bells as vCPUs came".into()));
    }
    let (mut wakes, mut dones) = (bells, Vec::new());
    dones.extend(wakes.drain(config.vcpus as usize..));
    let lanes = (0..).zip(wakes.into_iter().zip(dones));
    let lanes = lanes
        .map(|(vcpu, bells)| Lane::of_client((config.vcpus, vcpu), welcome.pair, bells))
        .collect();
    let link = Arc::new(Link {
        socket,
        turn: Mutex::default(),
        known: Mutex::default(),
        core: Mutex::default(),
    });
    let image = Image::embedded()?;
    let core = Core::of_client((config, image), shared, lanes, Arc::clone(&link));
    *own(link.core.lock()) = Arc::downgrade(&core);
    watch(link).map_err(|e| protocol(format!("no thread to watch it: {e}")))?;
    Ok(core)
}

fn open(path: &Path) -> io::Result<Socket> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    connect_to(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(Socket::new(socket))
}

/// Says hello.
fn greet(socket: &Socket, path: &Path) -> Result<(Welcome, Vec<OwnedFd>), ConnectError> {
    let wrong = |e: SocketError| ConnectError::Protocol {
        path: path.to_path_buf(),
        text: e.to_string(),
    };
    let hello = Request::Hello {
        magic: MAGIC,
        version: VERSION,
        protocol: bpfvisor_abi::PROTOCOL_VERSION,
    };
    let patience = socket.set_patience(Some(GREETING), GREETING);
    patience.map_err(|e| wrong(e.into()))?;
    // One that refuses may have closed its end already, with its reply in ours.
    let sent = match socket.send(&hello, &[]) {
        sent @ (Ok(()) | Err(SocketError::Closed)) => sent,
        Err(e) => return Err(wrong(e)),
    };
    let (reply, fds) = socket.receive(&mut Vec::new(), usize::MAX).map_err(wrong)?;
    let welcome = match reply {
        Reply::Welcome(welcome) => welcome,
        Reply::Refused(refusal) => return Err(refused(path, refusal)),
        _ => return Err(wrong(SocketError::Garbage("no welcome"))),
    };
    sent.map_err(wrong)?;
    let patience = socket.set_patience(Some(PATIENCE), GREETING);
    patience.map_err(|e| wrong(e.into()))?;
    Ok((welcome, fds))
}

fn refused(path: &Path, refusal: Refusal) -> ConnectError {
    let (text, errno) = match refusal {
        Refusal::User(uid) => (format!("user {uid} may not connect"), libc::EACCES),
        Refusal::Busy(most) => (format!("all {most} clients are there"), libc::EBUSY),
        Refusal::Version { version, protocol } => (
            format!(
                "it speaks version {version}.{protocol}, this client {VERSION}.{}",
                bpfvisor_abi::PROTOCOL_VERSION
            ),
            libc::EPROTONOSUPPORT,
        ),
    };
    ConnectError::Refused {
        path: path.to_path_buf(),
        text,
        errno,
    }
}

/// The daemon's configuration, if it can be one.
fn config(welcome: &Welcome) -> Option<Config> {
    let config = Config {
        vcpus: welcome.vcpus,
        shared_bytes: welcome.shared_len,
        heap_bytes: welcome.heap_len,
        call_timeout: Duration::from_nanos(welcome.call_timeout_ns),
        client_spins: welcome.client_spins,
        guest_idle_polls: welcome.idle_polls,
        verifier_off: welcome.verifier_off,
        interpret: welcome.interpret,
        clients: welcome.clients,
        ..Config::default()
    };
    (welcome.pair <= welcome.clients).then(|| config.checked().ok())?
}

/// Starts the thread that notices when the daemon is gone, so that callers who
/// sleep or spin learn of it at once.
fn watch(link: Arc<Link>) -> io::Result<()> {
    let run = move || {
        loop {
            let mut fds = [PollFd::new(&link.socket, PollFlags::RDHUP)];
            let _ = poll(&mut fds, None);
            if !fds[0].revents().is_empty() {
                break;
            }
        }
        // Its last words, unless a request has had them.
        let mut buffer = own(link.turn.lock());
        let last = link.socket.receive(&mut buffer, 0);
        drop(buffer);
        let text = match last {
            Ok((Reply::End(text), _)) => text,
            _ => "it has closed the connection".into(),
        };
        link.lost(text);
    };
    std::thread::Builder::new()
        .name("bpfvisor-link".into())
        .spawn(run)
        .map(drop)
}

impl Link {
    /// The daemon is gone, and with it the VM.
    fn lost(&self, text: String) -> CallError {
        self.socket.close();
        let report = FaultReport::plain(Cause::Disconnected, 0, text);
        match own(self.core.lock()).upgrade() {
            Some(core) => core.die(report),
            None => CallError::Dead(Arc::new(report)),
        }
    }

    /// Ends it.
    pub(crate) fn close(&self) {
        self.socket.close();
    }

    /// One request and its reply, in which it may be given one descriptor.
    fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Option<OwnedFd>), CallError> {
        if let Some(core) = own(self.core.lock()).upgrade() {
            core.check_alive()?;
        }
        let mut buffer = own(self.turn.lock());
        let sent = self.socket.send(request, fds);
        let got = match sent {
            // Should it be gone, its last words may still be there.
            Ok(()) | Err(SocketError::Closed) => self.socket.receive(&mut buffer, 1),
            // It was not asked: the connection is as it was.
            Err(SocketError::Os(e)) => {
                return Err(CallError::Os {
                    step: "send a request to the daemon",
                    errno: e.raw_os_error().unwrap_or(libc::EIO),
                });
            }
            Err(e) => Err(e),
        };
        drop(buffer);
        match got {
            Ok((Reply::Failed(failure), _)) => Err(failure.into()),
            Ok((Reply::End(text), _)) => Err(self.lost(text)),
            Ok((reply, mut fds)) => Ok((reply, fds.pop())),
            Err(SocketError::Garbage(what @ "it is too long")) => Err(CallError::Invalid(what)),
            Err(e) => Err(self.lost(e.to_string())),
        }
    }

    fn order(&self, request: &Request) -> Result<(), CallError> {
        match self.ask(request, &[])? {
            (Reply::Done, _) => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    fn nonsense(&self) -> CallError {
        self.lost("its answer makes no sense".into())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, Weak<Object>>> {
        own(self.known.lock())
    }

    /// The object that a reply describes.
    fn object(
        &self,
        core: &Arc<Core>,
        reply: (Reply, Option<OwnedFd>),
    ) -> Result<Arc<Object>, CallError> {
        match reply {
            (Reply::Object(description), fd) => self.described(core, *description, fd),
            _ => Err(self.nonsense()),
        }
    }

    fn described(
        &self,
        core: &Arc<Core>,
        description: Description,
        fd: Option<OwnedFd>,
    ) -> Result<Arc<Object>, CallError> {
        let (offset, len) = description.storage;
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > core.shared.len()) {
            return Err(self.nonsense());
        }
        Ok(self.adopt(core, description, fd))
    }

    /// The value that stands for an object of the daemon in this process.
    fn adopt(&self, core: &Arc<Core>, found: Description, fd: Option<OwnedFd>) -> Arc<Object> {
        let mut known = self.known();
        if let Some(object) = known.get(&found.handle).and_then(Weak::upgrade) {
            return object;
        }
        if known.len().is_power_of_two() {
            known.retain(|_, object| object.strong_count() > 0);
        }
        let handle = found.handle;
        let object = Object::of_daemon(core, found, fd);
        known.insert(handle, Arc::downgrade(&object));
        object
    }

    pub(crate) fn lease(&self, len: u64, low: bool) -> Result<(u64, u64), CallError> {
        match self.ask(&Request::Lease { len, low }, &[])? {
            (Reply::Leased { offset, len }, _) => Ok((offset, len)),
            _ => Err(self.nonsense()),
        }
    }

    pub(crate) fn create_map(
        &self,
        core: &Arc<Core>,
        record: &MapRecord,
        keeps: &[Arc<Object>],
        empties: bool,
    ) -> Result<Arc<Object>, CallError> {
        let reply = self.ask(
            &Request::CreateMap {
                record: record.as_bytes().to_vec(),
                keeps: keeps.iter().map(|o| o.handle()).collect(),
                empties,
            },
            &[],
        )?;
        self.object(core, reply)
    }

    /// Loads the program whose record is at an offset; the guest's errno where it
    /// does not take it.
    pub(crate) fn load(
        &self,
        core: &Arc<Core>,
        record: u64,
        request: &LoadRequest<'_>,
    ) -> Result<Result<Arc<Object>, i32>, CallError> {
        let reply = self.ask(
            &Request::Load {
                record,
                maps: request.maps.iter().map(|o| o.handle()).collect(),
                note: request.note.clone(),
            },
            &[],
        )?;
        match reply {
            (Reply::Rejected(status), _) => Ok(Err(status.wrapping_neg())),
            reply => self.object(core, reply).map(Ok),
        }
    }

    /// A descriptor for an object.
    pub(crate) fn export(
        &self,
        core: &Arc<Core>,
        object: &Object,
        access: Access,
    ) -> Result<OwnedFd, CallError> {
        core.check_alive()?;
        if access == Access::Both
            && let Some(given) = object.take_given()
        {
            return Ok(given);
        }
        let handle = object.handle();
        let (_, fd) = self.ask(&Request::Export { handle, access }, &[])?;
        fd.ok_or_else(|| self.nonsense())
    }

    /// The object behind a descriptor that may be the daemon's.
    pub(crate) fn identify(
        &self,
        core: &Arc<Core>,
        fd: RawFd,
    ) -> Result<(Arc<Object>, Access), FdError> {
        inode(fd).map_err(|_| FdError::NotOpen(fd))?;
        let copy = crate::stat::duplicate(fd).map_err(|_| FdError::NotOurs(fd))?;
        let reply = self.ask(&Request::Identify, &[copy.as_fd()]);
        let Ok((Reply::Identified(description, access), given)) = reply else {
            return Err(FdError::NotOurs(fd));
        };
        let object = self.described(core, *description, given);
        let object = object.map_err(|_| FdError::NotOurs(fd))?;
        Ok((object, access))
    }

    pub(crate) fn link(
        &self,
        outer: &Object,
        key: &[u8],
        target: Option<&Arc<Object>>,
        flags: u64,
    ) -> Result<(), CallError> {
        self.order(&Request::Link {
            outer: outer.handle(),
            key: key.to_vec(),
            target: target.map(|t| t.handle()),
            flags,
        })
    }

    pub(crate) fn linked(
        &self,
        core: &Arc<Core>,
        outer: &Object,
        key: &[u8],
    ) -> Result<Option<Arc<Object>>, CallError> {
        let (outer, key) = (outer.handle(), key.to_vec());
        self.find(core, &Request::Linked { outer, key })
    }

    /// An object that there may be.
    fn find(&self, core: &Arc<Core>, request: &Request) -> Result<Option<Arc<Object>>, CallError> {
        match self.ask(request, &[])? {
            (Reply::Nothing, _) => Ok(None),
            reply => self.object(core, reply).map(Some),
        }
    }

    pub(crate) fn open_id(
        &self,
        core: &Arc<Core>,
        kind: Kind,
        id: u32,
    ) -> Result<Option<Arc<Object>>, CallError> {
        self.find(core, &Request::OpenId { kind, id })
    }

    pub(crate) fn open_pin(
        &self,
        core: &Arc<Core>,
        name: &str,
    ) -> Result<Option<Arc<Object>>, CallError> {
        self.find(core, &Request::OpenPin { name: name.into() })
    }

    pub(crate) fn pin(&self, object: &Object, name: &str) -> Result<(), CallError> {
        self.order(&Request::Pin {
            handle: object.handle(),
            name: name.into(),
        })
    }

    pub(crate) fn bind(&self, program: &Object, map: &Object) -> Result<(), CallError> {
        self.order(&Request::Bind {
            program: program.handle(),
            map: map.handle(),
        })
    }

    pub(crate) fn unpin(&self, name: &str) -> Result<(), CallError> {
        self.order(&Request::Unpin { name: name.into() })
    }

    /// All objects of a kind, by id.
    pub(crate) fn list(&self, kind: Kind) -> Result<Vec<Description>, CallError> {
        let mut all: Vec<Description> = Vec::new();
        loop {
            let after = all.last().map_or(0, |d| d.id);
            let (Reply::Objects(page), _) = self.ask(&Request::List { kind, after }, &[])? else {
                return Err(self.nonsense());
            };
            if page.is_empty() {
                return Ok(all);
            }
            if page.first().is_some_and(|d| d.id <= after) || !page.is_sorted_by_key(|d| d.id) {
                return Err(self.nonsense());
            }
            all.extend(page);
        }
    }

    /// One bell for these ring buffers; `None` where somebody has one of theirs.
    pub(crate) fn bell(
        &self,
        core: &Arc<Core>,
        handles: Vec<u32>,
    ) -> Result<Option<Bell>, CallError> {
        let request = Request::Bell {
            handles: handles.clone(),
        };
        match self.ask(&request, &[])? {
            (Reply::Nothing, _) => Ok(None),
            (Reply::Done, Some(fd)) => {
                let door = Doorbell::from_fd(fd);
                Ok(Some(Bell::of_daemon(core, handles, door)))
            }
            _ => Err(self.nonsense()),
        }
    }

    pub(crate) fn unbell(&self, handle: u32) {
        // If it fails, the daemon is gone.
        let _ = self.order(&Request::Unbell { handle });
    }
}
