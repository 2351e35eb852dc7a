//! `PROG_LOAD`: from instructions in the shared slot to a program that runs.
use super::{Compiled, Full, Prog, license, log};
use crate::Runtime;
use crate::dispatch::{Answer, Call};
use crate::hal::headroom;
use crate::map::Owner;
use crate::object::Object;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf_core::insn::Insn;
use bpf_core::jit::{self, JitError};
use bpf_core::program::{FlatMemory, FuncInfo, LineInfo, Program, ProgramDesc, TypeInfo};
use bpf_core::uapi::{ProgType, errno, limits};
use bpf_core::verifier::{self, Options, Outcome, Reject, Spent, Stats};
use bpfvisor_abi::boot::boot_flags;
use bpfvisor_abi::op::LoadRecord;
use core::cell::Cell;
use zerocopy::IntoBytes;

/// Bit of `LoadRecord::verdict_flags`.
const UNSUPPORTED: u32 = 1;

/// `PROG_LOAD`. The record is answered in place, also for a refused program.
pub fn load(c: &Call<'_>) -> Answer {
    let mut rec: LoadRecord = c.rt.shared.read(c.arg[0]).ok_or(errno::EFAULT)?;
    clear_answer(&mut rec);
    let result = match attempt(c.rt, &mut rec, c.arg[1]) {
        Ok(handle) => {
            rec.handle = handle;
            Ok([handle.into(), 0, 0, 0, 0, 0, 0])
        }
        Err(reject) => {
            explain(&mut rec, &reject);
            Err(reject.errno)
        }
    };
    c.rt.shared.write(c.arg[0], rec).ok_or(errno::EFAULT)?;
    result
}

/// `PROG_UNLOAD`.
pub fn unload(c: &Call<'_>) -> Answer {
    let handle = c.arg[0] as u32;
    c.rt.objects.prog(handle).ok_or(errno::EBADF)?;
    match c.rt.objects.remove(handle, &c.rt.grace, c.vcpu) {
        true => Ok([0; 7]),
        false => Err(errno::EBADF),
    }
}

fn attempt(rt: &Runtime, rec: &mut LoadRecord, budget: u64) -> Result<u32, Reject> {
    let prog_type = ProgType::from_u32(rec.prog_type)
        .ok_or_else(|| refuse(errno::EINVAL, "no such program type"))?;
    let memory = || refuse(errno::ENOMEM, "the VM's heap has no room for the program");
    headroom(rec.insn_cnt as usize * PER_INSN).map_err(|_| memory())?;
    let insns = instructions(rt, rec)?;
    let program = judge(rt, (rec, budget), prog_type, &insns)?;
    rec.xlated_insns = program.insns.len() as u32;
    let maps: Vec<_> = program
        .maps
        .iter()
        .filter_map(|&h| rt.objects.map(h).cloned())
        .collect();
    let flat = match prog_type {
        ProgType::Flat => (rec.flat_min, rec.flat_max),
        _ => (0, 0),
    };
    let attach_type = rec.attach_type;
    let owner = Owner {
        prog_type,
        attach_type,
        flat,
    };
    if !maps.iter().all(|m| m.admits(owner)) {
        return Err(refuse(
            errno::EINVAL,
            "a program array is used by programs of another type",
        ));
    }
    let code = match rt.boot.flags & boot_flags::INTERPRET {
        0 => Some(compile(rt, rec, &program)?),
        _ => None,
    };
    let program = Arc::new(program);
    let prog = Arc::new(Prog {
        prog_type,
        program,
        code,
        maps,
        attach_type,
        flat,
    });
    let placed = rt.objects.place(Object::Prog(prog), rec.place);
    placed.map_err(|e| refuse(e, "the VM has no room for the object"))
}

/// Heap that verification (but for its states) and compilation of an instruction
/// take at the same time, with some to spare.
const PER_INSN: usize = 256;

/// The program as the host wrote it.
fn instructions(rt: &Runtime, rec: &LoadRecord) -> Result<Vec<Insn>, Reject> {
    if rec.insn_cnt == 0 || rec.insn_cnt > limits::COMPLEXITY_INSNS {
        return Err(refuse(
            errno::E2BIG,
            "the number of instructions is not in 1..=1000000",
        ));
    }
    let bytes = rt.shared.bytes(rec.insns, u64::from(rec.insn_cnt) * 8);
    let bytes = bytes.ok_or_else(|| refuse(errno::EFAULT, "the instructions lie outside"))?;
    let (slots, _) = bytes.as_chunks::<8>();
    Ok(slots.iter().map(|s| Insn::from_bytes(*s)).collect())
}

