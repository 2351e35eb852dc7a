//! `bpf(2)` of the running kernel. The one file of the command line with
//! `unsafe` in it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Bytes of `union bpf_attr`, filled in field by field at the offsets of
/// `linux/bpf.h`.
#[repr(C, align(8))]
pub struct Attr {
    bytes: [u8; Self::SIZE],
}

/// Memory that an attribute points to, in or out.
pub type Mem<'a> = &'a mut [u8];

impl Attr {
    /// As much as `BPF_PROG_LOAD` takes.
    const SIZE: usize = 144;

    /// All zero.
    pub fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
        }
    }

    /// Sets bytes.
    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Sets a 32-bit field.
    pub fn u32(mut self, at: usize, value: u32) -> Self {
        self.set(at, &value.to_ne_bytes());
        self
    }

    /// A 32-bit field.
    pub fn get(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }
}

/// A pointer field of a command: its offset, and the memory it is to name.
pub struct Pointer<'a> {
    pub at: usize,
    pub mem: Mem<'a>,
}

/// Calls `bpf(cmd, attr)`. Every pointer in `attr` must come from `pointers`,
/// with its length in a field of `attr`; this is what keeps the kernel within
/// our memory, so the callers are few and in `kernel.rs`.
///
/// # Errors
/// What the kernel says.
pub fn bpf(cmd: u32, attr: &mut Attr, pointers: &mut [Pointer<'_>]) -> io::Result<i32> {
    for p in pointers.iter_mut() {
        let address = p.mem.as_mut_ptr().addr() as u64;
        p.mem.as_mut_ptr().expose_provenance();
        attr.set(p.at, &address.to_ne_bytes());
    }
    // SAFETY: `attr` is SIZE bytes of our own, aligned; the pointers in it were
    // just set to memory borrowed exclusively for the time of the call, and the
    // callers give its true length in the command's length fields.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd,
            std::ptr::from_mut(attr).cast::<libc::c_void>(),
            Attr::SIZE,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done as i32)
}

/// [`bpf`] for commands that return a new fd.
///
/// # Errors
/// What the kernel says.
pub fn bpf_fd(cmd: u32, attr: &mut Attr, pointers: &mut [Pointer<'_>]) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr, pointers)?;
    // SAFETY: the kernel made this fd for us just now; nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(fd.as_raw_fd() >= 0);
    Ok(fd)
}
