//! One client, from its hello to its end.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::pairs::Pair;
use super::server::Shared;
use super::socket::{Socket, SocketError};
use super::wire::{MAGIC, Refusal, Reply, Request, VERSION, Welcome};
use crate::alloc::Block;
use crate::bell::Bell;
use crate::error::CallError;

/// How long a client may take to say hello, and to make room for a reply.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a client has, which goes with it: first the ring pair, and with that
/// whatever it has under way, then its memory.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) bells: HashMap<u32, Bell>,
    _pair: Pair,
    pub(super) leases: Vec<Block>,
}

/// A reply, and a descriptor beside it.
pub(super) type Answer = (Reply, Option<OwnedFd>);

/// Serves a client until it goes, or breaks the rules.
pub(super) fn serve(shared: &Arc<Shared>, socket: &Socket) {
    let mut buffer = Vec::new();
    let Ok(mut session) = greet(shared, socket, &mut buffer) else {
        return;
    };
    while session.step(socket, &mut buffer).is_ok() {}
    // The client sees at once that it is alone; then what it had is freed.
    socket.close();
}

/// Hears a hello and answers it.
fn greet(
    shared: &Arc<Shared>,
    socket: &Socket,
    buffer: &mut Vec<u8>,
) -> Result<Session, SocketError> {
    socket.set_patience(Some(PATIENCE), PATIENCE)?;
    let (hello, _) = socket.receive(buffer, 0)?;
    let refuse = |refusal| {
        socket.send(&Reply::Refused(refusal), &[])?;
        Err(SocketError::Closed)
    };
    let protocol = bpfvisor_abi::PROTOCOL_VERSION;
    match hello {
        Request::Hello {
            magic: MAGIC,
            version: VERSION,
            protocol: theirs,
        } if theirs == protocol => {}
        Request::Hello { magic: MAGIC, .. } => {
            let version = VERSION;
            return refuse(Refusal::Version { version, protocol });
        }
        _ => return Err(SocketError::Garbage("no hello")),
    }
    let core = shared.vm.core();
    let pair = match Pair::take(core, &shared.pairs) {
        Ok(Some(pair)) => pair,
        Ok(None) => return refuse(Refusal::Busy(core.config.clients)),
        Err(e) => {
            socket.send(&Reply::Failed(e.into()), &[])?;
            return Err(SocketError::Closed);
        }
    };
    let mut fds = vec![core.shared.file()];
    fds.extend(core.lanes.iter().map(|lane| lane.wake.as_fd()));
    fds.extend(pair.doors());
    socket.send(&Reply::Welcome(welcome(shared, &pair)), &fds)?;
    socket.set_patience(None, PATIENCE)?;
    Ok(Session {
        shared: Arc::clone(shared),
        bells: HashMap::new(),
        _pair: pair,
        leases: Vec::new(),
    })
}

fn welcome(shared: &Shared, pair: &Pair) -> Welcome {
    let config = shared.vm.config();
    let timeout = config.call_timeout.as_nanos();
    Welcome {
        pair: pair.number(),
        clients: config.clients,
        vcpus: config.vcpus,
        shared_len: config.shared_bytes,
        heap_len: config.heap_bytes,
        call_timeout_ns: timeout.try_into().unwrap_or(u64::MAX),
        client_spins: config.client_spins,
        idle_polls: config.guest_idle_polls,
        verifier_off: config.verifier_off,
        interpret: config.interpret,
    }
}

impl Session {
    /// One request.
    fn step(&mut self, socket: &Socket, buffer: &mut Vec<u8>) -> Result<(), SocketError> {
        let (request, mut fds) = socket.receive::<Request>(buffer, 1)?;
        let fd = fds.pop();
        if fd.is_some() != matches!(request, Request::Identify) {
            return Err(SocketError::Garbage("a descriptor, or none"));
        }
        if matches!(request, Request::Hello { .. }) {
            return Err(SocketError::Garbage("a second hello"));
        }
        let (reply, fd) = match self.answer(request, fd) {
            Ok(answer) => answer,
            Err(CallError::Dead(report)) => (Reply::End(report.to_string()), None),
            Err(e) => (Reply::Failed(e.into()), None),
        };
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        socket.send(&reply, &fds)
    }
}
