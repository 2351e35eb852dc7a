//! Answers from the running kernel, in the same form.

use super::Oracle;
use super::answer::{Answer, RunAnswer, Verdict};
use super::ours::apply_fixups;
use super::sys::{Attr, Pointer, bpf, bpf_fd};
use anyhow::{Context, Result};
use bpf_core::uapi::{Cmd, ProgType, errno, prog_flags};
use bpfvisor::hex;
use bpfvisor::input::question::{
    Initial, MapLine, Question, RunLine, creation_order, is_per_cpu, per_cpu,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub struct Kernel {
    log_level: u32,
    cpus: usize,
}

/// Why there is no program.
enum Failure {
    /// Before the verifier saw it.
    Early(String, i32),
    Unsupported(String),
    Rejected(i32, String),
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self::Early(what, errno::EINVAL)
    }
}

/// The log keeps its end when it gets too long.
const LOG: usize = 1 << 20;
/// More CPUs than any kernel is built for.
const MOST_CPUS: usize = 8192;
/// `BPF_LOG_STATS`.
const STATS: u32 = 4;

impl Kernel {
    /// Finds out whether `bpf(2)` may be used.
    pub fn new(log_level: u32) -> Result<Self> {
        let probe = MapLine {
            name: String::new(),
            map_type: Ok(bpf_core::uapi::MapType::Array),
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            map_flags: 0,
            inner: None,
            init: Vec::new(),
        };
        create_map(&probe, None)
            .map_err(|e| match e {
                Failure::Early(_, n) | Failure::Rejected(n, _) => io::Error::from_raw_os_error(n),
                Failure::Unsupported(what) => io::Error::other(what),
            })
            .context("the kernel's bpf() can't be used (run as root)")?;
        let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible");
        Ok(Self {
            log_level,
            cpus: possible
                .ok()
                .and_then(|p| last_cpu(&p))
                .map_or(1, |n| n + 1),
        })
    }
}

/// The last number in a list like `0-3`.
fn last_cpu(list: &str) -> Option<usize> {
    list.trim().rsplit(['-', ',']).next()?.parse().ok()
}

impl Oracle for Kernel {
    fn answer(&mut self, q: &Question) -> Result<Answer> {
        Ok(match self.load(q) {
            Ok((program, log, _maps)) => Answer {
                processed: processed(&log),
                log: if self.log_level > 0 {
                    log
                } else {
                    String::new()
                },
                runs: q.runs.iter().map(|r| run(&program, r)).collect(),
                ..Answer::new(&q.name, Verdict::Accept)
            },
            Err(Failure::Unsupported(what)) => {
                Answer::new(&q.name, Verdict::Unsupported).because(errno::EOPNOTSUPP, what)
            }
            Err(Failure::Early(what, n)) => Answer::new(&q.name, Verdict::Reject).because(n, what),
            Err(Failure::Rejected(n, log)) => Answer {
                insn: last_insn(&log),
                processed: processed(&log),
                ..Answer::new(&q.name, Verdict::Reject).because(n, reason(&log, n))
            },
        })
    }
}

impl Kernel {
    fn load(&self, q: &Question) -> Result<(OwnedFd, String, Vec<OwnedFd>), Failure> {
        let prog_type = match &q.prog_type {
            Ok(ProgType::Flat) => {
                return Err(Failure::Unsupported(
                    "the kernel has no flat programs".into(),
                ));
            }
            Ok(t) => *t,
            Err(name) => {
                return Err(Failure::Unsupported(format!(
                    "program type {name:?} is not known"
                )));
            }
        };
        let maps = self.create_maps(&q.maps)?;
        let mut insns = q.insns.clone();
        apply_fixups(q, &mut insns, |i| maps.get(i).map(AsRawFd::as_raw_fd))?;
        let mut bytes: Vec<u8> = insns.iter().flat_map(|i| i.to_bytes()).collect();
        let loaded = load(q, prog_type, &mut bytes, self.log_level | STATS);
        // Only a log with the instructions names the one at fault; one that does
        // not fit changes the error.
        let (program, log) = loaded.map_err(|(n, short)| {
            let again = load(q, prog_type, &mut bytes, 1 | STATS);
            Failure::Rejected(n, again.map_or_else(|(_, log)| log, |_| short))
        })?;
        for (line, map) in q.maps.iter().zip(&maps) {
            for (key, value) in &line.init {
                if *value == Initial::ThisProgram {
                    update(map, line, key, &program.as_raw_fd().to_ne_bytes())?;
                }
            }
        }
        Ok((program, log, maps))
    }

    fn create_maps(&self, lines: &[MapLine]) -> Result<Vec<OwnedFd>, Failure> {
        let mut made: Vec<Option<OwnedFd>> = lines.iter().map(|_| None).collect();
        for i in creation_order(lines)? {
            let inner = lines[i].inner.and_then(|t| made[t].as_ref());
            made[i] = Some(create_map(&lines[i], inner.map(AsRawFd::as_raw_fd))?);
        }
        let maps: Vec<OwnedFd> = made.into_iter().flatten().collect();
        for (line, map) in lines.iter().zip(&maps) {
            for (key, value) in &line.init {
                match value {
                    Initial::Bytes(value) => {
                        update(map, line, key, &per_cpu(line, value, self.cpus))?
                    }
                    Initial::Map(i) => {
                        let fd = maps.get(*i).map_or(-1, AsRawFd::as_raw_fd);
                        update(map, line, key, &fd.to_ne_bytes())?;
                    }
                    Initial::ThisProgram => {}
                }
            }
        }
        Ok(maps)
    }
}

