//! The interpreter's dealings with its runtime: maps, helpers, callbacks, tail
//! calls, observers and limits.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;

use bpf_core::asm::assemble;
use bpf_core::insn::{Reg, Size};
use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Callbacks, Observer, Options, Runtime, Trap, TrapKind};
use bpf_core::program::{MapDesc, Program};
use bpf_core::uapi::MapType;

/// The number of `bpf_loop`.
const LOOP: u32 = 181;

fn program(text: &str) -> Program {
    common::raw(assemble(text).unwrap())
}

fn run(text: &str, host: &mut Hosted) -> Result<u64, Trap> {
    let options = Options {
        fuel: Some(10_000),
        observer: None,
    };
    interp::run_with(&program(text), [0, 0], host, options)
}

/// `bpf_loop(count, callback, context, flags)`
fn bpf_loop(
    host: &mut Hosted,
    [count, func, context, ..]: [u64; 5],
    callbacks: &mut dyn Callbacks,
) -> Result<u64, Trap> {
    for i in 0..count {
        if callbacks.call(host, func, [i, context, 0, 0, 0])? != 0 {
            return Ok(i + 1);
        }
    }
    Ok(count)
}

fn with_loop() -> Hosted {
    let mut host = Hosted::new();
    host.add_helper(LOOP, bpf_loop);
    host
}

fn array(handle: u32, values_addr: u64) -> MapDesc {
    MapDesc {
        handle,
        map_type: MapType::Array,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
        frozen: false,
        spin_lock_off: None,
        inner: None,
        object_addr: 0x7000,
        values_addr,
        value_stride: 8,
    }
}

#[test]
fn map_loads_give_object_and_value_addresses() {
    let mut host = Hosted::new();
    let values = host.add_memory(vec![1, 2, 3, 4, 5, 6, 7, 8]);
    host.add_map(array(3, values));
    assert_eq!(run("r0 = map[id:3]\nexit", &mut host), Ok(0x7000));
    let load = "r1 = map[id:3][0]+6\nr0 = *(u16 *)(r1 +0)\nexit";
    assert_eq!(run(load, &mut host), Ok(0x0807));
}

#[test]
fn helpers_get_arguments_and_spoil_them() {
    let mut host = Hosted::new();
    host.add_helper(5, |_, [a, b, c, d, e], _| {
        Ok(a + 10 * b + 100 * c + 1000 * d + 10_000 * e)
    });
    let text = "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 5\n r0 += r1\nexit";
    assert_eq!(run(text, &mut host), Ok(54_321));
}

const SUM: &str = "
        r6 = r10
        r6 += -8
        *(u64 *)(r6 +0) = 0
        r1 = 100
        r2 = subprog[add]
        r3 = r6
        r4 = 0
        call bpf_loop
        r0 <<= 32
        r1 = *(u64 *)(r6 +0)
        r0 |= r1
        exit
    add:
        r3 = *(u64 *)(r2 +0)
        r3 += r1
        *(u64 *)(r2 +0) = r3
        r6 = 7
        r0 = 0
        if r1 < 9 goto out
        r0 = 1
    out:
        exit";

#[test]
fn a_helper_calls_back_until_told_to_stop() {
    assert_eq!(run(SUM, &mut with_loop()), Ok(10 << 32 | 45));
}

#[test]
fn callbacks_nest_and_run_out_of_frames() {
    let text = "
        again:
            r1 = 1
            r2 = subprog[again]
            r3 = 0
            r4 = 0
            call bpf_loop
            exit";
    let trap = run(text, &mut with_loop()).unwrap_err();
    assert_eq!(trap.kind, TrapKind::CallDepth);
    assert_eq!(trap.insn, Some(5));
}

#[test]
fn a_wrong_callback_token_is_refused() {
    let text = "r1 = 1\nr2 = 99\nr3 = 0\nr4 = 0\ncall bpf_loop\nexit";
    let trap = run(text, &mut with_loop()).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Callback(99));
}

#[test]
fn an_error_in_a_callback_names_the_callback() {
    let text = "
            r1 = 1
            r2 = subprog[bad]
            call bpf_loop
            exit
        bad:
            r0 = 0
            r0 = *(u8 *)(r0 +0)
            exit";
    let trap = run(text, &mut with_loop()).unwrap_err();
    let (addr, size, write) = (0, Size::B, false);
    assert_eq!(trap.kind, TrapKind::Memory { addr, size, write });
    assert_eq!(trap.insn, Some(6), "{trap}");
}

const TAIL_CALL: &str = "
        r2 = map[id:1]
        r3 = 0
        call bpf_tail_call
        r0 = 1
        exit";

