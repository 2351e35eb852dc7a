//! Programs that run machine code of their own choice, in VMs without verifier.
//! They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::{Cause, Error, FaultReport, Vm};
use bpfvisor_abi::boot::port;
use bpfvisor_abi::layout::{CODE, CODE_ALIAS_OFFSET};
use bpfvisor_tests::attack::{
    BUDGET, FRAME, Injected, inject, killed, load, program, proof, vector, victim, works,
};
use std::sync::Arc;

const DIVIDE: u8 = 0;
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const INVALID_OPCODE: u8 = 6;
const PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
const X87: u8 = 16;
const SIMD: u8 = 19;

/// `mov eax, value`
const fn eax(value: u32) -> [u8; 5] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d]
}

/// `mov edx, value`
const fn edx(value: u16) -> [u8; 5] {
    let [a, b] = value.to_le_bytes();
    [0xba, a, b, 0, 0]
}

const OUT: &[u8] = &[0xef];
const GATE: &[u8] = &[0xcd, 4];

/// Code gets in, runs, and comes back: the positive control.
fn comes_back(vm: &Vm) {
    let harmless = inject(vm, &[&eax(0x1234_5678), &[0x90]]);
    assert_eq!(harmless.program.run(&FRAME).unwrap().r0, 0x1234_5678);
}

/// What becomes of a VM whose program runs this.
fn fate(instructions: &[&[u8]]) -> Arc<FaultReport> {
    let (report, attack) = proof(|vm| {
        comes_back(vm);
        let attack = inject(vm, instructions);
        (killed(&attack.program), attack.address)
    });
    assert_eq!(report.program.as_deref(), Some("attack"), "{report}");
    let rip = report.registers.rip;
    assert!(rip < CODE || rip >= attack, "rip lies before: {report}");
    report
}

/// Runs each alone; all end in an exception with this vector.
fn all_raise(expected: u8, attacks: &[(&str, &[&[u8]])]) {
    for (name, code) in attacks {
        let report = fate(code);
        assert_eq!(vector(&report), expected, "{name}: {report}");
        assert!(report.in_program, "{name}: {report}");
    }
}

#[test]
fn privileged_instructions_are_general_protection() {
    all_raise(
        PROTECTION,
        &[
            ("hlt", &[&[0xf4]]),
            ("cli", &[&[0xfa]]),
            ("sti", &[&[0xfb]]),
            ("mov cr0, rax", &[&[0x0f, 0x22, 0xc0]]),
            ("mov cr3, rax", &[&[0x0f, 0x22, 0xd8]]),
            ("mov cr4, rax", &[&[0x0f, 0x22, 0xe0]]),
            ("mov rax, cr3", &[&[0x0f, 0x20, 0xd8]]),
            ("mov dr7, rax", &[&[0x0f, 0x23, 0xf8]]),
            ("wrmsr", &[&[0x0f, 0x30]]),
            ("rdmsr", &[&[0x0f, 0x32]]),
            ("lgdt [rsp]", &[&[0x0f, 0x01, 0x14, 0x24]]),
            ("lidt [rsp]", &[&[0x0f, 0x01, 0x1c, 0x24]]),
            ("lldt ax", &[&[0x0f, 0x00, 0xd0]]),
            ("ltr ax", &[&[0x0f, 0x00, 0xd8]]),
            ("lmsw ax", &[&[0x0f, 0x01, 0xf0]]),
            ("clts", &[&[0x0f, 0x06]]),
            ("invlpg [rsp]", &[&[0x0f, 0x01, 0x3c, 0x24]]),
            ("invd", &[&[0x0f, 0x08]]),
            ("wbinvd", &[&[0x0f, 0x09]]),
            ("swapgs", &[&[0x0f, 0x01, 0xf8]]),
            ("xsetbv", &[&[0x0f, 0x01, 0xd1]]),
            ("sysretq", &[&[0x48, 0x0f, 0x07]]),
            ("sysexit", &[&[0x0f, 0x35]]),
            ("in al, 0x60", &[&[0xe4, 0x60]]),
            ("out 0x80, al", &[&[0xe6, 0x80]]),
        ],
    );
}

#[test]
fn what_is_no_instruction_is_invalid_opcode() {
    all_raise(
        INVALID_OPCODE,
        &[
            ("ud2", &[&[0x0f, 0x0b]]),
            ("rsm", &[&[0x0f, 0xaa]]),
            ("lock nop", &[&[0xf0, 0x90]]),
            ("lock cmpxchg8b eax", &[&[0xf0, 0x0f, 0xc7, 0xc8]]),
            ("vmlaunch", &[&[0x0f, 0x01, 0xc2]]),
        ],
    );
}

