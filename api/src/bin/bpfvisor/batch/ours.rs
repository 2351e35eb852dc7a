//! Answers from bpfvisor: one VM for all lines, built anew if it dies.

use super::Oracle;
use super::answer::{Answer, RunAnswer, Verdict};
use crate::cli::{BatchArgs, VmArgs};
use crate::verdict;
use anyhow::Result;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{ProgType, errno};
use bpfvisor::hex;
use bpfvisor::input::question::{
    FixupKind, Initial, MapLine, Question, RunLine, creation_order, per_cpu,
};
use bpfvisor::{CallerError, Error, Map, MapSpec, Program, ProgramSpec, TestRun, Vm};
use std::os::fd::AsRawFd;

pub struct Ours {
    args: VmArgs,
    log_level: u32,
    vm: Vm,
}

impl Ours {
    /// Boots the VM.
    pub fn new(args: &BatchArgs) -> Result<Self> {
        Ok(Self {
            vm: args.vm.vm()?,
            args: args.vm.clone(),
            log_level: args.log_level,
        })
    }
}

impl Oracle for Ours {
    fn answer(&mut self, question: &Question) -> Result<Answer> {
        if !self.vm.is_alive() {
            self.vm = self.args.vm()?;
        }
        Ok(match self.load(question) {
            Ok((program, _maps)) => self.accepted(question, &program),
            Err(e) => refused(&question.name, e),
        })
    }
}

impl Ours {
    fn load(&self, q: &Question) -> bpfvisor::Result<(Program, Vec<Map>)> {
        let prog_type = q
            .prog_type
            .clone()
            .map_err(|name| unsupported(format!("program type {name:?} is not known")))?;
        let maps = self.create_maps(&q.maps)?;
        let mut insns = q.insns.clone();
        apply_fixups(q, &mut insns, |index| {
            maps.get(index).map(|m| m.as_raw_fd())
        })
        .map_err(|e| Error::from(CallerError::Argument(e)))?;
        let (min, max) = q.data_lengths();
        let mut spec = ProgramSpec::new(prog_type, insns)
            .license(&q.license)
            .log_level(self.log_level);
        if prog_type == ProgType::Flat {
            spec = spec.flat_memory(min, max);
        }
        if q.strict_alignment {
            spec = spec.strict_alignment();
        }
        let program = self.vm.load(spec)?;
        for (line, map) in q.maps.iter().zip(&maps) {
            for (key, value) in &line.init {
                if *value == Initial::ThisProgram {
                    map.insert(key, &program.as_raw_fd().to_ne_bytes())?;
                }
            }
        }
        Ok((program, maps))
    }

    /// Creates the maps in an order in which templates come first.
    fn create_maps(&self, lines: &[MapLine]) -> bpfvisor::Result<Vec<Map>> {
        let mut made: Vec<Option<Map>> = vec![None; lines.len()];
        for i in creation_order(lines).map_err(|e| Error::from(CallerError::Argument(e)))? {
            let inner = lines[i].inner.and_then(|t| made[t].clone());
            made[i] = Some(self.create_map(&lines[i], inner)?);
        }
        let maps: Vec<Map> = made.into_iter().flatten().collect();
        for (line, map) in lines.iter().zip(&maps) {
            init_map(line, map, &maps, self.vm.vcpus() as usize)?;
        }
        Ok(maps)
    }

    fn create_map(&self, line: &MapLine, inner: Option<Map>) -> bpfvisor::Result<Map> {
        let map_type = line
            .map_type
            .clone()
            .map_err(|name| unsupported(format!("map type {name:?} is not known")))?;
        let name: String = line.name.chars().take(15).collect();
        let mut spec = MapSpec::new(
            &name,
            map_type,
            line.key_size,
            line.value_size,
            line.max_entries,
        )
        .flags(line.map_flags);
        spec.inner = inner;
        self.vm.create_map(spec)
    }