/// A program array whose slot 0 holds a program.
fn with_program(text: &str) -> Hosted {
    let mut host = Hosted::new();
    host.add_map(array(1, 0));
    host.add_program(0x7000, 0, program(text));
    host
}

#[test]
fn a_tail_call_takes_the_context_along_and_does_not_come_back() {
    let mut host = with_program("r0 = r1\nr0 += 40\nexit");
    let text = format!("r1 = 2\n{TAIL_CALL}");
    assert_eq!(run(&text, &mut host), Ok(42));
}

#[test]
fn an_empty_slot_is_skipped() {
    let mut host = with_program("r0 = 2\nexit");
    let text = TAIL_CALL.replace("r3 = 0", "r3 = 5");
    assert_eq!(run(&text, &mut host), Ok(1));
}

#[test]
fn the_index_of_a_tail_call_has_32_bits() {
    let mut host = with_program("r0 = 2\nexit");
    let text = TAIL_CALL.replace("r3 = 0", "r3 = 0x700000000");
    assert_eq!(run(&text, &mut host), Ok(2));
}

#[test]
fn a_tail_call_in_a_function_returns_to_its_caller() {
    let mut host = with_program("r0 = 5\nexit");
    let text = format!("call f\nr0 += 100\nexit\nf:{TAIL_CALL}");
    assert_eq!(run(&text, &mut host), Ok(105));
}

#[test]
fn there_are_33_tail_calls() {
    let mut host = Hosted::new();
    host.add_map(array(1, 0));
    let counter = host.add_memory(vec![0; 8]);
    let text = format!(
        "r4 = {counter} ll
         r5 = 1
         lock *(u64 *)(r4 +0) += r5
         {TAIL_CALL}"
    );
    host.add_program(0x7000, 0, program(&text));
    assert_eq!(run(&text, &mut host), Ok(1));
    assert_eq!(host.memory(counter), Some(&34_u64.to_le_bytes()[..]));
}

#[test]
fn may_goto_ends_a_loop_in_the_end() {
    let text = "r0 = 0\nagain:\nmay_goto out\nr0 += 1\ngoto again\nout:\nexit";
    let mut host = Hosted::new();
    let count = interp::run(&program(text), [0, 0], &mut host);
    assert_eq!(count, Ok(8 * 1024 * 1024));
}

#[test]
fn fuel_counts_instructions_in_all_functions() {
    let text = "call f\nexit\nf:\nr0 = 0\nexit";
    let with_fuel = |fuel| {
        let options = Options {
            fuel: Some(fuel),
            observer: None,
        };
        interp::run_with(&program(text), [0, 0], &mut Hosted::new(), options)
    };
    assert_eq!(with_fuel(4), Ok(0));
    assert_eq!(with_fuel(3).unwrap_err().kind, TrapKind::OutOfFuel);
}

/// Writes down instruction, depth, R1 and R10.
#[derive(Default)]
struct Trace(Vec<(u32, u32, u64, u64)>);

impl Observer for Trace {
    fn before(
        &mut self,
        _: &Program,
        insn: u32,
        depth: u32,
        regs: &[u64; Reg::COUNT],
        rt: &mut dyn Runtime,
    ) {
        let below_top = rt.stack_top() - regs[10];
        self.0.push((insn, depth, regs[1], below_top));
    }
}

#[test]
fn an_observer_sees_every_instruction() {
    let mut trace = Trace::default();
    let options = Options {
        fuel: None,
        observer: Some(&mut trace),
    };
    let prog = program("r1 = 0x7\ncall f\nexit\nf:\nr0 = r1\nexit");
    let r0 = interp::run_with(&prog, [1, 2], &mut Hosted::new(), options);
    assert_eq!(r0, Ok(7));
    let wanted = [
        (0, 0, 1, 0),
        (2, 0, 7, 0),
        (4, 1, 7, 512),
        (5, 1, 7, 512),
        (3, 0, 0, 0),
    ];
    assert_eq!(trace.0, wanted);
}

#[test]
fn constants_cannot_be_written() {
    let mut host = Hosted::new();
    let addr = host.add_constant(vec![9]);
    let read = format!("r1 = {addr} ll\nr0 = *(u8 *)(r1 +0)\nexit");
    assert_eq!(run(&read, &mut host), Ok(9));
    let write = format!("r1 = {addr} ll\n*(u8 *)(r1 +0) = 1\nexit");
    let (size, write_) = (Size::B, true);
    let kind = TrapKind::Memory {
        addr,
        size,
        write: write_,
    };
    assert_eq!(run(&write, &mut host).unwrap_err().kind, kind);
}
