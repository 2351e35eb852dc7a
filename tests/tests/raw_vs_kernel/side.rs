//! The two that are asked the same: the running kernel and a VM.
#![allow(unsafe_code)]

use bpfvisor::Vm;
use bpfvisor::raw::{self, OwnMemory, Session};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub trait Side {
    /// The system call: its answer, or the errno.
    fn bpf(&self, cmd: u32, attr: &mut [u8]) -> Result<i64, i32>;
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
}

pub struct Ours {
    session: Session<OwnMemory>,
}

impl Ours {
    pub fn new(vm: &Vm) -> Self {
        // SAFETY: as for the kernel above.
        let memory = unsafe { OwnMemory::new() };
        Self {
            session: Session::new(vm, memory),
        }
    }
}

impl Side for Ours {
    fn bpf(&self, cmd: u32, attr: &mut [u8]) -> Result<i64, i32> {
        raw::bpf(&self.session, cmd, attr).map_err(|e| e.errno)
    }
}

/// Takes a descriptor that a command has just made.
pub fn own(fd: i64) -> OwnedFd {
    // SAFETY: it was made by the call before, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}
