//! Programs: loading, running, looking at them.

mod functions;
mod license;
mod tag;
mod types;

use crate::error::{CallerError, Error, Rejection, Result};
use crate::fixup::{self, Fixed, NoMap, Resolver};
use crate::map::MapCore;
use crate::packet::{Buffer, Place};
use crate::registry::Known;
use crate::spec::ProgramSpec;
use crate::types::TypeInfo;
use crate::vm::{Vm, VmInner, name_text, object_name};
use bpf_core::insn::{self, Insn};
use bpf_core::program::FlatMemory;
use bpf_core::uapi::{ProgType, errno, limits};
use bpfvisor_abi::op;
use bpfvisor_vmm::daemon::Description;
use bpfvisor_vmm::{FdError, Kind, LoadError, LoadRecord, LoadRequest, Loaded, Object};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros};

/// A loaded program. It owns a real file descriptor; the program lives in the VM
/// until the last copy of that is closed.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) inner: Arc<ProgramInner>,
}

#[derive(Debug)]
pub(crate) struct ProgramInner {
    pub core: ProgramCore,
    fd: OwnedFd,
    /// A buffer between runs.
    pub spare: Spare,
}

/// A program without a descriptor of its own.
#[derive(Clone, Debug)]
pub(crate) struct ProgramCore {
    pub vm: Vm,
    pub object: Arc<Object>,
    pub info: Arc<ProgramInfo>,
}

/// What this side knows about a program of a VM.
#[derive(Debug)]
pub(crate) struct ProgramInfo {
    pub id: u32,
    pub name: String,
    pub prog_type: ProgType,
    pub flat: FlatMemory,
    pub load: LoadInfo,
    /// First half of what Linux computes over the instructions.
    pub tag: [u8; 8],
    pub gpl: bool,
    pub map_ids: Mutex<Vec<u32>>,
    pub types: TypeInfo,
    /// Of whoever loaded it.
    pub uid: u32,
    /// Since the host's boot.
    pub loaded_at: Duration,
    pub run_count: AtomicU64,
    pub run_ns: AtomicU64,
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
    /// Where they lie in the VM.
    #[doc(alias = "jited_ksyms")]
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
        let (core, fd) = self.new_program(spec)?;
        Ok(Program::new(core, fd))
    }

    /// [`Vm::load`], with the result in parts.
    pub(crate) fn new_program(&self, spec: ProgramSpec<'_>) -> Result<(ProgramCore, OwnedFd)> {
        let fixed = fixup::fix(&spec.insns, &spec.fixups, &spec.fd_array, &*self.inner)?;
        let record = load_record(&spec)?;
        let types = spec.types.clone().placed(|insn| fixed.place(insn));
        let tag = tag::tag(&spec.insns);
        let bytes: Vec<u8> = fixed.insns.iter().flat_map(|i| i.to_bytes()).collect();
        let request = LoadRequest {
            record,
            insns: &bytes,
            types: types.sent(),
            maps: self.bind(&fixed.pins, &spec.bind)?,
            note: tag.to_vec(),
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
        self.keep(spec, types, tag, loaded)
    }

    /// The maps that the program names, and those it is only to keep.
    fn bind(&self, pins: &[Arc<Object>], bind: &[RawFd]) -> Result<Vec<Arc<Object>>> {
        let mut maps = pins.to_vec();
        for &fd in bind {
            let map = self.object(fd, Kind::Map)?;
            if !maps.iter().any(|m| Arc::ptr_eq(m, &map)) {
                maps.push(map);
            }
        }
        if maps.len() > limits::USED_MAPS {
            return Err(CallerError::TooManyMaps.into());
        }
        Ok(maps)
    }

    fn keep(
        &self,
        spec: ProgramSpec<'_>,
        types: TypeInfo,
        tag: [u8; 8],
        loaded: Loaded,
    ) -> Result<(ProgramCore, OwnedFd)> {
        let vm = &self.inner;
        let object = loaded.object;
        let maps = object.keeps().iter();
        let described = object.description();
        let info = Arc::new(ProgramInfo {
            id: described.map_or_else(|| vm.registry.next_program_id(), |d| d.id),
            load: LoadInfo::new(&loaded.record, &loaded.log),
            tag,
            gpl: license::gpl_compatible(&spec.license),
            map_ids: Mutex::new(match described {
                Some(d) => d.maps.clone(),
                None => maps
                    .filter_map(|m| vm.registry.get(m.handle()))
                    .map(|known| known.id())
                    .collect(),
            }),
            types,
            uid: rustix::process::getuid().as_raw(),
            loaded_at: monotonic(),
            prog_type: spec.prog_type,
            flat: spec.flat,
            name: spec.name,
            run_count: AtomicU64::new(0),
            run_ns: AtomicU64::new(0),
        });
        vm.registry.add(&object, Known::Program(info.clone()));
        let fd = vm.vmm.export(&object);
        let fd = fd.map_err(|e| vm.failed("program fd", e))?;
        let vm = self.clone();
        Ok((ProgramCore { vm, object, info }, fd))
    }
}

