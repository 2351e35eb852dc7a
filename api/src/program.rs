//! Programs: loading, running, looking at them.

use crate::error::{CallerError, Error, Rejection, Result};
use crate::fixup::{self, Fixed, NoMap, Resolver};
use crate::packet::{Buffer, Place};
use crate::spec::ProgramSpec;
use crate::vm::{Vm, VmInner, object_name};
use bpf_core::insn::Insn;
use bpf_core::program::FlatMemory;
use bpf_core::uapi::{ProgType, errno};
use bpfvisor_abi::op;
use bpfvisor_vmm::{FdError, Kind, LoadError, LoadRecord, LoadRequest, Loaded, Object};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zerocopy::FromZeros;

/// A loaded program. It owns a real file descriptor; the program lives in the VM
/// until the last copy of that is closed.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) inner: Arc<ProgramInner>,
}

#[derive(Debug)]
pub(crate) struct ProgramInner {
    pub vm: Vm,
    pub object: Arc<Object>,
    pub prog_type: ProgType,
    pub flat: FlatMemory,
    fd: OwnedFd,
    name: String,
    info: LoadInfo,
    /// A buffer between runs.
    spare: Mutex<Option<Buffer>>,
}

/// What came of verification and compilation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadInfo {
    /// Instructions processed by the verifier, over all paths.
    pub processed: u32,
    /// Verifier states kept.
    pub total_states: u32,
    /// Instructions after rewriting.
    pub xlated_insns: u32,
    /// Bytes of machine code.
    pub jited_len: u32,
    /// Where it lies in the guest.
    pub jited_addr: u64,
    /// Time of verification.
    pub verify_time: Duration,
    /// Time of compilation.
    pub jit_time: Duration,
    /// The verifier's log.
    pub log: String,
    /// Bytes that the whole log has, with its final zero.
    pub log_true_size: u32,
}

impl Vm {
    /// Verifies, compiles and keeps a program.
    ///
    /// # Errors
    /// [`Error::Caller`] for fds that name no map of this VM (EBADF, EINVAL,
    /// EXDEV) and for arguments out of range; [`Error::Program`] with reason and
    /// log where the program is not accepted.
    #[doc(alias = "BPF_PROG_LOAD")]
    pub fn load(&self, spec: ProgramSpec<'_>) -> Result<Program> {
        let fixed = fixup::fix(
            &spec.insns,
            &spec.fixups,
            &spec.fd_array,
            &spec.global_funcs,
            &*self.inner,
        )?;
        let record = load_record(&spec)?;
        let bytes: Vec<u8> = fixed.insns.iter().flat_map(|i| i.to_bytes()).collect();
        let request = LoadRequest {
            record,
            insns: &bytes,
            global_funcs: &fixed.global_funcs,
            maps: fixed.pins.clone(),
            log_len: if spec.log_level == 0 {
                0
            } else {
                spec.log_size
            },
        };
        let loaded = self
            .inner
            .vmm
            .load(request)
            .map_err(|e| self.inner.load_failed(e, &spec, &fixed))?;
        self.keep(spec, loaded)
    }

    fn keep(&self, spec: ProgramSpec<'_>, loaded: Loaded) -> Result<Program> {
        let vm = &self.inner;
        let fd = vm
            .vmm
            .export(&loaded.object)
            .map_err(|e| vm.failed("program fd", e))?;
        Ok(Program {
            inner: Arc::new(ProgramInner {
                vm: self.clone(),
                info: LoadInfo::new(&loaded.record, &loaded.log),
                object: loaded.object,
                prog_type: spec.prog_type,
                flat: spec.flat,
                fd,
                name: spec.name,
                spare: Mutex::new(None),
            }),
        })
    }
}

fn load_record(spec: &ProgramSpec<'_>) -> Result<LoadRecord> {
    if spec.insns.is_empty() {
        return Err(Error::argument("the program has no instructions"));
    }
    if spec.insns.len() > bpf_core::uapi::limits::COMPLEXITY_INSNS as usize {
        return Err(CallerError::Refused {
            op: "load: more than 1,000,000 instructions",
            errno: errno::E2BIG,
        }
        .into());
    }
    if spec.flat.min > spec.flat.max {
        return Err(Error::argument(format!(
            "flat memory: the shortest length {} is over the longest {}",
            spec.flat.min, spec.flat.max
        )));
    }
    let mut record = LoadRecord::new_zeroed();
    record.prog_type = spec.prog_type as u32;
    record.attach_type = spec.attach_type;
    record.flags = spec.flags;
    record.log_level = spec.log_level;
    record.flat_min = spec.flat.min;
    record.flat_max = spec.flat.max;
    record.name = object_name(&spec.name)?;
    let license = spec.license.as_bytes();
    let len = license.len().min(record.license.len() - 1);
    record.license[..len].copy_from_slice(&license[..len]);
    Ok(record)
}

impl Resolver for VmInner {
    type Pin = Arc<Object>;

