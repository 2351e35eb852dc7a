//! `BPF_BTF_LOAD`, and what programs take from BTF: functions and source lines.
//!
//! A descriptor of BTF is like that of a program: copies of it name the same
//! object, which lives as long as a descriptor, a program or a map needs it.

use super::UserMemory;
use super::attr::{BtfInfo, BtfLoad, GetInfo, ProgLoad};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use crate::types::{BtfObject, TypeInfo};
use crate::vm::Vm;
use bpf_core::btf;
use bpf_core::program::{FuncInfo, LineInfo};
use bpf_core::uapi::errno;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// `BTF_MAX_SIZE`.
const LONGEST: u32 = 16 << 20;
/// `MAX_FUNCINFO_REC_SIZE` and `MAX_LINEINFO_REC_SIZE`.
const LONGEST_RECORD: u32 = 252;

pub(super) fn load<M: UserMemory>(call: &mut Call<'_, M>) -> Result<i64> {
    let attr: BtfLoad = call.get()?;
    if attr.btf_flags != 0 {
        return Err(invalid(format!("unknown btf_flags {:#x}", attr.btf_flags)));
    }
    if attr.btf_size > LONGEST {
        return Err(refuse(errno::E2BIG, "BTF may have 16 MiB at most"));
    }
    if (attr.btf_log_buf == 0) != (attr.btf_log_size == 0)
        || (attr.btf_log_buf != 0 && attr.btf_log_level == 0)
    {
        return Err(invalid(
            "btf_log_buf needs btf_log_size and btf_log_level, and the other way round",
        ));
    }
    let bytes = call.read_vec(attr.btf, attr.btf_size as usize)?;
    let vm = call.session.vm().clone();
    let checked = btf::Btf::checked(&bytes);
    let log = match &checked {
        Err(d) if attr.btf_log_level != 0 => format!("{d}\n"),
        _ => String::new(),
    };
    let size = log.len() as u32 + 1;
    call.put(offset_of!(BtfLoad, btf_log_true_size), size);
    if attr.btf_log_buf != 0 {
        let mut text = log.as_bytes().to_vec();
        text.truncate(attr.btf_log_size as usize - 1);
        text.push(0);
        call.write(attr.btf_log_buf, &text)?;
    }
    checked.map_err(|d| refuse(d.errno, format!("BTF: {d}")))?;
    answer(export(&vm, &BtfObject::add(&vm, &bytes)?)?)
}

/// One more descriptor.
pub(super) fn export(vm: &Vm, object: &Arc<BtfObject>) -> Result<OwnedFd> {
    vm.inner.registry.btfs.export(object).map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(errno::EMFILE);
        refuse(errno, format!("no descriptor for BTF: {e}"))
    })
}

/// The BTF behind a descriptor: EBADF where it is not open, EINVAL where it is
/// something else.
pub(super) fn from_fd(vm: &Vm, number: u32) -> Result<Arc<BtfObject>> {
    let fd = fd(number);
    let found = vm.inner.registry.btfs.resolve(fd);
    found.ok_or_else(|| match std::fs::metadata(format!("/proc/self/fd/{fd}")) {
        Ok(_) => invalid(format!("fd {fd} is no BTF of this VM")),
        Err(_) => refuse(errno::EBADF, format!("fd {fd} is not open")),
    })
}

/// What `BPF_OBJ_GET_INFO_BY_FD` says; `None` where the descriptor is no BTF.
pub(super) fn info<M: UserMemory>(call: &Call<'_, M>, attr: &GetInfo) -> Result<Option<Vec<u8>>> {
    let registry = &call.session.vm().inner.registry;
    let Some(object) = registry.btfs.resolve(fd(attr.bpf_fd)) else {
        return Ok(None);
    };
    let given = call.read_struct(attr.info, attr.info_len, size_of::<BtfInfo>())?;
    let mut info = BtfInfo::read_from_bytes(&given).unwrap_or_default();
    let room = info.btf_size as usize;
    call.write(info.btf, &object.bytes[..object.bytes.len().min(room)])?;
    if (info.name == 0) != (info.name_len == 0) {
        return Err(invalid("name and name_len: both or neither"));
    }
    if info.name != 0 {
        call.write(info.name, &[0])?; // only the kernel's own BTF has a name
    }
    info.id = object.id;
    info.btf_size = object.bytes.len() as u32;
    info.kernel_btf = 0;
    info.name_len = 0;
    Ok(Some(info.as_bytes().to_vec()))
}

/// A program's types, with the records of both kinds as long as they are here.
/// What stands in them the verifier checks.
pub(super) fn type_info<M: UserMemory>(
    call: &mut Call<'_, M>,
    attr: &ProgLoad,
) -> Result<TypeInfo> {
    if attr.func_info_cnt == 0 && attr.line_info_cnt == 0 {
        return Ok(TypeInfo::default());
    }
    let btf = Some(from_fd(call.session.vm(), attr.prog_btf_fd)?);
    let most = attr.insn_cnt;
    if attr.func_info_cnt > most || attr.line_info_cnt > most {
        return Err(invalid("more func_info or line_info than instructions"));
    }
    let funcs = Records {
        what: "func_info",
        addr: attr.func_info,
        count: attr.func_info_cnt,
        size: attr.func_info_rec_size,
        told: offset_of!(ProgLoad, func_info_rec_size),
    };
    let lines = Records {
        what: "line_info",
        addr: attr.line_info,
        count: attr.line_info_cnt,
        size: attr.line_info_rec_size,
        told: offset_of!(ProgLoad, line_info_rec_size),
    };
    Ok(TypeInfo {
        btf,
        funcs: funcs.read(call, FuncInfo::from_bytes)?,
        lines: lines.read(call, LineInfo::from_bytes)?,
    })
}

/// Records that are read together.
const AT_ONCE: usize = 4096;

/// Records in the caller's memory.
struct Records {
    what: &'static str,
    addr: u64,
    count: u32,
    /// Of one of the caller's.
    size: u32,
    /// Where that stands among the attributes.
    told: usize,
}

impl Records {
    /// E2BIG, and the size known here, where a record has more than zeros behind it.
    fn read<M: UserMemory, R, const N: usize>(
        &self,
        call: &mut Call<'_, M>,
        record: fn([u8; N]) -> R,
    ) -> Result<Vec<R>> {
        let (what, least) = (self.what, N as u32);
        if self.count == 0 {
            return Ok(Vec::new());
        }
        if !(least..=LONGEST_RECORD).contains(&self.size) || !self.size.is_multiple_of(4) {
            return Err(invalid(format!(
                "{what}_rec_size {}: expected {least} to {LONGEST_RECORD}, a multiple of 4",
                self.size
            )));
        }
        let mut records = Vec::new();
        let mut at = self.addr;
        let mut left = self.count as usize;
        while left > 0 {
            let bytes = call.read_vec(at, left.min(AT_ONCE) * self.size as usize)?;
            for bytes in bytes.chunks_exact(self.size as usize) {
                let Some((known, rest)) = bytes.split_first_chunk::<N>() else {
                    return Err(invalid(format!("{what}: a record is cut off")));
                };
                if rest.iter().any(|&b| b != 0) {
                    call.put(self.told, least);
                    let text = format!("nonzero tailing record in {what}");
                    return Err(refuse(errno::E2BIG, text));
                }
                records.push(record(*known));
            }
            at = at.wrapping_add(bytes.len() as u64);
            left -= left.min(AT_ONCE);
        }
        Ok(records)
    }
}
