//! `BPF_OBJ_GET_INFO_BY_FD` and `BPF_ENABLE_STATS`.

use super::UserMemory;
use super::attr::{EnableStats, GetInfo, MapInfo, ProgInfo};
use super::call::{Call, Result, answer, fd, invalid, refuse};
use super::{btf, link};
use crate::map::MapCore;
use crate::program::ProgramCore;
use bpf_core::uapi::errno;
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;
use zerocopy::{FromBytes, IntoBytes};

const EBADFD: i32 = 77;

pub(super) fn info<M: UserMemory>(call: &mut Call<'_, M>) -> Result<i64> {
    let attr: GetInfo = call.get()?;
    let bytes = match hosted(call, &attr)? {
        Some(bytes) => bytes,
        None => object(call, &attr)?,
    };
    let len = bytes.len().min(attr.info_len as usize);
    call.write(attr.info, &bytes[..len])?;
    call.put(offset_of!(GetInfo, info_len), len as u32);
    Ok(0)
}

/// Of a link or BTF.
fn hosted<M: UserMemory>(call: &Call<'_, M>, attr: &GetInfo) -> Result<Option<Vec<u8>>> {
    match link::info(call, attr)? {
        Some(bytes) => Ok(Some(bytes)),
        None => btf::info(call, attr),
    }
}

/// Of a program or map.
fn object<M: UserMemory>(call: &Call<'_, M>, attr: &GetInfo) -> Result<Vec<u8>> {
    let vm = call.session.vm();
    match ProgramCore::from_fd(vm, fd(attr.bpf_fd)) {
        Ok(program) => prog_info(call, attr, &program),
        Err(e) if e.errno() == errno::EINVAL => {
            let map = MapCore::from_fd(vm, fd(attr.bpf_fd))
                .map_err(|_| invalid(format!("fd {} is no object", attr.bpf_fd)))?;
            call.read_struct(attr.info, attr.info_len, size_of::<MapInfo>())?;
            Ok(map_info(&map).as_bytes().to_vec())
        }
        // Not EBADF: so it has always been.
        Err(e) if e.errno() == errno::EBADF => Err(refuse(EBADFD, e.to_string())),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn enable_stats<M: UserMemory>(call: &Call<'_, M>) -> Result<i64> {
    let attr: EnableStats = call.get()?;
    if attr.r#type != 0 {
        return Err(invalid("only BPF_STATS_RUN_TIME is counted"));
    }
    let fd = call.session.vm().inner.stats.enable();
    answer(fd.map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(errno::EMFILE);
        refuse(errno, format!("no descriptor for the statistics: {e}"))
    })?)
}

fn name(text: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(text.bytes().take(15)) {
        *to = from;
    }
    out
}

fn map_info(map: &MapCore) -> MapInfo {
    let geometry = map.geometry();
    let types = map.info.types.as_ref();
    MapInfo {
        btf_id: types.map_or(0, |t| t.btf.id),
        btf_key_type_id: types.map_or(0, |t| t.key),
        btf_value_type_id: types.map_or(0, |t| t.value),
        r#type: geometry.map_type as u32,
        id: map.info.id,
        key_size: geometry.key_size,
        value_size: geometry.value_size,
        max_entries: geometry.max_entries,
        map_flags: geometry.flags,
        name: name(&map.info.name),
        map_extra: geometry.map_extra,
        ..MapInfo::default()
    }
}