impl ProgramInfo {
    /// From what a daemon says about a program that somebody else loaded; `None`
    /// where that makes no sense.
    pub fn described(d: &Description) -> Option<Arc<Self>> {
        let (record, tag) = LoadRecord::read_from_prefix(&d.note).ok()?;
        let license = record.license.split(|&b| b == 0).next()?;
        Some(Arc::new(Self {
            id: d.id,
            name: name_text(&record.name),
            prog_type: ProgType::from_u32(record.prog_type)?,
            flat: FlatMemory {
                min: record.flat_min,
                max: record.flat_max,
            },
            load: LoadInfo::new(&record, &[]),
            tag: tag.try_into().ok()?,
            gpl: license::gpl_compatible(&String::from_utf8_lossy(license)),
            map_ids: Mutex::new(d.maps.clone()),
            types: TypeInfo::default(),
            uid: rustix::process::getuid().as_raw(),
            loaded_at: Duration::from_nanos(d.made_ns),
            run_count: AtomicU64::new(0),
            run_ns: AtomicU64::new(0),
        }))
    }
}

fn load_record(spec: &ProgramSpec<'_>) -> Result<LoadRecord> {
    let most = bpf_core::uapi::limits::COMPLEXITY_INSNS as usize;
    if spec.insns.is_empty() || spec.insns.len() > most {
        let len = spec.insns.len();
        return Err(CallerError::Create {
            what: format!("a program has 1 to {most} instructions, not {len}"),
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
                line: original(fixed, record.bad_insn).and_then(|i| spec.types.source(i)),
                reason: message,
                insn: original(fixed, record.bad_insn),
                unsupported: record.verdict_flags & 1 != 0,
                log: String::from_utf8_lossy(&log).into_owned(),
                log_true_size: record.log_true_size,
                processed: record.processed,
                verify_time: Duration::from_nanos(record.verify_ns),
            }
            .into(),
            LoadError::Call(e) => self.failed("load", e),
            other => Error::argument(other.to_string()),
        }
    }
}

/// The caller's index of the instruction at fault.
fn original(fixed: &Fixed<Arc<Object>>, bad: u32) -> Option<u32> {
    (bad != u32::MAX).then(|| fixed.original(bad))
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
    pub(crate) fn new(core: ProgramCore, fd: OwnedFd) -> Self {
        let spare = Spare::default();
        Self {
            inner: Arc::new(ProgramInner { core, fd, spare }),
        }
    }

    /// Its type.
    pub fn prog_type(&self) -> ProgType {
        self.core().prog_type()
    }

    /// The program behind a copy of its fd (from `dup` or another process).
    ///
    /// # Errors
    /// EBADF for an fd that is not open, EINVAL for one that is no program, EXDEV
    /// for a program of another VM.
    pub fn from_fd(vm: &Vm, fd: OwnedFd) -> Result<Self> {
        let core = ProgramCore::from_fd(vm, fd.as_raw_fd())?;
        Ok(Self::new(core, fd))
    }

    /// Its name, as given at load.
    pub fn name(&self) -> &str {
        &self.core().info.name
    }

    /// Its id: small numbers that are not used again, as in `bpf_prog_info`.
    pub fn id(&self) -> u32 {
        self.inner.core.info.id
    }

    /// What came of verification and compilation.
    pub fn info(&self) -> &LoadInfo {
        &self.core().info.load
    }

    /// The VM it lives in.
    pub fn vm(&self) -> &Vm {
        &self.core().vm
    }

    /// The instructions as they run, after rewriting.
    #[doc(alias = "xlated_prog_insns")]
    pub fn xlated(&self) -> Result<Vec<Insn>> {
        let bytes = self.core().xlated()?;
        let (slots, _) = bytes.as_chunks::<8>();
        Ok(slots.iter().map(|s| Insn::from_bytes(*s)).collect())
    }

    /// The machine code.
    #[doc(alias = "jited_prog_insns")]
    pub fn jited(&self) -> Result<Vec<u8>> {
        self.core().jited()
    }

    /// Where in [`Program::jited`] the code of each of [`Program::xlated`]'s slots
    /// begins, and the end as last element: never decreasing, and at most the
    /// code's length. Empty where the program is interpreted.
    ///
    /// # Errors
    /// EPROTO where the guest's numbers are not like that.
    pub fn jited_offsets(&self) -> Result<Vec<u32>> {
        self.core().jited_offsets()
    }

    pub(crate) fn core(&self) -> &ProgramCore {
        &self.inner.core
    }
}

