//! Loading a program.

use std::sync::Arc;

use bpfvisor_abi::op::{LoadRecord, code};
use bpfvisor_abi::ring::Completion;
use thiserror::Error;
use zerocopy::{FromZeros, IntoBytes};

use crate::alloc::Block;
use crate::core::Core;
use crate::daemon::Link;
use crate::error::CallError;
use crate::lane::{Lane, Turn};
use crate::object::{Kind, Object};
use crate::roll::{Origin, Source};

/// A program to load, its map references already turned into handles.
#[derive(Debug)]
pub struct LoadRequest<'a> {
    /// What the guest is told. `insn_cnt`, `insns`, `log`, `log_len` and what it
    /// says of types are filled in from the other fields.
    pub record: LoadRecord,
    /// Instructions, 8 bytes each.
    pub insns: &'a [u8],
    /// What BTF says about it.
    pub types: TypeInfo,
    /// Maps that the program uses; they live as long as it does.
    pub maps: Vec<Arc<Object>>,
    /// What a daemon is to keep with the program, for whoever else finds it.
    pub note: Vec<u8>,
    /// Bytes of verifier log wanted.
    pub log_len: u32,
}

/// A program's BTF, and how its instructions refer to it.
#[derive(Clone, Debug, Default)]
pub struct TypeInfo {
    /// The blob, empty where there is none.
    pub btf: Arc<[u8]>,
    /// `struct bpf_func_info`s, 8 bytes each.
    pub func_info: Vec<u8>,
    /// `struct bpf_line_info`s, 16 bytes each.
    pub line_info: Vec<u8>,
}

/// A loaded program.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub object: Arc<Object>,
    /// The record as the guest answered it.
    pub record: LoadRecord,
    /// The verifier's log, at most `log_len` bytes, without final zero.
    pub log: Vec<u8>,
}

/// Why a program was not loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The guest looked at the program and did not take it.
    #[error("{message}")]
    Rejected {
        /// Positive errno.
        errno: i32,
        /// The record as the guest answered it.
        record: Box<LoadRecord>,
        /// Why not, one line.
        message: String,
        /// The verifier's log, at most `log_len` bytes, without final zero.
        log: Vec<u8>,
    },
    /// The call itself failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl LoadError {
    /// The errno that `bpf()` gives for it.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Rejected { errno, .. } => *errno,
            Self::Call(e) => e.errno(),
        }
    }
}

/// Where the parts of a request lie in its block.
struct Parts {
    record: u64,
    insns: u64,
    btf: u64,
    funcs: u64,
    lines: u64,
    log: u64,
    end: u64,
}

impl Parts {
    /// None if the sizes together overflow.
    fn new(program: &Send<'_>) -> Option<Self> {
        let after = |at: u64, len: usize| at.checked_add(len as u64)?.checked_next_multiple_of(64);
        let insns = after(0, size_of::<LoadRecord>())?;
        let btf = after(insns, program.insns.len())?;
        let funcs = after(btf, program.types.btf.len())?;
        let lines = after(funcs, program.types.func_info.len())?;
        let log = after(lines, program.types.line_info.len())?;
        let end = after(log, program.log_len as usize)?;
        Some(Self {
            record: 0,
            insns,
            btf,
            funcs,
            lines,
            log,
            end,
        })
    }
}

/// A program as it goes over to the guest.
pub(crate) struct Send<'a> {
    pub(crate) record: &'a LoadRecord,
    pub(crate) insns: &'a [u8],
    pub(crate) types: &'a TypeInfo,
    pub(crate) log_len: u32,
}

/// Loads a program.
pub(crate) fn load(core: &Arc<Core>, request: LoadRequest<'_>) -> Result<Loaded, LoadError> {
    if request.maps.iter().any(|map| map.vm_id() != core.id) {
        return Err(CallError::Invalid("a map of another VM").into());
    }
    let program = Send {
        record: &request.record,
        insns: request.insns,
        types: &request.types,
        log_len: request.log_len,
    };
    if let Some(daemon) = &core.daemon {
        return load_there(core, daemon, &program, &request);
    }
    let origin = || {
        Origin::Program(Box::new(Source {
            record: request.record,
            insns: request.insns.into(),
            types: TypeInfo {
                line_info: Vec::new(), // for logs alone
                ..request.types.clone()
            },
        }))
    };
    // Made with the lane in hand: a VM that is rebuilt knows all its objects.
    core.with_lane(|lane, turn| {
        let (record, log) = send(core, (lane, turn), &program)?;
        let kind = (Kind::Program, record.handle);
        Ok(Loaded {
            object: Object::new(core, kind, None, request.maps, origin),
            record,
            log,
        })
    })
}

/// Has the guest load a program; gives the record as answered, and the log. The
/// block that carries it is gone when this returns.
pub(crate) fn send(
    core: &Core,
    (lane, turn): (&Lane, &mut Turn),
    program: &Send<'_>,
) -> Result<(LoadRecord, Vec<u8>), LoadError> {
    let parts = Parts::new(program).ok_or(CallError::NoMemory { wanted: u64::MAX })?;
    let block = core.arena.alloc(parts.end, 64);
    let block = block.ok_or(CallError::NoMemory { wanted: parts.end })?;
    block.populate(parts.log);
    write(core, program, &block, &parts)?;
    let done = ask(core, (lane, turn), block.offset() + parts.record)?;
    let (record, log) = answer(core, program, &block, &parts)?;
    if done.status != 0 {
        return Err(rejected(-done.status, record, log));
    }
    let mut offsets = vec![0u32; program.insns.len() / 8];
    let at = block.offset() + parts.insns;
    core.shared.read(at, offsets.as_mut_bytes())?;
    core.programs
        .add(&record, &program.record.name, offsets.into());
    Ok((record, log))
}

