//! Which open file a descriptor names.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// Device and inode: the same for all copies of a descriptor.
pub(crate) type Inode = (u64, u64);

/// Of the file behind `fd`, which may be any number.
pub(crate) fn inode(fd: RawFd) -> io::Result<Inode> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is a valid place for the answer; a bad `fd` is an error.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat succeeded, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}