/// Also fills the arrays that the caller's structure names.
fn prog_info<M: UserMemory>(
    call: &Call<'_, M>,
    attr: &GetInfo,
    program: &ProgramCore,
) -> Result<Vec<u8>> {
    let given = call.read_struct(attr.info, attr.info_len, size_of::<ProgInfo>())?;
    let asked = ProgInfo::read_from_bytes(&given).unwrap_or_default();
    check_sizes(&asked)?;
    let known = &program.info;
    let map_ids = program.map_ids();
    let mut info = ProgInfo {
        r#type: known.prog_type as u32,
        id: known.id,
        tag: known.tag,
        jited_prog_insns: asked.jited_prog_insns,
        xlated_prog_insns: asked.xlated_prog_insns,
        map_ids: asked.map_ids,
        load_time: known.loaded_at.as_nanos() as u64,
        created_by_uid: known.uid,
        name: name(&known.name),
        _gpl_compatible: known.gpl.into(),
        run_time_ns: known.run_ns.load(Relaxed),
        run_cnt: known.run_count.load(Relaxed),
        verified_insns: known.load.processed,
        jited_prog_len: known.load.jited_len,
        xlated_prog_len: known.load.xlated_insns.saturating_mul(8),
        nr_map_ids: map_ids.len() as u32,
        btf_id: known.types.btf.as_ref().map_or(0, |b| b.id),
        jited_ksyms: asked.jited_ksyms,
        jited_func_lens: asked.jited_func_lens,
        prog_tags: asked.prog_tags,
        func_info: asked.func_info,
        line_info: asked.line_info,
        jited_line_info: asked.jited_line_info,
        func_info_rec_size: 8,
        line_info_rec_size: 16,
        jited_line_info_rec_size: 8,
        ..ProgInfo::default()
    };
    give(
        call,
        asked.map_ids,
        asked.nr_map_ids as usize * 4,
        map_ids.as_bytes(),
    )?;
    functions(call, &asked, program, &mut info)?;
    types(call, &asked, program, &mut info)?;
    if asked.xlated_prog_len != 0 {
        let bytes = program.xlated()?;
        info.xlated_prog_len = bytes.len() as u32;
        give(
            call,
            asked.xlated_prog_insns,
            asked.xlated_prog_len as usize,
            &bytes,
        )?;
    }
    if asked.jited_prog_len != 0 {
        let bytes = program.jited()?;
        info.jited_prog_len = bytes.len() as u32;
        give(
            call,
            asked.jited_prog_insns,
            asked.jited_prog_len as usize,
            &bytes,
        )?;
    }
    Ok(info.as_bytes().to_vec())
}

/// Address, length and tag of each function.
fn functions<M: UserMemory>(
    call: &Call<'_, M>,
    asked: &ProgInfo,
    program: &ProgramCore,
    info: &mut ProgInfo,
) -> Result<()> {
    let functions = program.functions()?;
    let count = functions.len() as u32;
    info.nr_jited_ksyms = count;
    info.nr_jited_func_lens = count;
    info.nr_prog_tags = count;
    let addresses: Vec<u64> = functions.iter().map(|f| f.address).collect();
    let lens: Vec<u32> = functions.iter().map(|f| f.len).collect();
    let tags: Vec<u8> = functions.iter().flat_map(|f| f.tag).collect();
    let room = |nr: u32, each: usize| nr as usize * each;
    let (ksyms, nr) = (asked.jited_ksyms, asked.nr_jited_ksyms);
    give(call, ksyms, room(nr, 8), addresses.as_bytes())?;
    let (to, nr) = (asked.jited_func_lens, asked.nr_jited_func_lens);
    give(call, to, room(nr, 4), lens.as_bytes())?;
    give(call, asked.prog_tags, room(asked.nr_prog_tags, 8), &tags)
}

/// Type of each function, source lines, and the lines' machine code.
fn types<M: UserMemory>(
    call: &Call<'_, M>,
    asked: &ProgInfo,
    program: &ProgramCore,
    info: &mut ProgInfo,
) -> Result<()> {
    let placed = program.placed_types()?;
    info.nr_func_info = placed.funcs.len() as u32;
    info.nr_line_info = placed.lines.len() as u32;
    info.nr_jited_line_info = placed.addresses.len() as u32;
    let funcs: Vec<u8> = placed.funcs.iter().flat_map(|f| f.to_bytes()).collect();
    let lines: Vec<u8> = placed.lines.iter().flat_map(|l| l.to_bytes()).collect();
    let room = |nr: u32, each: usize| nr as usize * each;
    give(call, asked.func_info, room(asked.nr_func_info, 8), &funcs)?;
    give(call, asked.line_info, room(asked.nr_line_info, 16), &lines)?;
    let (to, nr) = (asked.jited_line_info, asked.nr_jited_line_info);
    give(call, to, room(nr, 8), placed.addresses.as_bytes())
}

/// Who asks for records must know how long they are (`set_info_rec_size`).
fn check_sizes(asked: &ProgInfo) -> Result<()> {
    let records = [
        ("func_info", asked.nr_func_info, asked.func_info_rec_size, 8),
        (
            "line_info",
            asked.nr_line_info,
            asked.line_info_rec_size,
            16,
        ),
        (
            "jited_line_info",
            asked.nr_jited_line_info,
            asked.jited_line_info_rec_size,
            8,
        ),
    ];
    for (what, count, size, known) in records {
        if (count != 0 || size != 0) && size != known {
            return Err(invalid(format!("{what}_rec_size {size}: expected {known}")));
        }
    }
    Ok(())
}

/// Copies as much as the caller has room for.
fn give<M: UserMemory>(call: &Call<'_, M>, addr: u64, room: usize, bytes: &[u8]) -> Result<()> {
    call.write(addr, &bytes[..bytes.len().min(room)])
}
