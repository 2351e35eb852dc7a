#![allow(unsafe_code)]

//! The system call, and the two kinds of object that it makes. All `unsafe` of
//! the crate is here: every length that the kernel will assume is checked
//! against the slice given.

use super::attr::{self, prog_info};
use super::spec::{MapSpec, ProgInfo, ProgSpec, Rejected, RunOutput, RunSpec};
use super::{Error, Result, possible_cpus};
use bpf_core::uapi::{Cmd, MapType};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// # Safety
/// Every address in `attr` must be 0 or point to memory that is alive for the
/// call, as long as `cmd` makes of it, and writable where the kernel writes.
unsafe fn bpf<T>(cmd: Cmd, attr: &mut T) -> Result<i32> {
    // SAFETY: `attr` is one valid object of the size given; what it points to is
    // the caller's promise.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if ret < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(Error { cmd, errno });
    }
    Ok(ret as i32)
}

/// As [`bpf`], for commands that answer a new descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_fd<T>(cmd: Cmd, attr: &mut T) -> Result<OwnedFd> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { bpf(cmd, attr)? };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn short_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    out
}

fn address(bytes: &[u8]) -> u64 {
    if bytes.is_empty() {
        0
    } else {
        bytes.as_ptr() as u64
    }
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    if bytes.is_empty() {
        0
    } else {
        bytes.as_mut_ptr() as u64
    }
}

