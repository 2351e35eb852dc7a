//! Random programs through compiler and interpreter: result and memory agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jit_support;

use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Callbacks, Trap};
use bpf_core::jit::{self, Features};
use bpf_core::program::{MapDesc, Program};
use bpf_core::uapi::MapType;
use jit_support::exec::{Executable, FixedMemory};
use jit_support::generate::{self, ARRAY, BUFFER, ENTRIES, Rng, STRIDE, SUM};
use jit_support::world::{Env, Host, Maps, features, run_at};

/// The address of the first memory that is added to a [`Hosted`] runtime.
const MEMORY: u64 = 2 * Hosted::GAP;

fn array() -> MapDesc {
    MapDesc {
        handle: ARRAY,
        map_type: MapType::Array,
        key_size: 4,
        value_size: STRIDE,
        max_entries: ENTRIES,
        flags: 0,
        frozen: false,
        spin_lock_off: None,
        inner: None,
        object_addr: 0x1234_5678_9abc,
        values_addr: MEMORY,
        value_stride: STRIDE,
    }
}

fn sum(_: &mut Hosted, args: [u64; 5], _: &mut dyn Callbacks) -> Result<u64, Trap> {
    Ok(args.into_iter().fold(0, u64::wrapping_add))
}

fn lookup(h: &mut Hosted, args: [u64; 5], _: &mut dyn Callbacks) -> Result<u64, Trap> {
    use bpf_core::insn::Size;
    use interp::Runtime;
    let key = h.load(args[1], Size::W)?;
    Ok(if key < u64::from(ENTRIES) {
        MEMORY + key * u64::from(STRIDE)
    } else {
        0
    })
}

fn interpret(prog: &Program) -> Result<(u64, Vec<u8>), Trap> {
    let mut host = Hosted::new();
    let memory = host.add_memory(pattern());
    assert_eq!(memory, MEMORY);
    host.add_map(array());
    host.add_helper(SUM, sum);
    host.add_helper(1, lookup);
    let options = interp::Options {
        fuel: Some(100_000),
        ..Default::default()
    };
    let r0 = interp::run_with(prog, [memory, 0], &mut host, options)?;
    Ok((r0, host.memory(memory).unwrap().to_vec()))
}

fn pattern() -> Vec<u8> {
    (0..BUFFER).map(|i| (i * 37 % 251) as u8).collect()
}

struct Machine {
    code: Executable,
    memory: FixedMemory,
}

impl Machine {
    fn new() -> Self {
        Self {
            code: Executable::reserve(1 << 16),
            memory: FixedMemory::new(MEMORY, BUFFER as usize),
        }
    }

    fn run(&mut self, prog: &Program, features: Features) -> (u64, Vec<u8>) {
        let maps = Maps(vec![array()]);
        let code = jit::compile(prog, &maps, &Host { features }, self.code.address());
        let code = code.expect("generated programs compile");
        self.code.seal(&code.bytes);
        self.memory.bytes().copy_from_slice(&pattern());
        let entry = self.code.address() + u64::from(code.entries[0]);
        let r0 = run_at(&mut Env::default(), entry, [MEMORY, 0, 0, 0]);
        (r0, self.memory.bytes().to_vec())
    }
}

/// Leaves out what can be left out while interpreter and compiler still differ.
fn minimised(prog: &Program, machine: &mut Machine, features: Features) -> Program {
    let mut best = prog.clone();
    let nothing = bpf_core::insn::build::ja(0);
    for at in 0..best.insns.len() {
        let insn = best.insns[at];
        let fixed = insn.is_wide() || insn.opcode == 0 || insn.class() == 0x05 || at < 20
            // Stack pointers and keys must stay what facts and digests rely on.
            || insn.dst == 10 || insn.src == 10 || insn.imm == -4;
        if fixed {
            continue;
        }
        let mut smaller = best.clone();
        smaller.insns[at] = nothing;
        if interpret(&smaller).is_ok_and(|want| machine.run(&smaller, features) != want) {
            best = smaller;
        }
    }
    best
}

#[test]
fn compiled_programs_do_what_interpreted_ones_do() {
    let count = match std::env::var("JIT_RANDOM") {
        Ok(n) => n.parse().expect("JIT_RANDOM is a number"),
        Err(_) if cfg!(debug_assertions) => 3_000,
        Err(_) => 100_000,
    };
    let mut machine = Machine::new();
    for seed in 0..count {
        let mut rng = Rng::new(seed);
        let prog = generate::program(&mut rng, 4 + seed % 40);
        let expected = interpret(&prog).expect("generated programs never trap");
        let features = if seed % 4 == 0 {
            Features::default()
        } else {
            features()
        };
        if machine.run(&prog, features) != expected {
            let prog = minimised(&prog, &mut machine, features);
            let got = machine.run(&prog, features).0;
            let want = interpret(&prog).unwrap().0;
            panic!(
                "seed {seed}: got {got:#x}, not {want:#x}, from {:#?}",
                shown(&prog)
            );
        }
    }
}

fn shown(prog: &Program) -> Vec<String> {
    let nothing = bpf_core::insn::build::ja(0);
    let all = prog.insns.iter().enumerate();
    all.filter(|(_, i)| **i != nothing)
        .map(|(at, i)| format!("{at}: {i:x?}"))
        .collect()
}
