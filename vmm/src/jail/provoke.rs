//! What the jail is about, done on purpose: calls that safe code has no use for.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::UnshareFlags;

use super::{Role, confine};

/// Leaves the namespaces that a daemon has no use for.
pub(super) fn leave_namespaces() -> rustix::io::Result<()> {
    let flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: the process has one thread, and none of these is about memory or
    // descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Does something forbidden on a thread of a role, to see that the jail holds:
/// tests call it. If it comes back, the jail has let it through, or an error has
/// come instead.
pub fn provoke(role: Role, what: &str) -> io::Result<()> {
    let what = what.to_string();
    let run = move || {
        confine(role);
        act(&what)
    };
    let thread = std::thread::Builder::new().spawn(run)?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn act(what: &str) -> io::Result<()> {
    match what {
        "open" => std::fs::File::open("/etc/passwd").map(drop),
        "write" => std::fs::write("/dev/null", ""),
        "list" => std::fs::read_dir("/").map(drop),
        "socket" => std::net::TcpListener::bind("127.0.0.1:0").map(drop),
        "files" => {
            let files = std::iter::from_fn(|| crate::stat::duplicate(2).ok());
            let open: Vec<_> = files.take(100_000).collect();
            match open.len() {
                100_000 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            }
        }
        "exec" => std::process::Command::new("/bin/true").status().map(drop),
        "kill" => {
            // SAFETY: signal 0 does nothing.
            let done = unsafe { libc::kill(1, 0) };
            if done == 0 {
                return Ok(());
            }
            Err(io::Error::last_os_error())
        }
        "code" => {
            let (prot, flags) = (
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            // SAFETY: a new mapping that nobody uses.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