/// The program's types, as the host wrote them.
#[derive(Default)]
struct Types {
    btf: Vec<u8>,
    funcs: Vec<FuncInfo>,
    lines: Vec<LineInfo>,
}

impl Types {
    fn read(rt: &Runtime, rec: &LoadRecord) -> Result<Self, Reject> {
        let len = |count: u32, each: usize| u64::from(count) * each as u64;
        let (funcs, lines) = (
            len(rec.func_info_cnt, FuncInfo::SIZE),
            len(rec.line_info_cnt, LineInfo::SIZE),
        );
        // The verifier's index of types takes no more than these do.
        let most = u64::from(rec.btf_len) * 2 + funcs + lines;
        headroom(usize::try_from(most).unwrap_or(usize::MAX))
            .map_err(|_| refuse(errno::ENOMEM, "the VM's heap has no room for the types"))?;
        let read = |at: u64, len: u64| {
            let bytes = rt.shared.bytes(at, len);
            bytes.ok_or_else(|| refuse(errno::EFAULT, "the types lie outside"))
        };
        let (funcs, lines) = (read(rec.func_info, funcs)?, read(rec.line_info, lines)?);
        let funcs = funcs.as_chunks().0.iter().map(|r| FuncInfo::from_bytes(*r));
        let lines = lines.as_chunks().0.iter().map(|r| LineInfo::from_bytes(*r));
        Ok(Self {
            btf: read(rec.btf, rec.btf_len.into())?.to_vec(),
            funcs: funcs.collect(),
            lines: lines.collect(),
        })
    }

    fn info(&self) -> TypeInfo<'_> {
        TypeInfo {
            btf: &self.btf,
            funcs: &self.funcs,
            lines: &self.lines,
        }
    }
}

/// Looks at the budgets before memory counts among them, and how many there are
/// from then on for one at memory, which takes longer: every 1024 instructions.
const SHORT: u32 = 64;
const RARELY: u32 = 1024 / verifier::LOOK;
/// More than the verifier's states can grow by between two looks: its longest list
/// doubles, which in a large heap is up to 20 MiB at once.
const STATES: core::ops::RangeInclusive<usize> = 6 << 20..=21 << 20;

/// Verifies (or does not, where the VM was booted so) and delivers the log.
fn judge(
    rt: &Runtime,
    (rec, budget): (&mut LoadRecord, u64),
    prog_type: ProgType,
    insns: &[Insn],
) -> Result<Program, Reject> {
    let start = rt.clock.now();
    let outcome = if rt.boot.flags & boot_flags::VERIFIER_OFF != 0 {
        let verdict = verifier::unverified(insns);
        Outcome {
            verdict,
            stats: Stats::default(),
            log: String::new(),
        }
    } else {
        let types = Types::read(rt, rec)?;
        let desc = ProgramDesc {
            insns,
            prog_type,
            attach_type: rec.attach_type,
            flags: rec.flags,
            gpl: license::gpl_compatible(&rec.license),
            flat: FlatMemory {
                min: rec.flat_min,
                max: rec.flat_max,
            },
            types: types.info(),
        };
        let late = || budget != 0 && rt.clock.now().wrapping_sub(start) > budget;
        let looks = Cell::new(0u32);
        let states = (rt.boot.heap_len as usize / 3).clamp(*STATES.start(), *STATES.end());
        // Long analyses also stop before their states fill the heap; short ones
        // need not look.
        let spent = || {
            looks.set(looks.get() + 1);
            let look = looks.get() > SHORT && looks.get().is_multiple_of(RARELY);
            match () {
                () if late() => Some(Spent::Time),
                () if look && headroom(states).is_err() => Some(Spent::Memory),
                () => None,
            }
        };
        let insn_budget = match rec.insn_budget {
            0 => limits::COMPLEXITY_INSNS,
            n => n,
        };
        let opts = Options {
            log_level: rec.log_level,
            insn_budget,
            spent: &spent,
        };
        verifier::verify(&desc, rt, &opts)
    };
    rec.verify_ns = rt.clock.now().wrapping_sub(start);
    rec.processed = outcome.stats.insns_processed;
    rec.total_states = outcome.stats.total_states;
    let (size, delivered) = log::deliver(rt.shared, rec, &outcome.log);
    rec.log_true_size = size;
    delivered.map_err(|e| refuse(e, "the verifier log does not fit its buffer"))?;
    outcome.verdict
}

