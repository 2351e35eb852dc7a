//! Loading a program.

use std::sync::Arc;

use bpfvisor_abi::op::LoadRecord;
use thiserror::Error;

use crate::error::CallError;
use crate::object::Object;

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