/// A map of the kernel.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_len: usize,
    value_len: usize,
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Map {
    /// A map that somebody else created, with its sizes as user space sees them.
    pub fn from_fd(fd: OwnedFd, key_len: usize, value_len: usize) -> Self {
        Self {
            fd,
            key_len,
            value_len,
        }
    }

    /// `BPF_MAP_CREATE`.
    pub fn create(spec: &MapSpec<'_>) -> Result<Self> {
        let mut attr = attr::MapCreate {
            map_type: spec.map_type as u32,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            map_flags: spec.flags,
            inner_map_fd: spec.inner.map_or(0, fd_number),
            map_name: short_name(spec.name),
            map_extra: spec.extra,
            ..Default::default()
        };
        if let Some((btf, key, value)) = spec.btf {
            attr.btf_fd = fd_number(btf);
            (attr.btf_key_type_id, attr.btf_value_type_id) = (key, value);
        }
        // SAFETY: the attributes hold no addresses.
        let fd = unsafe { bpf_fd(Cmd::MapCreate, &mut attr)? };
        use MapType::{LruPercpuHash, PercpuArray, PercpuHash};
        let value_len = match spec.map_type {
            PercpuArray | PercpuHash | LruPercpuHash => {
                (spec.value_size as usize).next_multiple_of(8) * possible_cpus()
            }
            _ => spec.value_size as usize,
        };
        Ok(Self {
            fd,
            key_len: spec.key_size as usize,
            value_len,
        })
    }

    /// Bytes that a value takes in the calls below: for per-CPU maps those of
    /// all CPUs, each rounded up to 8.
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// `BPF_MAP_UPDATE_ELEM`. Queues and stacks have no key.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        let mut value = value.to_vec();
        self.elem(Cmd::MapUpdateElem, key, &mut value, flags)
    }

    /// `BPF_MAP_LOOKUP_ELEM`: `None` for ENOENT.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lookup_flags(key, 0)
    }

    /// [`Map::lookup`] with flags.
    pub fn lookup_flags(&self, key: &[u8], flags: u64) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len];
        present(self.elem(Cmd::MapLookupElem, key, &mut value, flags)).map(|p| p.map(|()| value))
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: `None` for ENOENT.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len];
        let found = self.elem(Cmd::MapLookupAndDeleteElem, key, &mut value, 0);
        present(found).map(|p| p.map(|()| value))
    }

    /// `BPF_MAP_DELETE_ELEM`.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.elem(Cmd::MapDeleteElem, key, &mut [], 0)
    }

    /// `BPF_MAP_GET_NEXT_KEY`: `None` at the end.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let cmd = Cmd::MapGetNextKey;
        let mut next = vec![0; self.key_len];
        self.check(cmd, key.unwrap_or(&next), self.key_len)?;
        let mut attr = attr::Elem {
            map_fd: fd_number(self.as_fd()),
            key: key.map_or(0, address),
            value: address_mut(&mut next),
            ..Default::default()
        };
        // SAFETY: both buffers live here and are `key_len` bytes long.
        present(unsafe { bpf(cmd, &mut attr) }).map(|p| p.map(|_| next))
    }

    /// `BPF_MAP_FREEZE`: no more writing by system call.
    pub fn freeze(&self) -> Result<()> {
        let mut attr = attr::Elem {
            map_fd: fd_number(self.as_fd()),
            ..Default::default()
        };
        // SAFETY: the attributes hold no addresses.
        unsafe { bpf(Cmd::MapFreeze, &mut attr) }.map(drop)
    }

    /// Every key that `next_key` finds, with its value.
    pub fn entries(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut out = Vec::new();
        let mut key = self.next_key(None)?;
        while let Some(now) = key {
            let next = self.next_key(Some(&now))?;
            if let Some(value) = self.lookup(&now)? {
                out.push((now, value));
            }
            key = next;
        }
        Ok(out)
    }

    fn elem(&self, cmd: Cmd, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.check(cmd, key, self.key_len)?;
        if cmd != Cmd::MapDeleteElem {
            self.check(cmd, value, self.value_len)?;
        }
        let mut attr = attr::Elem {
            map_fd: fd_number(self.as_fd()),
            pad: 0,
            key: address(key),
            value: address_mut(value),
            flags,
        };
        // SAFETY: the key is `key_len` bytes, the value (which a deletion does
        // not use) `value_len`.
        unsafe { bpf(cmd, &mut attr) }.map(drop)
    }

    /// One of the batch commands over `count` elements. `from` is the position
    /// that an earlier call answered. Answers how many elements were handled,
    /// and the next position.
    pub fn batch(
        &self,
        cmd: Cmd,
        from: Option<&[u8]>,
        keys: &mut [u8],
        values: &mut [u8],
        elem_flags: u64,
    ) -> (Result<()>, usize, Vec<u8>) {
        // Positions are at least 4 bytes, and never longer than key or that.
        let mut next = vec![0; self.key_len.max(8)];
        let count = keys.len() / self.key_len.max(1);
        let mut start = from.map_or(Vec::new(), <[u8]>::to_vec);
        start.resize(if from.is_some() { next.len() } else { 0 }, 0);
        if cmd != Cmd::MapDeleteBatch
            && let Err(error) = self.check(cmd, values, count * self.value_len)
        {
            return (Err(error), 0, next);
        }
        let mut attr = attr::Batch {
            in_batch: address(&start),
            out_batch: address_mut(&mut next),
            keys: address_mut(keys),
            values: address_mut(values),
            count: count as u32,
            map_fd: fd_number(self.as_fd()),
            elem_flags,
            flags: 0,
        };
        // SAFETY: keys and values have room for `count` elements, the positions
        // for a key or a bucket number; all live here or with the caller.
        let done = unsafe { bpf(cmd, &mut attr) }.map(drop);
        (done, attr.count as usize, next)
    }

    fn check(&self, cmd: Cmd, bytes: &[u8], len: usize) -> Result<()> {
        let errno = libc::EINVAL;
        if bytes.len() == len {
            Ok(())
        } else {
            Err(Error { cmd, errno })
        }
    }
}

/// ENOENT as an answer instead of an error.
fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(v) => Ok(Some(v)),
        Err(error) if error.errno == libc::ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// Type information loaded into the kernel.
#[derive(Debug)]
pub struct Btf {
    fd: OwnedFd,
}

impl AsFd for Btf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Btf {
    /// `BPF_BTF_LOAD`.
    pub fn load(blob: &[u8]) -> Result<Self> {
        let mut attr = attr::BtfLoad {
            btf: address(blob),
            size: blob.len() as u32,
            ..Default::default()
        };
        // SAFETY: the blob is alive and has the size given; there is no log.
        let fd = unsafe { bpf_fd(Cmd::BtfLoad, &mut attr)? };
        Ok(Self { fd })
    }
}

/// A program that the kernel accepted.
#[derive(Debug)]
pub struct Prog {
    fd: OwnedFd,
    log: String,
    load_time: Duration,
}

