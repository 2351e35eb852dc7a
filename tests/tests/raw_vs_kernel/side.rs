//! The two that are asked the same: the running kernel and a VM.
#![allow(unsafe_code)]

use bpfvisor::raw::{self, OwnMemory, Session};
use bpfvisor::uapi::ProgType;
use bpfvisor::{PacketSource, Vm};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub trait Side {
    /// The system call: its answer, or the errno.
    fn bpf(&self, cmd: u32, attr: &mut [u8]) -> Result<i64, i32>;

    /// Takes a pin away.
    fn unpin(&self, path: &str);
}

pub struct Kernel;

impl Side for Kernel {
    fn bpf(&self, cmd: u32, attr: &mut [u8]) -> Result<i64, i32> {
        // SAFETY: the attributes have the length given. They name buffers of the
        // scripts, which live through the call and are as long as it needs, or
        // addresses where nothing is mapped.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                libc::c_long::from(cmd),
                attr.as_mut_ptr(),
                attr.len(),
            )
        };
        if answer < 0 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        Ok(answer)
    }

    fn unpin(&self, path: &str) {
        std::fs::remove_file(path).unwrap();
    }
}

/// Gives this thread interfaces of its own (a loopback, number 1) and a bpf file
/// system at `folder`; both go with the thread.
pub fn own_world(folder: &std::path::Path) {
    let folder = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()).unwrap();
    let (none, root) = (std::ptr::null(), c"/".as_ptr());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: strings with their zeros, or null where nothing is read.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) == 0
            && libc::mount(none, root, none, private, none.cast()) == 0
            && libc::mount(
                c"bpf".as_ptr(),
                folder.as_ptr(),
                c"bpf".as_ptr(),
                0,
                none.cast(),
            ) == 0
    };
    let e = std::io::Error::last_os_error();
    assert!(done, "no namespaces, or no bpf file system: {e}");
}

pub struct Ours {
    session: Session<OwnMemory>,
    /// What the loopback interface is to the kernel: number 1.
    _source: PacketSource,
}

impl Ours {
    pub fn new(vm: &Vm) -> Self {
        // SAFETY: as for the kernel above.
        let memory = unsafe { OwnMemory::new() };
        Self {
            session: Session::new(vm, memory),
            _source: vm.packet_source("lo", ProgType::Xdp),
        }
    }
}

impl Side for Ours {
    fn bpf(&self, cmd: u32, attr: &mut [u8]) -> Result<i64, i32> {
        raw::bpf(&self.session, cmd, attr).map_err(|e| e.errno)
    }

    fn unpin(&self, path: &str) {
        self.session.vm().unpin(path).unwrap();
    }
}

/// Takes a descriptor that a command has just made.
pub fn own(fd: i64) -> OwnedFd {
    // SAFETY: it was made by the call before, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}