impl ProgramCore {
    /// The program behind an fd: EBADF where it is not open, EINVAL where it is
    /// no program, EXDEV for one of another VM.
    pub fn from_fd(vm: &Vm, fd: RawFd) -> Result<Self> {
        let object = vm.object(fd, Kind::Program)?;
        Self::of(vm, object).ok_or_else(|| Error::argument(format!("fd {fd} is not a program")))
    }

    pub fn prog_type(&self) -> ProgType {
        self.info.prog_type
    }

    /// Ids of the maps that it keeps.
    pub fn map_ids(&self) -> Vec<u32> {
        let ids = self.info.map_ids.lock();
        ids.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a map that it does not name.
    pub fn bind(&self, map: &MapCore) -> Result<()> {
        let vm = &self.vm.inner;
        let new = vm.vmm.bind(&self.object, &map.object);
        if new.map_err(|e| vm.failed("bind", e))? {
            let ids = self.info.map_ids.lock();
            ids.unwrap_or_else(PoisonError::into_inner)
                .push(map.info.id);
        }
        Ok(())
    }

    /// The instructions as they run, 8 bytes each.
    pub fn xlated(&self) -> Result<Vec<u8>> {
        let len = u64::from(self.info.load.xlated_insns) * 8;
        let mut bytes = self.dump(0, "dump xlated", len)?;
        self.name_maps(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts the ids of maps in the place of the guest's names for them.
    fn name_maps(&self, bytes: &mut [u8]) -> Result<()> {
        const MAPS: [u8; 2] = [insn::op::PSEUDO_MAP_FD, insn::op::PSEUDO_MAP_VALUE];
        let vm = &self.vm.inner;
        let mut there = None;
        let (slots, _) = bytes.as_chunks_mut::<8>();
        for slot in slots {
            let mut load = Insn::from_bytes(*slot);
            if !load.is_wide() || !MAPS.contains(&load.src) {
                continue;
            }
            let handle = load.imm as u32;
            let id = match vm.registry.get(handle) {
                Some(known) => Some(known.id()),
                None if vm.vmm.is_remote() => {
                    if there.is_none() {
                        let all = vm.vmm.list(Kind::Map);
                        there = Some(all.map_err(|e| vm.failed("list", e))?);
                    }
                    let all = there.iter().flatten();
                    all.filter(|d| d.handle == handle).map(|d| d.id).next()
                }
                None => None,
            };
            load.imm = id.unwrap_or(0) as i32;
            *slot = load.to_bytes();
        }
        Ok(())
    }

    /// The machine code.
    pub fn jited(&self) -> Result<Vec<u8>> {
        self.dump(1, "dump jited", u64::from(self.info.load.jited_len))
    }

    /// As [`Program::jited_offsets`].
    pub fn jited_offsets(&self) -> Result<Vec<u32>> {
        let info = &self.info.load;
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
        let vm = &self.vm.inner;
        let failed = |e| vm.failed(op, e);
        if len == 0 {
            return Ok(Vec::new());
        }
        let block = vm.vmm.alloc(len, 64).map_err(failed)?;
        let handle = u64::from(self.object.handle());
        let arg = [handle, block.offset(), len, what, 0, 0, 0];
        let full = vm.vmm.call(op::code::PROG_DUMP, arg).map_err(failed)?.val[0];
        let mut out = vec![0; full.min(len) as usize];
        vm.vmm
            .shared()
            .read(block.offset(), &mut out)
            .map_err(failed)?;
        Ok(out)
    }
}

/// A buffer that is kept from one run to the next.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Option<Buffer>>);

impl Spare {
    /// Takes the buffer where it fits, or makes one.
    pub fn take(&self, vm: &Vm, place: Place) -> Result<Buffer> {
        let spare = self.lock().take();
        match spare {
            Some(b) if b.fits(&place) => Ok(b),
            _ => Buffer::new(vm, place),
        }
    }

    /// Keeps a buffer for the next run.
    pub fn put(&self, buffer: Buffer) {
        *self.lock() = Some(buffer);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Time since the host's boot.
fn monotonic() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|t| t.parse().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}