    fn accepted(&self, q: &Question, program: &Program) -> Answer {
        let info = program.info();
        Answer {
            processed: Some(info.processed),
            verify_us: Some(info.verify_time.as_secs_f64() * 1e6),
            jit_us: Some(info.jit_time.as_secs_f64() * 1e6),
            code_bytes: Some(info.jited_len),
            log: info.log.clone(),
            runs: q.runs.iter().map(|r| run(program, r)).collect(),
            ..Answer::new(&q.name, Verdict::Accept)
        }
    }
}

fn init_map(line: &MapLine, map: &Map, maps: &[Map], cpus: usize) -> bpfvisor::Result<()> {
    for (key, value) in &line.init {
        match value {
            Initial::Bytes(value) => map.insert(key, &per_cpu(line, value, cpus))?,
            Initial::Map(index) => {
                let fd = maps.get(*index).map_or(-1, |m| m.as_raw_fd());
                map.insert(key, &fd.to_ne_bytes())?;
            }
            Initial::ThisProgram => {} // when there is one
        }
    }
    Ok(())
}

/// Writes fds into the wide loads that fixups name. Fd -1 is a deliberately bad
/// one.
pub fn apply_fixups(
    q: &Question,
    insns: &mut [Insn],
    fd_of: impl Fn(usize) -> Option<i32>,
) -> Result<(), String> {
    for fixup in &q.fixups {
        let at = fixup.insn as usize;
        if !insns.get(at).is_some_and(|i| i.is_wide()) || at + 1 >= insns.len() {
            return Err(format!("fixup: instruction {at} is not a wide load"));
        }
        let fd = match usize::try_from(fixup.map) {
            Err(_) => -1,
            Ok(index) => fd_of(index).ok_or_else(|| format!("fixup: there is no map {index}"))?,
        };
        insns[at].imm = fd;
        insns[at].src = op::PSEUDO_MAP_FD;
        if fixup.kind == FixupKind::Value {
            insns[at].src = op::PSEUDO_MAP_VALUE;
            insns[at + 1].imm = fixup.offset as i32;
        }
    }
    Ok(())
}

fn run(program: &Program, line: &RunLine) -> RunAnswer {
    let out = program.test_run(&TestRun {
        data: &line.data,
        ctx: &line.ctx,
        repeat: line.repeat,
    });
    match out {
        Ok(out) => RunAnswer {
            retval: Some(out.retval),
            r0: Some(out.r0),
            data_hex: Some(hex::encode(&out.data)),
            ctx_hex: (!out.ctx.is_empty()).then(|| hex::encode(&out.ctx)),
            ns: Some(out.duration.as_nanos() as u64),
            redirect: out.redirect.map(|r| verdict::target(&r)),
            error: None,
        },
        Err(e) => RunAnswer::failed(e),
    }
}

fn unsupported(what: String) -> Error {
    CallerError::Unsupported(what).into()
}

fn refused(name: &str, e: Error) -> Answer {
    match e {
        Error::Program(r) => Answer {
            insn: r.insn,
            processed: Some(r.processed),
            verify_us: Some(r.verify_time.as_secs_f64() * 1e6),
            log: r.log,
            ..Answer::new(
                name,
                if r.unsupported {
                    Verdict::Unsupported
                } else {
                    Verdict::Reject
                },
            )
            .because(r.errno, r.reason)
        },
        Error::Caller(CallerError::Unsupported(what)) => {
            Answer::new(name, Verdict::Unsupported).because(errno::EOPNOTSUPP, what)
        }
        Error::Caller(
            ref c @ (CallerError::BadFd { insn, .. }
            | CallerError::NotAMap { insn, .. }
            | CallerError::OtherVm { insn, .. }
            | CallerError::Fixup { insn, .. }),
        ) => Answer {
            insn: Some(insn),
            ..Answer::new(name, Verdict::Reject).because(e.errno(), c.to_string())
        },
        Error::Caller(CallerError::Refused { errno: n, .. })
            if matches!(n, errno::EOPNOTSUPP | errno::ENOTSUPP) =>
        {
            Answer::new(name, Verdict::Unsupported).because(n, e.to_string())
        }
        Error::Caller(_) => Answer::new(name, Verdict::Reject).because(e.errno(), e.to_string()),
        other => Answer::new(name, Verdict::Unsupported).because(other.errno(), other.to_string()),
    }
}
