//! A small world for compiled programs: memory, maps, helpers.

use super::exec::{Executable, enter, env_mut};
use bpf_core::env::{MapHeader, RunEnv, runtime_fn};
use bpf_core::insn::Insn;
use bpf_core::jit::{self, Code, Features, JitError, Target};
use bpf_core::program::{Fact, MapDesc, MapTable, Program, Subprog};

/// The environment of a run.
#[repr(C)]
#[derive(Default)]
pub struct Env {
    pub run: RunEnv,
    /// What [`RECORD`] was called with.
    pub seen: Vec<[u64; 5]>,
    /// A helper saw its stack misaligned.
    pub misaligned: bool,
    /// What packet loads read.
    pub packet: Vec<u8>,
}

thread_local! {
    static TRAMPOLINE: Executable = {
        let code = jit::trampoline();
        let mut e = Executable::reserve(code.len());
        e.seal(&code);
        e
    };
}

fn call_in(env: u64, entry: u64, args: [u64; 4]) -> u64 {
    TRAMPOLINE.with(|t| enter(t, env, entry, args))
}

/// Records its arguments and answers their sum.
pub const RECORD: u32 = 1000;
/// Calls R1 with R2 as context as often as R3 says; answers the sum of results.
pub const CALL_BACK: u32 = 1001;

extern "C" fn record(a: u64, b: u64, c: u64, d: u64, e: u64, env: u64) -> u64 {
    // The compiler lays this out by the alignment that the caller promises.
    #[repr(align(16))]
    struct Aligned(u64);
    let local = std::hint::black_box(Aligned(a));
    let env = env_mut::<Env>(env);
    let at = std::hint::black_box(std::ptr::from_ref(&local) as u64);
    env.misaligned |= !at.is_multiple_of(16);
    env.seen.push([local.0, b, c, d, e]);
    [a, b, c, d, e].into_iter().fold(0, u64::wrapping_add)
}

extern "C" fn call_back(f: u64, ctx: u64, n: u64, _: u64, _: u64, env: u64) -> u64 {
    (0..n).fold(0, |sum, i| {
        sum.wrapping_add(call_in(env, f, [i, ctx, 0, 0]))
    })
}

extern "C" fn packet_load(off: u64, size: u64, _: u64, _: u64, _: u64, env: u64) -> u64 {
    let packet = &env_mut::<Env>(env).packet;
    let at = usize::try_from(off as i64).unwrap_or(usize::MAX);
    let end = at.saturating_add(size as usize);
    match packet.get(at..end) {
        Some(b) => b.iter().fold(0, |v, &b| v << 8 | u64::from(b)),
        None => u64::MAX,
    }
}

/// Helpers and features that programs are compiled for.
pub struct Host {
    pub features: Features,
}

impl Target for Host {
    fn helper(&self, id: u32) -> Option<u64> {
        type F = bpf_core::env::HelperFn;
        Some(match id {
            RECORD => record as F as usize as u64,
            CALL_BACK => call_back as F as usize as u64,
            runtime_fn::PACKET_LOAD => packet_load as F as usize as u64,
            _ => return None,
        })
    }

    fn features(&self) -> Features {
        self.features
    }
}

/// Maps by handle.
#[derive(Default)]
pub struct Maps(pub Vec<MapDesc>);

impl MapTable for Maps {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.0.iter().find(|m| m.handle == handle).cloned()
    }

    fn read_constant(&self, _: u32, _: u32, _: u32) -> Option<u64> {
        None
    }
}

/// What this processor has.
pub fn features() -> Features {
    Features {
        bmi2: std::is_x86_feature_detected!("bmi2"),
    }
}

/// A program of one function with `stack` bytes of stack.
pub fn single(insns: &[Insn], stack: u32) -> Program {
    functions(insns, &[0], stack)
}

/// A program of several functions that start at `starts`.
pub fn functions(insns: &[Insn], starts: &[u32], stack: u32) -> Program {
    let ends = starts[1..].iter().copied().chain([insns.len() as u32]);
    let subprog = |(&start, end)| Subprog {
        start,
        end,
        stack_depth: stack,
        ..Subprog::default()
    };
    Program {
        insns: insns.to_vec(),
        facts: vec![Fact::default(); insns.len()],
        subprogs: starts.iter().zip(ends).map(subprog).collect(),
        maps: Vec::new(),
        origin: (0..insns.len() as u32).collect(),
    }
}

/// A compiled program in executable memory.
pub struct Loaded {
    memory: Executable,
    pub code: Code,
}

impl Loaded {
    pub fn new(prog: &Program, maps: &Maps, features: Features) -> Result<Self, JitError> {
        let mut memory = Executable::reserve(prog.insns.len() * 64 + 8192);
        let code = jit::compile(prog, maps, &Host { features }, memory.address())?;
        memory.seal(&code.bytes);
        Ok(Self { memory, code })
    }

    pub fn entry(&self) -> u64 {
        self.memory.address() + u64::from(self.code.entries[0])
    }

    pub fn tail_call_entry(&self) -> u64 {
        self.memory.address() + u64::from(self.code.tail_call_entry)
    }

    pub fn run(&self, env: &mut Env, args: [u64; 4]) -> u64 {
        call_in(std::ptr::from_mut(env) as u64, self.entry(), args)
    }
}

/// Enters compiled code at an address.
pub fn run_at(env: &mut Env, entry: u64, args: [u64; 4]) -> u64 {
    call_in(std::ptr::from_mut(env) as u64, entry, args)
}

/// Compiles for plain x86-64 and for this processor, runs both, and answers the
/// result, which must be the same.
pub fn run(insns: &[Insn], args: [u64; 4]) -> u64 {
    let prog = single(insns, 512);
    let [plain, full] = [Features::default(), features()].map(|f| {
        let loaded = Loaded::new(&prog, &Maps::default(), f).expect("it compiles");
        loaded.run(&mut Env::default(), args)
    });
    assert_eq!(plain, full, "with and without processor features");
    full
}

/// A program array: its header and its table.
pub struct ProgArray {
    table: Box<[u64]>,
    header: Box<MapHeader>,
}

impl ProgArray {
    pub fn new(entries: &[u64]) -> Self {
        let table: Box<[u64]> = entries.into();
        let header = Box::new(MapHeader {
            values: table.as_ptr() as u64,
            max_entries: table.len() as u32,
            stride: 8,
        });
        Self { table, header }
    }

    pub fn set(&mut self, slot: usize, entry: u64) {
        self.table[slot] = entry;
    }

    pub fn desc(&self, handle: u32) -> MapDesc {
        MapDesc {
            handle,
            map_type: bpf_core::uapi::MapType::ProgArray,
            key_size: 4,
            value_size: 4,
            max_entries: self.table.len() as u32,
            flags: 0,
            frozen: false,
            spin_lock_off: None,
            inner: None,
            object_addr: std::ptr::from_ref(&*self.header) as u64,
            values_addr: self.header.values,
            value_stride: 8,
        }
    }
}