#[test]
fn exceptions_of_arithmetic_and_debugging_are_reported_as_what_they_are() {
    let set_trap_flag: &[u8] = &[0x80, 0x4c, 0x24, 0x01, 0x01];
    all_raise(DIVIDE, &[("div by zero", &[&[0x31, 0xc9], &[0xf7, 0xf1]])]);
    all_raise(BREAKPOINT, &[("int3", &[&[0xcc]])]);
    all_raise(
        DEBUG,
        &[
            ("int1", &[&[0xf1]]),
            ("single step", &[&[0x9c], set_trap_flag, &[0x9d], &[0x90]]),
        ],
    );
    // fninit; push 0; fldcw [rsp]; pop rax; fld1; fldz; fdivp; fwait
    let unmasked: &[&[u8]] = &[
        &[0xdb, 0xe3, 0x6a, 0x00],
        &[0xd9, 0x2c, 0x24, 0x58],
        &[0xd9, 0xe8, 0xd9, 0xee],
        &[0xde, 0xf9, 0x9b],
    ];
    all_raise(X87, &[("1 / 0 on the x87", unmasked)]);
    // push 0; ldmxcsr [rsp]; xorps xmm0, xmm0; divss xmm0, xmm0
    let simd: &[&[u8]] = &[
        &[0x6a, 0x00],
        &[0x0f, 0xae, 0x14, 0x24],
        &[0x0f, 0x57, 0xc0],
        &[0xf3, 0x0f, 0x5e, 0xc0],
    ];
    all_raise(SIMD, &[("0 / 0 in SSE", simd)]);
}

#[test]
fn stray_segments_frames_and_stacks_are_faults() {
    all_raise(
        PROTECTION,
        &[
            ("mov ds, 0xffff", &[&eax(0xffff), &[0x8e, 0xd8]]),
            ("mov fs, CPL0 data", &[&eax(0x10), &[0x8e, 0xe0]]),
            ("iretq into nothing", &[&[0x48, 0xcf]]),
            (
                "lock cmpxchg16b [rsi + 1]",
                &[&[0xf0, 0x48, 0x0f, 0xc7, 0x4e, 0x01]],
            ),
        ],
    );
    let report = fate(&[&[0x31, 0xe4], &[0x50]]); // xor esp, esp; push rax
    assert_eq!(vector(&report), PAGE_FAULT, "{report}");
    assert_eq!(report.address, (-8i64) as u64, "{report}");
}

/// These enter no kernel: where the processor has not refused them, nothing is
/// mapped where they lead.
#[test]
fn system_calls_lead_nowhere() {
    let calls: &[(&str, &[u8])] = &[("syscall", &[0x0f, 0x05]), ("sysenter", &[0x0f, 0x34])];
    for (name, code) in calls {
        let report = fate(&[code]);
        let fault = vector(&report);
        assert!(
            [INVALID_OPCODE, PROTECTION, PAGE_FAULT].contains(&fault),
            "{name}: {report}"
        );
    }
}

/// `int n` for all n but the gate. Some hosts answer a few vectors themselves;
/// then the program goes on as if nothing had been.
#[test]
fn no_interrupt_can_be_raised() {
    comes_back(&victim());
    for n in (0..=255).filter(|&n| n != 4) {
        let vm = victim();
        let attack = inject(&vm, &[&[0xcd, n]]);
        match attack.program.run(&FRAME) {
            Ok(out) => assert_eq!(out.data, FRAME, "int {n}"),
            Err(_) => {
                let report = vm.fault().unwrap();
                let allowed = if n == 3 {
                    &[BREAKPOINT][..]
                } else {
                    &[INVALID_OPCODE, PROTECTION]
                };
                assert!(allowed.contains(&vector(&report)), "int {n}: {report}");
            }
        }
    }
    works(&victim());
}

/// Runs code that does no harm, often, and gives the last answer.
fn harmless(code: &[&[u8]]) -> u64 {
    proof(|vm| {
        let attack = inject(vm, code);
        let answers = [attack.program.run(&FRAME), attack.program.run(&FRAME)];
        works(vm);
        let [_, last] = answers.map(|answer| answer.unwrap().r0);
        last
    })
}

#[test]
fn processor_state_left_behind_harms_no_later_program() {
    let nested_task: &[u8] = &[0x80, 0x4c, 0x24, 0x01, 0x40];
    assert_eq!(harmless(&[&[0xc5, 0xfc, 0x77]]), 0); // vzeroall
    assert_eq!(harmless(&[&[0xdb, 0xe3], &[0xd9, 0xe8]]), 0); // fninit; fld1
    assert_eq!(harmless(&[&[0x9c], nested_task, &[0x9d], GATE]), 0);
}

/// Flags that a program leaves set meet the runtime, which then may fault where
/// the host honours them: the program's own VM pays.
#[test]
fn flags_left_behind_harm_that_vm_at_most() {
    let alignment_check: &[u8] = &[0x80, 0x4c, 0x24, 0x02, 0x04];
    let direction: &[u8] = &[0x80, 0x4c, 0x24, 0x01, 0x04];
    for set in [alignment_check, direction] {
        proof(|vm| {
            let attack = inject(vm, &[&[0x9c], set, &[0x9d]]);
            for _ in 0..3 {
                match attack.program.run(&FRAME) {
                    Ok(out) => assert_eq!(out.r0, 0),
                    Err(e) => assert!(matches!(e, Error::Guest(_) | Error::Timeout(_)), "{e}"),
                }
            }
        });
    }
}

