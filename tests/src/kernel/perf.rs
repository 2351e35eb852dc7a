//! Perf events of the kernel that BPF programs write to.
#![allow(unsafe_code)]

use super::ring::Mapping;
use super::{Error, Result};
use bpf_core::uapi::Cmd;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

const PAGE: usize = 4096;
/// Pages of data.
const PAGES: usize = 16;
/// In the first page (`struct perf_event_mmap_page`).
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: u32 = 8;
/// `PERF_RECORD_SAMPLE`.
const SAMPLE: u32 = 9;

/// `PERF_COUNT_SW_BPF_OUTPUT` on one CPU.
pub struct Events {
    fd: OwnedFd,
    memory: Mapping,
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Events {
    /// Opens it.
    pub fn open(cpu: u32) -> Result<Self> {
        const SIZE: usize = 128;
        let mut attr = [0u64; SIZE / 8];
        // PERF_TYPE_SOFTWARE, the structure's size; PERF_COUNT_SW_BPF_OUTPUT; each
        // event; PERF_SAMPLE_RAW.
        attr[0] = 1 | (SIZE as u64) << 32;
        (attr[1], attr[2], attr[3]) = (10, 1, 1 << 10);
        let number = libc::SYS_perf_event_open;
        // SAFETY: the kernel reads as many bytes of `attr` as it says it has.
        let fd = unsafe { libc::syscall(number, attr.as_ptr(), -1, cpu, -1, CLOEXEC) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
        let fd = fd.ok_or_else(|| Error {
            cmd: Cmd::MapUpdateElem,
            errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        })?;
        // SAFETY: the descriptor was just made, for nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let memory = Mapping::new(fd.as_raw_fd(), (PAGES + 1) * PAGE, prot, 0)?;
        Ok(Self { fd, memory })
    }

    /// The bytes of every event that is there, as long as the kernel says: padded.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let head = self.memory.word(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.memory.word(DATA_TAIL);
        let (mut at, mut events) = (tail.load(Ordering::Relaxed), Vec::new());
        while at < head {
            let header = self.read(at, 8);
            let word = |b: &[u8]| u32::from_ne_bytes(b.try_into().unwrap_or_default());
            let size = u64::from(word(&header[4..]) >> 16);
            if word(&header[..4]) == SAMPLE {
                let len = word(&self.read(at + 8, 4));
                events.push(self.read(at + 12, len.into()));
            }
            at += size.max(8);
        }
        tail.store(at, Ordering::Release);
        events
    }

    /// `len` bytes, which may run on at the beginning.
    fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let offset = |n: u64| PAGE + (n % (PAGES * PAGE) as u64) as usize;
        (at..at + len)
            .map(|n| self.memory.byte(offset(n)))
            .collect()
    }
}