fn code(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(errno::EIO)
}

fn create_map(line: &MapLine, inner: Option<i32>) -> Result<OwnedFd, Failure> {
    let map_type = line
        .map_type
        .clone()
        .map_err(|name| Failure::Unsupported(format!("map type {name:?} is not known")))?;
    let mut attr = Attr::new()
        .u32(0, map_type as u32)
        .u32(4, line.key_size)
        .u32(8, line.value_size)
        .u32(12, line.max_entries)
        .u32(16, line.map_flags)
        .u32(20, inner.unwrap_or(0) as u32);
    bpf_fd(Cmd::MapCreate as u32, &mut attr, &mut [])
        .map_err(|e| Failure::Early(format!("map {:?}: {e}", line.name), code(&e)))
}

fn update(map: &OwnedFd, line: &MapLine, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    // The kernel reads as much as the map's sizes say, whatever is given.
    let (mut key, mut value) = (key.to_vec(), value.to_vec());
    key.resize(key.len().max(line.key_size as usize), 0);
    let cpus = if is_per_cpu(line) { MOST_CPUS } else { 1 };
    let read = (line.value_size as usize).next_multiple_of(8) * cpus;
    value.resize(value.len().max(read), 0);
    let mut attr = Attr::new().u32(0, map.as_raw_fd() as u32);
    let mut pointers = [
        Pointer {
            at: 8,
            mem: &mut key,
        },
        Pointer {
            at: 16,
            mem: &mut value,
        },
    ];
    bpf(Cmd::MapUpdateElem as u32, &mut attr, &mut pointers)
        .map(drop)
        .map_err(|e| Failure::Early(format!("map init: {e}"), code(&e)))
}

/// Loads; gives the log also where the kernel refuses.
fn load(
    q: &Question,
    prog_type: ProgType,
    insns: &mut [u8],
    log_level: u32,
) -> Result<(OwnedFd, String), (i32, String)> {
    let mut license = q.license.clone().into_bytes();
    license.resize(license.len().max(127) + 1, 0);
    let mut log = vec![0; LOG];
    let mut attr = Attr::new()
        .u32(0, prog_type as u32)
        .u32(4, (insns.len() / 8) as u32)
        .u32(24, log_level)
        .u32(28, LOG as u32)
        .u32(
            44,
            if q.strict_alignment {
                prog_flags::STRICT_ALIGNMENT
            } else {
                0
            },
        );
    let mut pointers = [
        Pointer { at: 8, mem: insns },
        Pointer {
            at: 16,
            mem: &mut license,
        },
        Pointer {
            at: 32,
            mem: &mut log,
        },
    ];
    let done = bpf_fd(Cmd::ProgLoad as u32, &mut attr, &mut pointers);
    let len = log.iter().position(|&b| b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..len]).into_owned();
    match done {
        Ok(fd) => Ok((fd, text)),
        Err(e) => Err((code(&e), text)),
    }
}

/// The line before the statistics.
fn reason(log: &str, errno: i32) -> String {
    let mut lines = log.lines();
    let last = lines.rfind(|l| !l.trim().is_empty() && !is_statistics(l));
    last.map_or_else(
        || io::Error::from_raw_os_error(errno).to_string(),
        str::to_string,
    )
}

fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time", "stack depth"]
        .iter()
        .any(|s| line.starts_with(s))
}

/// The last instruction that the log shows: `12: (85) call …`.
fn last_insn(log: &str) -> Option<u32> {
    log.lines().rev().find_map(|line| {
        let (number, rest) = line.split_once(": ")?;
        rest.starts_with('(').then(|| number.trim().parse().ok())?
    })
}

fn processed(log: &str) -> Option<u32> {
    let tail = log.rsplit_once("processed ")?.1;
    tail.split_whitespace().next()?.parse().ok()
}

/// Room for a packet to grow.
const ROOM: usize = 64 << 10;

fn run(program: &OwnedFd, line: &RunLine) -> RunAnswer {
    let (mut data, mut ctx) = (line.data.clone(), line.ctx.clone());
    let mut data_out = vec![0; data.len() + ROOM];
    let mut ctx_out = vec![0; ctx.len()];
    let mut attr = Attr::new()
        .u32(0, program.as_raw_fd() as u32)
        .u32(8, data.len() as u32)
        .u32(12, data_out.len() as u32)
        .u32(32, line.repeat)
        .u32(40, ctx.len() as u32)
        .u32(44, ctx_out.len() as u32);
    let with_ctx = !ctx.is_empty();
    let mut pointers = vec![
        Pointer {
            at: 16,
            mem: &mut data,
        },
        Pointer {
            at: 24,
            mem: &mut data_out,
        },
    ];
    if with_ctx {
        pointers.push(Pointer {
            at: 48,
            mem: &mut ctx,
        });
        pointers.push(Pointer {
            at: 56,
            mem: &mut ctx_out,
        });
    }
    if let Err(e) = bpf(Cmd::ProgTestRun as u32, &mut attr, &mut pointers) {
        return RunAnswer::failed(e);
    }
    data_out.truncate(attr.get(12) as usize);
    RunAnswer {
        retval: Some(attr.get(4)),
        r0: None,
        data_hex: Some(hex::encode(&data_out)),
        ctx_hex: with_ctx.then(|| hex::encode(&ctx_out)),
        ns: Some(attr.get(36).into()),
        redirect: None,
        error: None,
    }
}
