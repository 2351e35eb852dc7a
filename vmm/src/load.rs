//! Loading a program.

use std::sync::Arc;
use std::time::Duration;

use bpfvisor_abi::op::{LoadRecord, code};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::alloc::Block;
use crate::core::Core;
use crate::error::CallError;
use crate::object::{Kind, Object};

/// A program to load, its map references already turned into handles.
#[derive(Debug)]
pub struct LoadRequest<'a> {
    /// What the guest is told. `insn_cnt`, `insns`, `log`, `log_len`,
    /// `global_funcs` and `global_func_cnt` are filled in from the other fields.
    pub record: LoadRecord,
    /// Instructions, 8 bytes each.
    pub insns: &'a [u8],
    /// First instructions of global functions.
    pub global_funcs: &'a [u32],
    /// Maps that the program uses; they live as long as it does.
    pub maps: Vec<Arc<Object>>,
    /// Bytes of verifier log wanted.
    pub log_len: u32,
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

/// Time for a load whose record sets none.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the parts of a request lie in its block.
struct Parts {
    record: u64,
    insns: u64,
    funcs: u64,
    log: u64,
    end: u64,
}

impl Parts {
    /// None if the sizes together overflow.
    fn new(request: &LoadRequest<'_>) -> Option<Self> {
        let after = |at: u64, len: usize| at.checked_add(len as u64)?.checked_next_multiple_of(64);
        let insns = after(0, size_of::<LoadRecord>())?;
        let funcs = after(insns, request.insns.len())?;
        let log = after(funcs, size_of_val(request.global_funcs))?;
        let end = after(log, request.log_len as usize)?;
        Some(Self {
            record: 0,
            insns,
            funcs,
            log,
            end,
        })
    }
}

/// Loads a program; the block that carries it is gone when this returns.
pub(crate) fn load(core: &Arc<Core>, request: LoadRequest<'_>) -> Result<Loaded, LoadError> {
    if request.maps.iter().any(|map| map.vm_id() != core.id) {
        return Err(CallError::Invalid("a map of another VM").into());
    }
    let parts = Parts::new(&request).ok_or(CallError::NoMemory { wanted: u64::MAX })?;
    let block = core.arena.alloc(parts.end, 64);
    let block = block.ok_or(CallError::NoMemory { wanted: parts.end })?;
    block.populate(parts.log);
    let budget = send(core, &request, &block, &parts)?;
    let arg = [block.offset() + parts.record, 0, 0, 0, 0, 0, 0];
    let answer = core.call(
        code::PROG_LOAD,
        &arg,
        core.config.call_timeout.saturating_add(budget),
    )?;
    let mut record = request.record;
    core.shared
        .read(block.offset() + parts.record, record.as_mut_bytes())?;
    let log = log_text(core, &record, request.log_len, block.offset() + parts.log)?;
    match answer.status {
        0 => {
            let mut offsets = vec![0u32; request.insns.len() / 8];
            let at = block.offset() + parts.insns;
            core.shared.read(at, offsets.as_mut_bytes())?;
            core.programs
                .add(&record, &request.record.name, offsets.into());
            let object = Object::new(core, (Kind::Program, record.handle), None, request.maps);
            Ok(Loaded {
                object,
                record,
                log,
            })
        }
        status => {
            let len = (record.message_len as usize).min(record.message.len());
            let message = String::from_utf8_lossy(&record.message[..len]).into_owned();
            Err(LoadError::Rejected {
                errno: -status,
                record: Box::new(record),
                message,
                log,
            })
        }
    }
}

/// Copies the request into its block; gives the time that verification may take.
fn send(
    core: &Core,
    request: &LoadRequest<'_>,
    block: &Block,
    parts: &Parts,
) -> Result<Duration, CallError> {
    let base = block.offset();
    let count =
        |n: usize| u32::try_from(n).map_err(|_| CallError::Invalid("too many of something"));
    let record = LoadRecord {
        insn_cnt: count(request.insns.len() / 8)?,
        insns: base + parts.insns,
        log: base + parts.log,
        log_len: request.log_len,
        global_funcs: base + parts.funcs,
        global_func_cnt: count(request.global_funcs.len())?,
        ..request.record
    };
    core.shared.write(base + parts.insns, request.insns)?;
    core.shared
        .write(base + parts.funcs, request.global_funcs.as_bytes())?;
    core.shared.write(base + parts.record, record.as_bytes())?;
    Ok(match record.time_budget_ns {
        0 => PATIENCE,
        ns => Duration::from_nanos(ns),
    })
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
