//! The kernel's verdict and ours.

use super::Agreement;
use crate::generate::{MAPS, Sample};
use crate::kernel::{self, Btf, Map, Prog, ProgSpec};
use bpf_core::insn::{Insn, op};
use bpf_core::program::{FlatMemory, MapDesc, MapTable, ProgramDesc, TypeInfo};
use bpf_core::uapi::ProgType;
use bpf_core::verifier::{self, Options, Outcome};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// One judge's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// 0 for accepted, else a positive errno.
    pub errno: i32,
    /// Why not.
    pub reason: String,
    /// Instructions processed.
    pub processed: u32,
    /// The judge declines (ours only).
    pub unsupported: bool,
    /// The judge fell over (ours only).
    pub crashed: bool,
    /// How long it took.
    pub time: Duration,
}

/// Both judges, and the maps that programs name.
pub struct Referee {
    /// A set for each program type: the kernel binds a program array to one.
    maps: Vec<(ProgType, Vec<Map>)>,
    /// Types for the functions of programs with callbacks.
    btf: Btf,
}

/// The program types that programs are generated for.
const TYPES: [ProgType; 3] = [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter];

impl Referee {
    /// Creates the kernel's maps. Fails without root.
    pub fn new() -> kernel::Result<Self> {
        let mut maps = Vec::new();
        for prog_type in TYPES {
            let set: kernel::Result<_> = MAPS.iter().map(Map::create).collect();
            maps.push((prog_type, set?));
        }
        let btf = Btf::load(&kernel::btf::functions())?;
        Ok(Self { maps, btf })
    }

    /// Both verdicts and how they relate. The reasons are filled in.
    pub fn compare(&self, sample: &Sample) -> (Agreement, Verdict, Verdict) {
        let (kernel, ours) = (self.kernel(sample, 0), self.ours(sample));
        (Agreement::of(&kernel, &ours), kernel, ours)
    }

    /// The program as the kernel takes it: maps by descriptor.
    pub fn with_fds(&self, sample: &Sample) -> Vec<Insn> {
        let mut sets = self.maps.iter();
        let set = sets.find(|(prog_type, _)| *prog_type == sample.prog_type);
        let maps = set.map_or(&[][..], |(_, maps)| maps);
        let mut out = sample.insns.clone();
        for insn in &mut out {
            let names_map = matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE);
            if insn.is_wide() && names_map {
                let map = maps.get((insn.imm as usize).wrapping_sub(1));
                insn.imm = map.map_or(-1, |m| m.as_raw_fd());
            }
        }
        out
    }

    /// The kernel's verdict; a reason only at a `log_level` above 0.
    pub fn kernel(&self, sample: &Sample, log_level: u32) -> Verdict {
        let insns = self.with_fds(sample);
        let begin = Instant::now();
        let functions = functions(&insns);
        let mut spec = ProgSpec::new(sample.prog_type, &insns).log_level(log_level);
        if insns.iter().any(takes_function) {
            spec.btf = Some((self.btf.as_fd(), &functions));
        }
        let (errno, reason, processed) = match Prog::load(&spec) {
            Ok(prog) => {
                let processed = prog.info().map_or(0, |info| info.verified_insns);
                (0, String::new(), processed)
            }
            Err(no) => (no.error.errno, no.reason().to_owned(), 0),
        };
        Verdict {
            errno,
            reason,
            processed,
            time: begin.elapsed(),
            ..Verdict::default()
        }
    }

    /// Our verdict.
    pub fn ours(&self, sample: &Sample) -> Verdict {
        let begin = Instant::now();
        let judge = || verify(sample);
        let outcome = match catch_unwind(AssertUnwindSafe(judge)) {
            Ok(outcome) => outcome,
            Err(panic) => return crashed(&*panic),
        };
        let mut verdict = Verdict {
            processed: outcome.stats.insns_processed,
            time: begin.elapsed(),
            ..Verdict::default()
        };
        if let Err(reject) = outcome.verdict {
            verdict.errno = reject.errno;
            verdict.unsupported = reject.unsupported;
            verdict.reason = match reject.insn {
                Some(at) => format!("{at}: {}", reject.reason),
                None => reject.reason,
            };
        }
        verdict
    }
}

/// Our verifier's judgement of a sample, over maps like [`MAPS`].
pub fn verify(sample: &Sample) -> Outcome {
    let desc = ProgramDesc {
        insns: &sample.insns,
        prog_type: sample.prog_type,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        types: TypeInfo::default(),
    };
    let begin = Instant::now();
    let late = || begin.elapsed() > Duration::from_secs(5);
    let limit = || late().then_some(verifier::Spent::Time);
    let options = Options {
        log_level: 0,
        insn_budget: bpf_core::uapi::limits::COMPLEXITY_INSNS,
        spent: &limit,
    };
    verifier::verify(&desc, &MirrorMaps, &options)
}

/// Whether it loads the address of a function.
pub(crate) fn takes_function(insn: &Insn) -> bool {
    insn.is_wide() && insn.src == op::PSEUDO_FUNC
}

/// The first instruction of every function, with its type.
pub fn functions(insns: &[Insn]) -> Vec<[u32; 2]> {
    let called = |insn: &Insn| {
        let call = insn.opcode == op::JMP | op::CALL && insn.src == op::PSEUDO_CALL;
        call || takes_function(insn)
    };
    let targets = insns.iter().enumerate().filter(|(_, insn)| called(insn));
    let mut starts: Vec<u32> = targets
        .map(|(at, insn)| (at as i32 + 1).wrapping_add(insn.imm) as u32)
        .chain([0])
        .collect();
    starts.sort();
    starts.dedup();
    starts
        .into_iter()
        .map(|at| [at, kernel::btf::FUNCTION])
        .collect()
}

fn crashed(panic: &dyn std::any::Any) -> Verdict {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    Verdict {
        crashed: true,
        errno: -1,
        reason: format!("panic: {}", text.unwrap_or("?")),
        ..Verdict::default()
    }
}

/// [`MAPS`] as our verifier sees them.
struct MirrorMaps;

/// [`MAPS`] as our verifier sees them.
pub fn mirror_maps() -> Vec<MapDesc> {
    let handles = 1..=MAPS.len() as u32;
    handles.filter_map(|h| MirrorMaps.map(h)).collect()
}

impl MapTable for MirrorMaps {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        let spec = MAPS.get(handle.checked_sub(1)? as usize)?;
        Some(MapDesc {
            handle,
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            frozen: false,
            spin_lock_off: None,
            inner: None,
            object_addr: 0x10_0000 * u64::from(handle),
            values_addr: 0x1000_0000 * u64::from(handle),
            value_stride: spec.value_size.next_multiple_of(8),
        })
    }

    fn read_constant(&self, _handle: u32, _off: u32, _size: u32) -> Option<u64> {
        None
    }
}