/// Has a daemon load a program.
fn load_there(
    core: &Arc<Core>,
    daemon: &Link,
    program: &Send<'_>,
    request: &LoadRequest<'_>,
) -> Result<Loaded, LoadError> {
    let parts = Parts::new(program).ok_or(CallError::NoMemory { wanted: u64::MAX })?;
    let block = core.alloc(parts.end, 64)?;
    write(core, program, &block, &parts)?;
    let at = block.offset() + parts.record;
    let loaded = daemon.load(core, at, request)?;
    let (record, log) = answer(core, program, &block, &parts)?;
    match loaded {
        Ok(object) => Ok(Loaded {
            object,
            record,
            log,
        }),
        Err(errno) => Err(rejected(errno, record, log)),
    }
}

/// Has the guest load the program whose record is at an offset.
fn ask(core: &Core, (lane, turn): (&Lane, &mut Turn), at: u64) -> Result<Completion, CallError> {
    let arg = [at, core.config.verify_ns(), 0, 0, 0, 0, 0];
    let budget = core.config.load_timeout();
    lane.call(core, turn, (code::PROG_LOAD, &arg), budget)
}

/// Most instructions that a program of a client may have.
const MOST_INSNS: u32 = 1_000_000;

/// Loads the program whose record a client has put at an offset of shared memory;
/// the guest's errno where it does not take it.
pub(crate) fn load_at(
    core: &Arc<Core>,
    at: u64,
    maps: Vec<Arc<Object>>,
) -> Result<Result<Arc<Object>, i32>, CallError> {
    let mut sent = LoadRecord::new_zeroed();
    core.shared.read(at, sent.as_mut_bytes())?;
    if sent.insn_cnt > MOST_INSNS {
        return Ok(Err(libc::E2BIG));
    }
    core.with_lane(|lane, turn| {
        let answer = ask(core, (lane, turn), at)?;
        if answer.status != 0 {
            return Ok(Err(answer.status.wrapping_neg()));
        }
        let handle = core.handle(answer.val[0])?;
        let origin = || {
            Origin::Program(Box::new(Source {
                record: sent,
                insns: Box::default(),
                types: TypeInfo::default(),
            }))
        };
        let object = Object::new(core, (Kind::Program, handle), None, maps, origin);
        let mut record = sent;
        core.shared.read(at, record.as_mut_bytes())?;
        record.handle = handle;
        let mut offsets = vec![0u32; sent.insn_cnt as usize];
        core.shared.read(sent.insns, offsets.as_mut_bytes())?;
        core.programs.add(&record, &sent.name, offsets.into());
        Ok(Ok(object))
    })
}

/// What the guest has made of a record, and the log.
fn answer(
    core: &Core,
    program: &Send<'_>,
    block: &Block,
    parts: &Parts,
) -> Result<(LoadRecord, Vec<u8>), CallError> {
    let mut record = *program.record;
    core.shared
        .read(block.offset() + parts.record, record.as_mut_bytes())?;
    let log = log_text(core, &record, program.log_len, block.offset() + parts.log)?;
    Ok((record, log))
}

fn rejected(errno: i32, record: LoadRecord, log: Vec<u8>) -> LoadError {
    let len = (record.message_len as usize).min(record.message.len());
    let message = String::from_utf8_lossy(&record.message[..len]).into_owned();
    LoadError::Rejected {
        errno,
        record: Box::new(record),
        message,
        log,
    }
}

/// Copies a program into its block.
fn write(core: &Core, program: &Send<'_>, block: &Block, parts: &Parts) -> Result<(), CallError> {
    let (base, types) = (block.offset(), program.types);
    let count =
        |n: usize| u32::try_from(n).map_err(|_| CallError::Invalid("too many of something"));
    let record = LoadRecord {
        insn_cnt: count(program.insns.len() / 8)?,
        insns: base + parts.insns,
        log: base + parts.log,
        log_len: program.log_len,
        btf: base + parts.btf,
        btf_len: count(types.btf.len())?,
        func_info: base + parts.funcs,
        func_info_cnt: count(types.func_info.len() / 8)?,
        line_info: base + parts.lines,
        line_info_cnt: count(types.line_info.len() / 16)?,
        ..*program.record
    };
    core.shared.write(base + parts.insns, program.insns)?;
    core.shared.write(base + parts.btf, &types.btf)?;
    core.shared.write(base + parts.funcs, &types.func_info)?;
    core.shared.write(base + parts.lines, &types.line_info)?;
    core.shared.write(base + parts.record, record.as_bytes())
}

/// The log up to its final zero, of which the guest says how long it is.
fn log_text(core: &Core, record: &LoadRecord, room: u32, at: u64) -> Result<Vec<u8>, CallError> {
    let mut log = vec![0; record.log_true_size.min(room) as usize];
    core.shared.read(at, &mut log)?;
    if let Some(end) = log.iter().position(|&byte| byte == 0) {
        log.truncate(end);
    }
    Ok(log)
}