#[test]
fn the_gate_takes_any_argument() {
    for value in [0, 1, 2, u32::MAX, 0x8000_0000] {
        assert_eq!(harmless(&[&eax(value), GATE]), u64::from(value));
    }
}

/// Machine code can open the gate, as the runtime does, and then change code of
/// its own VM. That is as far as it gets.
#[test]
fn code_changed_through_the_gate_stays_in_the_vm() {
    proof(|vm| {
        let open = inject(vm, &[&eax(1), GATE]);
        let target = load(vm, program("r0 = 1\nexit"));
        let alias = target.info().jited_addr + CODE_ALIAS_OFFSET;
        // ud2, ud2, ud2, ud2 in place of the program
        let text =
            format!("r1 = {alias:#x} ll\nr2 = 0x0b0f0b0f ll\n*(u32 *)(r1 + 0) = r2\nr0 = 0\nexit");
        let writer = load(vm, program(&text));
        assert_eq!(target.run(&FRAME).unwrap().r0, 1);
        open.program.run(&FRAME).unwrap();
        writer.run(&FRAME).unwrap();
        assert_eq!(vector(&killed(&target)), INVALID_OPCODE);
    });
    // Positive control: without the gate the alias is not there.
    proof(|vm| {
        let alias = CODE + CODE_ALIAS_OFFSET;
        let text = format!("r1 = {alias:#x} ll\nr0 = 0\n*(u64 *)(r1 + 0) = r0\nexit");
        assert_eq!(killed(&load(vm, program(&text))).address, alias);
    });
}

fn broken_protocol(code: &[&[u8]], text: &str) {
    let report = fate(code);
    assert_eq!(report.cause, Cause::Protocol, "{report}");
    assert!(report.text.contains(text), "{report}");
}

#[test]
fn ports_outside_the_open_ones_are_general_protection() {
    for closed in [0x4ff, 0x520, 0x51d, 0x60, 0xcf8, 0xffff] {
        let report = fate(&[&edx(closed), OUT]);
        assert_eq!(vector(&report), PROTECTION, "{closed:#x}: {report}");
    }
}

#[test]
fn nonsense_on_open_ports_ends_the_vm() {
    let (in_eax, out_al, out_ax): (&[u8], &[u8], &[u8]) = (&[0xed], &[0xee], &[0x66, 0xef]);
    broken_protocol(&[&edx(0x501), OUT], "write to port 0x501");
    broken_protocol(
        &[&edx(port::READY), in_eax],
        "read of 4 bytes from port 0x500",
    );
    broken_protocol(
        &[&edx(port::READY), out_al],
        "write of 1 bytes to port 0x500",
    );
    broken_protocol(
        &[&edx(port::READY), out_ax],
        "write of 2 bytes to port 0x500",
    );
    broken_protocol(&[&edx(port::STOPPED), OUT], "stopped by itself");
    broken_protocol(
        &[&edx(port::FAULT), OUT],
        "vector 0 announced without a frame",
    );
    broken_protocol(&[&edx(port::FAULT), &eax(u32::MAX), OUT], "without a frame");
}

#[test]
fn a_forged_panic_has_a_harmless_text() {
    let report = fate(&[&edx(port::PANIC), &eax(u32::MAX), OUT]);
    assert_eq!((report.cause, report.text.as_str()), (Cause::Panic, ""));
}

#[test]
fn a_doorbell_rung_once_does_nothing() {
    for doorbell in [port::READY, port::NOTIFY, port::RECORD] {
        assert_eq!(harmless(&[&edx(doorbell), &eax(7), OUT]), 7);
    }
    for region in [0, 0x1000, 0xffff_ffff] {
        let value = u64::from(region);
        assert_eq!(harmless(&[&edx(port::POPULATE), &eax(region), OUT]), value);
    }
}

/// Cut short, and then the VM works as before.
fn cut_short(attack: &Injected) {
    let vm = attack.program.vm();
    assert_eq!(attack.program.run(&FRAME), Err(Error::Timeout(BUDGET)));
    assert!(vm.is_alive());
    works(vm);
}

#[test]
fn floods_of_doorbells_are_cut_short() {
    let flood: &[u8] = &[0xef, 0xeb, 0xfd]; // again: out dx, eax; jmp again
    for doorbell in [
        port::READY,
        port::NOTIFY,
        port::POPULATE,
        port::RECORD,
        port::SLEEP,
    ] {
        proof(|vm| cut_short(&inject(vm, &[&edx(doorbell), flood])));
    }
    // One that sleeps in the middle of a run is woken by the caller's doubts.
    assert_eq!(harmless(&[&edx(port::SLEEP), OUT]), 0);
}

#[test]
fn loops_in_machine_code_are_cut_short() {
    proof(|vm| cut_short(&inject(vm, &[&[0xeb, 0xfe]])));
    proof(|vm| cut_short(&inject(vm, &[&[0xcd, 4, 0xeb, 0xfc]]))); // the gate
    proof(|vm| cut_short(&inject(vm, &[&[0x31, 0xe4], &[0xeb, 0xfe]]))); // without stack
    proof(|vm| cut_short(&inject(vm, &[&[0xfd], &[0xeb, 0xfe]]))); // std
}
