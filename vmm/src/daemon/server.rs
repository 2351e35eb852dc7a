//! Who may come in.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with, sockopt};

use super::pairs::Pairs;
use super::session;
use super::socket::Socket;
use super::table::Table;
use super::warden::Warden;
use super::wire::{Refusal, Reply};
use crate::doorbell::Doorbell;
use crate::fault::FaultReport;
use crate::fds::Registry;
use crate::jail;
use crate::vm::Vm;

/// Connections beyond those of clients, that have not said hello yet or are
/// being cleared away.
const SPARE: u32 = 16;

/// Which users may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Beside root and the daemon's own user.
    pub uids: Vec<u32>,
}

impl Policy {
    fn admits(&self, uid: u32) -> bool {
        let own = rustix::process::geteuid().as_raw();
        uid == 0 || uid == own || self.uids.contains(&uid)
    }
}

/// How a server's work ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The VM died.
    Dead(Arc<FaultReport>),
    /// Somebody dropped the [`Server`]'s last stop bell, or rang it.
    Stopped,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) vm: Vm,
    pub(super) table: Table,
    pub(super) pairs: Arc<Mutex<Pairs>>,
    /// Connections, by a number of their own.
    sockets: Mutex<HashMap<u32, Arc<Socket>>>,
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u32, Arc<Socket>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a VM to other processes.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    policy: Policy,
    stop: Arc<Doorbell>,
    end: Doorbell,
    _warden: Warden,
}

/// Ends a server's work from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Doorbell>);

impl Stopper {
    /// Now.
    pub fn stop(&self) {
        self.0.ring();
    }
}

impl Server {
    /// A server for a VM that was booted with room for
    /// [`clients`](crate::Config::clients).
    ///
    /// # Errors
    /// The operating system's, when there are no descriptors or threads left.
    pub fn new(vm: Vm, policy: Policy) -> io::Result<Self> {
        // Its thread starts here, where threads may be started.
        Registry::get().map_err(|e| io::Error::from_raw_os_error(e.errno()))?;
        let end = Doorbell::new()?;
        let copy = std::os::fd::AsFd::as_fd(&end).try_clone_to_owned()?;
        let _ = vm.core().end.set(Doorbell::from_fd(copy));
        let warden = Warden::start(Arc::clone(vm.core()))?;
        let pairs = Arc::new(Mutex::new(Pairs::new(vm.config().clients)));
        Ok(Self {
            shared: Arc::new(Shared {
                vm,
                table: Table::default(),
                pairs,
                sockets: Mutex::default(),
            }),
            policy,
            stop: Arc::new(Doorbell::new()?),
            end,
            _warden: warden,
        })
    }

    /// What ends [`Server::run`].
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Takes connections from a listening `SOCK_SEQPACKET` socket until the VM
    /// dies or somebody wants it to end. All clients are told.
    ///
    /// # Errors
    /// What `accept4` says about the socket itself.
    pub fn run(&self, listener: &OwnedFd) -> io::Result<Ended> {
        let ended = self.accept(listener);
        let text = match &ended {
            Ok(Ended::Dead(report)) => report.to_string(),
            _ => "it was stopped".into(),
        };
        for socket in self.shared.sockets().values() {
            // One that does not listen learns it from the hang-up.
            let _ = socket.send(&Reply::End(text.clone()), &[]);
            socket.close();
        }
        ended
    }

    fn accept(&self, listener: &OwnedFd) -> io::Result<Ended> {
        loop {
            if let Some(report) = self.shared.vm.fault() {
                return Ok(Ended::Dead(report));
            }
            let mut fds = [
                PollFd::new(listener, PollFlags::IN),
                PollFd::new(&self.end, PollFlags::IN),
                PollFd::new(&*self.stop, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if !fds[2].revents().is_empty() {
                return Ok(Ended::Stopped);
            }
            if fds[0].revents().is_empty() {
                continue;
            }
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(fd) => self.admit(fd),
                // Of the one that wanted in, or for want of descriptors: later.
                Err(
                    rustix::io::Errno::INTR
                    | rustix::io::Errno::AGAIN
                    | rustix::io::Errno::CONNABORTED,
                ) => {}
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Starts the session of a connection, if its user may.
    fn admit(&self, fd: OwnedFd) {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let uid = sockopt::socket_peercred(&fd).map(|cred| cred.uid.as_raw());
        let socket = Arc::new(Socket::new(fd));
        if let Some(refusal) = self.refusal(uid.ok()) {
            // The reply of a fresh socket needs no waiting.
            let _ = socket.send(&Reply::Refused(refusal), &[]);
            return;
        }
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        self.shared.sockets().insert(number, Arc::clone(&socket));
        let shared = Arc::clone(&self.shared);
        let run = move || {
            jail::confine(jail::Role::Session);
            session::serve(&shared, &socket);
            shared.sockets().remove(&number);
        };
        let thread = std::thread::Builder::new().name("bpfvisor-client".into());
        if thread.spawn(run).is_err() {
            self.shared.sockets().remove(&number);
        }
    }

    fn refusal(&self, uid: Option<u32>) -> Option<Refusal> {
        let uid = uid.unwrap_or(u32::MAX);
        if !self.policy.admits(uid) {
            return Some(Refusal::User(uid));
        }
        let clients = self.shared.vm.config().clients;
        let full = self.shared.sockets().len() as u32 >= clients + SPARE;
        full.then_some(Refusal::Busy(clients))
    }
}
