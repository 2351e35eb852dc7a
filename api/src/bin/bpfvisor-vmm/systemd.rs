//! Being started by systemd: `sd_listen_fds(3)` and `sd_notify(3)`.

use anyhow::{Context, Result, bail};
use bpfvisor_vmm::daemon;
use std::env;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

/// The socket that systemd listens on for us, if it does.
pub fn listener() -> Result<Option<OwnedFd>> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    // The variables may be meant for a process further up.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS").unwrap_or(0) {
        0 => Ok(None),
        1 => daemon::inherited(FIRST)
            .map(Some)
            .context("what systemd passed is no listening SOCK_SEQPACKET socket"),
        several => bail!("systemd passed {several} sockets, expected one"),
    }
}

/// Whom to tell how things are.
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// Opens the way to it now: the jail would be in between.
    pub fn from_environment() -> Self {
        Self(connect())
    }

    /// Tells it. That it may not hear is no reason to stop.
    pub fn tell(&mut self, state: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect() -> Option<UnixDatagram> {
    let path = env::var("NOTIFY_SOCKET").ok()?;
    let socket = UnixDatagram::unbound().ok()?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(&path).ok()?,
    };
    socket.connect_addr(&address).ok()?;
    Some(socket)
}