impl AsFd for Prog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Prog {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Prog {
    /// A program that somebody else loaded; it has no log and no load time.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self {
            fd,
            log: String::new(),
            load_time: Duration::ZERO,
        }
    }

    /// `BPF_PROG_LOAD`.
    pub fn load(spec: &ProgSpec<'_>) -> std::result::Result<Self, Rejected> {
        let insns: Vec<u8> = spec.insns.iter().flat_map(|i| i.to_bytes()).collect();
        let license = [spec.license.as_bytes(), &[0]].concat();
        let mut log = match spec.log_level {
            0 => Vec::new(),
            _ => vec![0u8; spec.log_size as usize],
        };
        let mut attr = attr::ProgLoad {
            prog_type: spec.prog_type as u32,
            insn_cnt: spec.insns.len() as u32,
            insns: address(&insns),
            license: address(&license),
            log_level: spec.log_level,
            log_size: log.len() as u32,
            log_buf: address_mut(&mut log),
            prog_flags: spec.flags,
            expected_attach_type: spec.attach_type,
            fd_array: match spec.fd_array {
                [] => 0,
                fds => fds.as_ptr() as u64,
            },
            ..Default::default()
        };
        if let Some((btf, functions)) = spec.btf {
            attr.prog_btf_fd = fd_number(btf);
            attr.func_info_rec_size = 8;
            attr.func_info = functions.as_ptr() as u64;
            attr.func_info_cnt = functions.len() as u32;
            attr.line_info_rec_size = 16;
            attr.line_info = spec.lines.as_ptr() as u64;
            attr.line_info_cnt = spec.lines.len() as u32;
        }
        let begin = std::time::Instant::now();
        // SAFETY: instructions, license (zero-terminated), types, lines and log
        // live here or with the caller, with the lengths given. The kernel only reads `fd_array`, by its checked
        // copy routine: past the slice it finds other numbers or EFAULT, and
        // nothing of ours is written.
        let result = unsafe { bpf_fd(Cmd::ProgLoad, &mut attr) };
        let load_time = begin.elapsed();
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        match result {
            Ok(fd) => Ok(Self { fd, log, load_time }),
            Err(error) => Err(Rejected { error, log }),
        }
    }

    /// The verifier's log (empty at log level 0).
    pub fn log(&self) -> &str {
        &self.log
    }

    /// How long the load took: verification and compilation.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// `BPF_OBJ_GET_INFO_BY_FD`.
    pub fn info(&self) -> Result<ProgInfo> {
        let mut info = [0u64; prog_info::SIZE / 8];
        let mut attr = attr::GetInfo {
            bpf_fd: fd_number(self.as_fd()),
            info_len: prog_info::SIZE as u32,
            info: info.as_mut_ptr() as u64,
        };
        // SAFETY: `info` has `info_len` bytes. The arrays that the kernel could
        // fill through it have the length 0.
        unsafe { bpf(Cmd::ObjGetInfoByFd, &mut attr)? };
        let word = |at: usize| info[at / 8];
        let half = |at: usize| (word(at) >> (at % 8 * 8)) as u32;
        Ok(ProgInfo {
            tag: word(prog_info::TAG).to_le_bytes(),
            jited_len: half(prog_info::JITED_LEN),
            xlated_len: half(prog_info::XLATED_LEN),
            verified_insns: half(prog_info::VERIFIED_INSNS),
            run_time_ns: word(prog_info::RUN_TIME_NS),
            run_cnt: word(prog_info::RUN_CNT),
        })
    }

    /// `BPF_PROG_TEST_RUN`.
    pub fn run(&self, spec: &RunSpec<'_>) -> Result<RunOutput> {
        let mut data = vec![0u8; spec.data.len() + spec.headroom];
        let mut ctx = vec![0u8; spec.ctx.len()];
        let mut attr = attr::TestRun {
            prog_fd: fd_number(self.as_fd()),
            data_size_in: spec.data.len() as u32,
            data_size_out: data.len() as u32,
            data_in: address(spec.data),
            data_out: address_mut(&mut data),
            repeat: spec.repeat,
            ctx_size_in: spec.ctx.len() as u32,
            ctx_size_out: ctx.len() as u32,
            ctx_in: address(spec.ctx),
            ctx_out: address_mut(&mut ctx),
            flags: spec.flags,
            ..Default::default()
        };
        // SAFETY: all four buffers have the lengths given with them.
        unsafe { bpf(Cmd::ProgTestRun, &mut attr)? };
        data.truncate(attr.data_size_out as usize);
        ctx.truncate(attr.ctx_size_out as usize);
        Ok(RunOutput {
            retval: attr.retval,
            duration: Duration::from_nanos(attr.duration as u64),
            data,
            ctx,
        })
    }
}