fn compile(rt: &Runtime, rec: &mut LoadRecord, program: &Program) -> Result<Compiled, Reject> {
    let start = rt.clock.now();
    let (mut entry, mut tail_entry) = (0, 0);
    let mut offsets = Vec::new();
    rt.place_trampoline()
        .map_err(|Full| refuse(errno::ENOMEM, "the code region is full"))?;
    let placed = rt.arena.place(|base| {
        let code = jit::compile(program, rt, rt, base)?;
        entry = base + u64::from(code.entries.first().copied().unwrap_or(0));
        tail_entry = base + u64::from(code.tail_call_entry);
        offsets = code.insn_offsets;
        Ok::<_, Unplaced>(code.bytes)
    });
    let span = placed.map_err(|e| match e {
        Unplaced::Full => refuse(errno::ENOMEM, "the code region is full"),
        Unplaced::Jit(JitError::TooLarge) => refuse(errno::E2BIG, "the code is too large"),
        Unplaced::Jit(JitError::Unsupported(i)) => uncompiled(program, i),
    })?;
    rec.jit_ns = rt.clock.now().wrapping_sub(start);
    rec.jited_len = span.len as u32;
    rec.jited_addr = span.addr;
    tell_offsets(rt, rec, &program.origin, &offsets);
    Ok(Compiled {
        arena: Arc::clone(&rt.arena),
        span,
        entry,
        tail_entry,
        offsets: offsets.into_boxed_slice(),
    })
}

/// No code can be made for an instruction of the program as it was rewritten.
fn uncompiled(program: &Program, index: u32) -> Reject {
    let at = index as usize;
    let insn = program.origin.get(at).copied();
    let mut slots = program.insns.iter().skip(at);
    let text = slots.next().map(|i| match i.decode(slots.next()) {
        Ok(op) => format!("{op}"),
        Err(e) => format!("{e}"),
    });
    let text = text.unwrap_or_default();
    Reject {
        errno: errno::EOPNOTSUPP,
        insn,
        reason: format!(
            "no code can be made for instruction {}: {text}",
            insn.unwrap_or(index)
        ),
        unsupported: true,
    }
}

/// Leaves, in the place of the instructions, where the code of each begins, so
/// that the host can tell which one an address belongs to.
fn tell_offsets(rt: &Runtime, rec: &LoadRecord, origin: &[u32], offsets: &[u32]) {
    let mut told = alloc::vec![u32::MAX; rec.insn_cnt as usize];
    for (&from, &offset) in origin.iter().zip(offsets) {
        if let Some(place) = told.get_mut(from as usize) {
            *place = offset.min(*place);
        }
    }
    // The instructions were read from there: it is inside.
    let _ = rt.shared.copy_in(rec.insns, told.as_bytes());
}

enum Unplaced {
    Full,
    Jit(JitError),
}

impl From<Full> for Unplaced {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<JitError> for Unplaced {
    fn from(e: JitError) -> Self {
        Self::Jit(e)
    }
}

fn refuse(errno: i32, reason: &str) -> Reject {
    Reject {
        errno,
        insn: None,
        reason: reason.into(),
        unsupported: false,
    }
}

fn clear_answer(rec: &mut LoadRecord) {
    (rec.handle, rec.bad_insn, rec.verdict_flags) = (0, u32::MAX, 0);
    (rec.log_true_size, rec.processed, rec.total_states) = (0, 0, 0);
    (rec.xlated_insns, rec.jited_len, rec.message_len) = (0, 0, 0);
    (rec.verify_ns, rec.jit_ns, rec.jited_addr) = (0, 0, 0);
}

fn explain(rec: &mut LoadRecord, reject: &Reject) {
    rec.bad_insn = reject.insn.unwrap_or(u32::MAX);
    rec.verdict_flags = if reject.unsupported { UNSUPPORTED } else { 0 };
    let end = reject.reason.floor_char_boundary(rec.message.len());
    let text = reject.reason.as_bytes().get(..end).unwrap_or_default();
    for (to, from) in rec.message.iter_mut().zip(text) {
        *to = *from;
    }
    rec.message_len = text.len() as u32;
}
