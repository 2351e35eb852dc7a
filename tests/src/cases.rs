//! Small programs as text, each with Linux's verdict (`tests/cases/*.txt`).
//!
//! Two spellings. A block: `@ TYPE NAME`, the program one instruction a line,
//! `= VERDICT`. Or one line: `TYPE NAME | instruction; instruction; … = VERDICT`
//! with the shorthands of [`expand`]. A type may carry `@N` (its attach type), `!prop`
//! (not GPL) and `!strict` (alignment). Verdicts are `accept`, `reject ERRNO`, `unsupported`.

mod maps;
mod text;

pub use maps::{Maps, on_kernel};
pub use text::{Case, expand, line, parse};

use crate::kernel::{self, Btf, Map, Prog, ProgSpec};
use crate::oracle::functions;
use bpf_core::insn::{Insn, op};
use bpf_core::program::{FlatMemory, FuncInfo, ProgramDesc, TypeInfo};
use bpf_core::uapi::{ProgType, prog_flags};
use bpf_core::verifier::{Options, verify};
use std::os::fd::{AsFd, AsRawFd};

/// A verdict in the words of the files, and the reason behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `accept`, `reject ERRNO` or `unsupported`.
    pub verdict: String,
    /// One line.
    pub reason: String,
}

/// Our verdict.
pub fn ours(case: &Case) -> Answer {
    let blob = kernel::btf::functions();
    let funcs: Vec<FuncInfo> = functions(&case.insns)
        .iter()
        .map(|&[insn, type_id]| FuncInfo { insn, type_id })
        .collect();
    let desc = ProgramDesc {
        insns: &case.insns,
        prog_type: case.prog_type,
        attach_type: case.attach_type,
        flags: case.flags(),
        gpl: case.gpl,
        flat: FlatMemory { min: 64, max: 128 },
        types: TypeInfo {
            btf: &blob,
            funcs: &funcs,
            lines: &[],
        },
    };
    let options = Options {
        log_level: 0,
        insn_budget: 60_000,
        spent: &|| None,
    };
    let maps = Maps::new();
    match verify(&desc, &maps, &options).verdict {
        Ok(_) => Answer::new("accept".into(), String::new()),
        Err(r) if r.unsupported => Answer::new("unsupported".into(), r.reason),
        Err(r) => Answer::new(format!("reject {}", r.errno), r.reason),
    }
}

impl Answer {
    fn new(verdict: String, reason: String) -> Self {
        Self { verdict, reason }
    }
}

impl Case {
    fn flags(&self) -> u32 {
        if self.strict {
            prog_flags::STRICT_ALIGNMENT
        } else {
            0
        }
    }
}

/// The kernel as a judge of cases, with its own set of the maps per program type
/// and attach type (it binds a program array to one).
pub struct Kernel {
    sets: Vec<((ProgType, u32), Vec<Map>)>,
    types: Btf,
}

impl Kernel {
    /// Fails without root.
    pub fn new() -> kernel::Result<Self> {
        Ok(Self {
            sets: Vec::new(),
            types: Btf::load(&kernel::btf::functions())?,
        })
    }

    /// The kernel's verdict, without a reason; `None` for types that it does not have.
    pub fn judge(&mut self, case: &Case) -> kernel::Result<Option<Answer>> {
        self.load(case, 0)
    }

    /// The kernel's verdict with its reason.
    pub fn explain(&mut self, case: &Case) -> kernel::Result<Option<Answer>> {
        self.load(case, 1)
    }

    fn load(&mut self, case: &Case, log_level: u32) -> kernel::Result<Option<Answer>> {
        if case.prog_type == ProgType::Flat {
            return Ok(None);
        }
        let insns = self.with_fds(case)?;
        let functions = functions(&insns);
        let mut spec = ProgSpec::new(case.prog_type, &insns)
            .flags(case.flags())
            .log_level(log_level);
        spec.attach_type = case.attach_type;
        spec.license = if case.gpl { "GPL" } else { "Proprietary" };
        let uses_types = insns.iter().any(crate::oracle::takes_function);
        if uses_types || functions.len() > 1 {
            spec.btf = Some((self.types.as_fd(), &functions));
        }
        Ok(Some(match Prog::load(&spec) {
            Ok(_) => Answer::new("accept".into(), String::new()),
            Err(no) => Answer::new(format!("reject {}", no.error.errno), no.reason().to_owned()),
        }))
    }

    fn with_fds(&mut self, case: &Case) -> kernel::Result<Vec<Insn>> {
        let of = (case.prog_type, case.attach_type);
        let at = match self.sets.iter().position(|(t, _)| *t == of) {
            Some(at) => at,
            None => {
                self.sets.push((of, on_kernel(&Maps::new())?));
                self.sets.len() - 1
            }
        };
        let maps = &self.sets[at].1;
        let mut out = case.insns.clone();
        for insn in &mut out {
            if insn.is_wide() && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE) {
                insn.imm = maps.get(insn.imm as usize).map_or(-1, |m| m.as_raw_fd());
            }
        }
        Ok(out)
    }
}
