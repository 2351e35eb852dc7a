//! `BPF_BTF_LOAD`, and what programs and maps take from BTF: which functions are
//! global, and where a value has its spin lock.
//!
//! A descriptor of BTF is a memory file with the bytes as they came. They are
//! read and checked each time they are used: nobody need remember them, and
//! changing them meanwhile does no harm.
#![allow(unsafe_code)]

use super::UserMemory;
use super::attr::{BtfLoad, MapCreate, ProgLoad};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use crate::object::btf::{Btf, Type};
use bpf_core::uapi::{MapType, errno};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `BTF_MAX_SIZE`.
const LONGEST: u32 = 16 << 20;
/// `MAX_FUNCINFO_REC_SIZE` and `MAX_LINEINFO_REC_SIZE`.
const LONGEST_RECORD: u32 = 252;
/// `BTF_FUNC_GLOBAL`.
const GLOBAL: u32 = 1;
const NAME: &std::ffi::CStr = c"bpfvisor-btf";
const LINK: &str = "/memfd:bpfvisor-btf (deleted)";

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
    let parsed = Btf::parse(&bytes);
    let log = match &parsed {
        Err(_) if attr.btf_log_level != 0 => "the BTF is damaged\n",
        _ => "",
    };
    let size = log.len() as u32 + 1;
    call.put(offset_of!(BtfLoad, btf_log_true_size), size);
    if attr.btf_log_buf != 0 {
        let mut text = log.as_bytes().to_vec();
        text.truncate(attr.btf_log_size as usize - 1);
        text.push(0);
        call.write(attr.btf_log_buf, &text)?;
    }
    parsed?;
    answer(keep(&bytes)?)
}

/// A memory file with these bytes.
fn keep(bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: the name is a string with its zero, which the call only reads.
    let raw = unsafe { libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC) };
    let failed = |e: std::io::Error| {
        let errno = e.raw_os_error().unwrap_or(errno::ENOMEM);
        refuse(errno, format!("no memory file for BTF: {e}"))
    };
    if raw < 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    // SAFETY: the call before has made it, and nobody else has it.
    let mut file = unsafe { File::from_raw_fd(raw) };
    file.write_all(bytes).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file.into())
}

/// The BTF behind a descriptor: EBADF where it is not open, EINVAL where it is
/// something else.
fn from_fd(number: u32) -> Result<Btf> {
    let fd = fd(number);
    let link = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    let other = || invalid(format!("fd {fd} is no BTF"));
    let found = link(fd).map_err(|_| refuse(errno::EBADF, format!("fd {fd} is not open")))?;
    if found.as_os_str() != LINK {
        return Err(other());
    }
    let file = File::open(format!("/proc/self/fd/{fd}")).map_err(|_| other())?;
    // The number may mean another file by now.
    if link(file.as_raw_fd()).is_ok_and(|now| now.as_os_str() != LINK) {
        return Err(other());
    }
    let mut bytes = Vec::new();
    file.take(u64::from(LONGEST))
        .read_to_end(&mut bytes)
        .map_err(|_| other())?;
    Ok(Btf::parse(&bytes)?)
}

/// The first instructions of global functions, but for the first function.
/// `func_info` must be in order; `line_info` is looked at no closer.
pub(super) fn global_functions<M: UserMemory>(
    call: &Call<'_, M>,
    attr: &ProgLoad,
) -> Result<Vec<u32>> {
    if attr.func_info_cnt == 0 && attr.line_info_cnt == 0 {
        return Ok(Vec::new());
    }
    let btf = from_fd(attr.prog_btf_fd)?;
    record_size("line_info", attr.line_info_cnt, attr.line_info_rec_size, 16)?;
    record_size("func_info", attr.func_info_cnt, attr.func_info_rec_size, 8)?;
    if attr.func_info_cnt > attr.insn_cnt {
        return Err(invalid("more func_info than instructions"));
    }
    let mut globals = Vec::new();
    let mut before = None;
    for i in 0..attr.func_info_cnt {
        let mut record = [0; 8];
        let offset = u64::from(i) * u64::from(attr.func_info_rec_size);
        call.read(attr.func_info.wrapping_add(offset), &mut record)?;
        let [a, b, c, d, e, f, g, h] = record;
        let insn = u32::from_ne_bytes([a, b, c, d]);
        let in_order = before.map_or(insn == 0, |b| insn > b) && insn < attr.insn_cnt;
        if !in_order {
            return Err(invalid(format!(
                "func_info {i}: instruction {insn} is out of order"
            )));
        }
        before = Some(insn);
        match btf.resolve(u32::from_ne_bytes([e, f, g, h])) {
            Some(Type::Function { linkage, .. }) if *linkage == GLOBAL && insn != 0 => {
                globals.push(insn);
            }
            Some(Type::Function { .. }) => {}
            _ => return Err(invalid(format!("func_info {i}: its type is no function"))),
        }
    }
    Ok(globals)
}

fn record_size(what: &str, count: u32, size: u32, least: u32) -> Result<()> {
    let good = (least..=LONGEST_RECORD).contains(&size) && size.is_multiple_of(4);
    if count == 0 || good {
        return Ok(());
    }
    Err(invalid(format!(
        "{what}_rec_size {size}: expected {least} to {LONGEST_RECORD}, a multiple of 4"
    )))
}

/// The offset of a spin lock in the values of a map. The types of key and value
/// must have the sizes that the map has.
pub(super) fn spin_lock(attr: &MapCreate, map_type: MapType) -> Result<Option<u32>> {
    let (key, value) = (attr.btf_key_type_id, attr.btf_value_type_id);
    if key == 0 && value == 0 {
        return Ok(None);
    }
    let btf = from_fd(attr.btf_fd)?;
    if matches!(map_type, MapType::ProgArray | MapType::ArrayOfMaps) {
        return Err(refuse(
            errno::ENOTSUPP,
            format!("maps of type {} take no BTF", map_type.name()),
        ));
    }
    let globals = map_type == MapType::Array && attr.max_entries == 1 && key == 0;
    if globals && matches!(btf.resolve(value), Some(Type::DataSection { .. })) {
        return Ok(None);
    }
    if btf.size(key) != Some(attr.key_size) || btf.size(value) != Some(attr.value_size) {
        return Err(invalid("the BTF types have other sizes than key and value"));
    }
    Ok(btf.spin_lock(value))
}