    fn map(&self, fd: RawFd) -> std::result::Result<(u32, Arc<Object>), NoMap> {
        let object = self.vmm.resolve(fd).map_err(|e| match e {
            FdError::NotOpen(_) => NoMap::NotOurs,
            FdError::NotOurs(_) => NoMap::OtherKind,
            FdError::OtherVm(_) => NoMap::OtherVm,
        })?;
        match object.kind() {
            Kind::Map => Ok((object.handle(), object)),
            Kind::Program => Err(NoMap::OtherKind),
        }
    }
}

impl VmInner {
    fn load_failed(
        &self,
        e: LoadError,
        spec: &ProgramSpec<'_>,
        fixed: &Fixed<Arc<Object>>,
    ) -> Error {
        match e {
            LoadError::Rejected {
                errno,
                record,
                message,
                log,
            } => Rejection {
                name: spec.name.clone(),
                errno,
                reason: message,
                insn: (record.bad_insn != u32::MAX).then(|| fixed.original(record.bad_insn)),
                unsupported: record.verdict_flags & 1 != 0,
                log: String::from_utf8_lossy(&log).into_owned(),
                processed: record.processed,
                verify_time: Duration::from_nanos(record.verify_ns),
            }
            .into(),
            LoadError::Call(e) => self.failed("load", e),
            other => Error::argument(other.to_string()),
        }
    }
}

impl LoadInfo {
    fn new(record: &LoadRecord, log: &[u8]) -> Self {
        Self {
            processed: record.processed,
            total_states: record.total_states,
            xlated_insns: record.xlated_insns,
            jited_len: record.jited_len,
            jited_addr: record.jited_addr,
            verify_time: Duration::from_nanos(record.verify_ns),
            jit_time: Duration::from_nanos(record.jit_ns),
            log: String::from_utf8_lossy(log).into_owned(),
            log_true_size: record.log_true_size,
        }
    }
}

impl Program {
    /// Its type.
    pub fn prog_type(&self) -> ProgType {
        self.inner.prog_type
    }

    /// Its name, as given at load.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What came of verification and compilation.
    pub fn info(&self) -> &LoadInfo {
        &self.inner.info
    }

    /// The VM it lives in.
    pub fn vm(&self) -> &Vm {
        &self.inner.vm
    }

    /// The instructions as they run, after rewriting.
    #[doc(alias = "xlated_prog_insns")]
    pub fn xlated(&self) -> Result<Vec<Insn>> {
        let bytes = self.dump(0, "dump xlated", self.inner.info.xlated_insns as u64 * 8)?;
        let (slots, _) = bytes.as_chunks::<8>();
        Ok(slots.iter().map(|s| Insn::from_bytes(*s)).collect())
    }

    /// The machine code.
    #[doc(alias = "jited_prog_insns")]
    pub fn jited(&self) -> Result<Vec<u8>> {
        self.dump(1, "dump jited", u64::from(self.inner.info.jited_len))
    }

    /// Where in [`Program::jited`] the code of each of [`Program::xlated`]'s slots
    /// begins, and the end as last element: never decreasing, and at most the
    /// code's length. Empty where the program is interpreted.
    ///
    /// # Errors
    /// EPROTO where the guest's numbers are not like that.
    pub fn jited_offsets(&self) -> Result<Vec<u32>> {
        let info = &self.inner.info;
        if info.jited_len == 0 {
            return Ok(Vec::new());
        }
        let count = info.xlated_insns as u64 + 1;
        let bytes = self.dump(2, "dump offsets", count * 4)?;
        let (words, _) = bytes.as_chunks::<4>();
        let offsets: Vec<u32> = words.iter().map(|w| u32::from_le_bytes(*w)).collect();
        let inside = offsets.last().is_some_and(|&end| end <= info.jited_len);
        if offsets.len() as u64 != count || !offsets.is_sorted() || !inside {
            return Err(Error::protocol(
                "the offsets of the machine code make no sense",
            ));
        }
        Ok(offsets)
    }

    fn dump(&self, what: u64, op: &'static str, len: u64) -> Result<Vec<u8>> {
        let vm = &self.inner.vm.inner;
        let failed = |e| vm.failed(op, e);
        if len == 0 {
            return Ok(Vec::new());
        }
        let block = vm.vmm.alloc(len, 64).map_err(failed)?;
        let handle = u64::from(self.inner.object.handle());
        let arg = [handle, block.offset(), len, what, 0, 0, 0];
        let full = vm.vmm.call(op::code::PROG_DUMP, arg).map_err(failed)?.val[0];
        let mut out = vec![0; full.min(len) as usize];
        vm.vmm
            .shared()
            .read(block.offset(), &mut out)
            .map_err(failed)?;
        Ok(out)
    }

    /// Takes the spare buffer where it fits, or makes one.
    pub(crate) fn buffer(&self, place: Place) -> Result<Buffer> {
        let spare = self.lock_spare().take();
        match spare {
            Some(b) if b.fits(&place) => Ok(b),
            _ => Buffer::new(&self.inner.vm, place),
        }
    }

    /// Keeps a buffer for the next run.
    pub(crate) fn give_back(&self, buffer: Buffer) {
        *self.lock_spare() = Some(buffer);
    }

    fn lock_spare(&self) -> std::sync::MutexGuard<'_, Option<Buffer>> {
        self.inner
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}
