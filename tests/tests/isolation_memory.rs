//! Programs that read, write and execute what is not theirs, in VMs without
//! verifier. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::{Cause, FaultReport, Vm};
use bpfvisor_abi::layout::*;
use bpfvisor_tests::attack::{Poker, killed, load, program, proof, vector, victim};
use std::sync::Arc;

/// Bits of a page fault's error code.
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const FETCH: u64 = 16;

const PAGE_FAULT: u8 = 14;
const PROTECTION: u8 = 13;

fn read(vm: &Vm, address: u64) -> Arc<FaultReport> {
    let text = format!("r1 = {address:#x} ll\nr0 = *(u64 *)(r1 + 0)\nexit");
    killed(&load(vm, program(&text)))
}

fn write(vm: &Vm, address: u64) -> Arc<FaultReport> {
    let text = format!("r1 = {address:#x} ll\nr0 = 0\n*(u64 *)(r1 + 0) = r0\nexit");
    killed(&load(vm, program(&text)))
}

/// It is a page fault there, with these bits, and blamed on the program's
/// instruction.
fn page_fault(report: &FaultReport, address: u64, bits: u64, insn: u32) {
    assert_eq!(vector(report), PAGE_FAULT, "{address:#x}: {report}");
    assert_eq!(report.address, address, "{report}");
    assert_eq!(report.error_code, bits, "{address:#x}: {report}");
    blamed(report, insn);
}

fn blamed(report: &FaultReport, insn: u32) {
    assert!(report.in_program, "{report}");
    assert_eq!(report.program.as_deref(), Some("attack"), "{report}");
    assert_eq!(report.insn, Some(insn), "{report}");
}

/// Nobody gave the VM anything there.
const UNMAPPED: &[u64] = &[
    STACKS,                         // guard below vCPU 0's stack
    STACKS + REGION - 8,            // its end
    STACKS + STACK_STRIDE,          // guard above it
    STACKS + STACK_STRIDE + REGION, // the stack of a vCPU that is not there
    CODE + CODE_SIZE,               // behind the code
    IMAGE_END - REGION,             // behind the image
    HEAP + (16 << 20),              // behind the heap
    SHARED + (8 << 20),             // behind the shared slot
    CODE + CODE_ALIAS_OFFSET,       // the writable alias of the code
    CODE + CODE_ALIAS_OFFSET + 0x100,
    1 << 32,
    1 << 46,
    0x7fff_ffff_f000,
    0xffff_ff80_0000_0000, // by the root's entry that keeps the alias
];

#[test]
fn nothing_is_mapped_beside_what_is_used() {
    for &address in UNMAPPED {
        let report = proof(|vm| read(vm, address));
        page_fault(&report, address, USER, 2);
        let report = proof(|vm| write(vm, address));
        page_fault(&report, address, USER | WRITE, 3);
    }
}

#[test]
fn null_and_the_supervisor_region_are_out_of_reach() {
    let tables = [
        0,
        8,
        HANDLERS,
        PML4,
        PML4 + 8,
        pml4(MAX_VCPUS),
        CPL0_STACKS,
        REGION - 8,
    ];
    for address in tables {
        let report = proof(|vm| read(vm, address));
        page_fault(&report, address, USER | PRESENT, 2);
        let report = proof(|vm| write(vm, address));
        page_fault(&report, address, USER | WRITE | PRESENT, 3);
    }
}

#[test]
fn code_can_be_read_and_not_written() {
    for address in [IMAGE, IMAGE + 0x1_0000, CODE, CODE + CODE_SIZE - 8] {
        // Positive control: the same place can be read.
        let seen = proof(|vm| Poker::new(vm).peek(address));
        assert!(seen.is_ok(), "{address:#x}: {seen:?}");
        let report = proof(|vm| write(vm, address));
        page_fault(&report, address, USER | WRITE | PRESENT, 3);
    }
}

#[test]
fn a_program_cannot_write_its_own_code() {
    let report = proof(|vm| {
        let insns = "r1 = *(u64 *)(r10 + 8)\n*(u64 *)(r1 + 0) = r1\nr0 = 0\nexit";
        killed(&load(vm, program(insns)))
    });
    assert!((CODE..CODE + REGION).contains(&report.address), "{report}");
    page_fault(&report, report.address, USER | WRITE | PRESENT, 1);
}

#[test]
fn addresses_that_are_none_are_general_protection() {
    for address in [1 << 63, 0x8000_0000_0000, 0xffff_7fff_ffff_fff8] {
        for report in [
            proof(|vm| read(vm, address)),
            proof(|vm| write(vm, address)),
        ] {
            assert_eq!(vector(&report), PROTECTION, "{address:#x}: {report}");
            blamed(&report, report.insn.unwrap());
        }
    }
}

/// Leads a program's return to an address.
fn jump(vm: &Vm, address: u64) -> Arc<FaultReport> {
    let text = format!("r1 = {address:#x} ll\n*(u64 *)(r10 + 8) = r1\nr0 = 0\nexit");
    killed(&load(vm, program(&text)))
}

#[test]
fn data_is_not_executed() {
    let data = [
        stack_base(0) + REGION - 4096,
        HEAP + 0x1000,
        SHARED,
        SHARED + dynamic(1),
    ];
    for address in data {
        let report = proof(|vm| jump(vm, address));
        assert_eq!(vector(&report), PAGE_FAULT, "{report}");
        assert_eq!((report.address, report.registers.rip), (address, address));
        assert_eq!(report.error_code, USER | FETCH | PRESENT, "{report}");
        assert!(!report.in_program);
        assert_eq!(report.program.as_deref(), Some("attack"));
        assert_eq!(report.insn, None);
    }
}

#[test]
fn what_is_not_mapped_is_not_executed() {
    for address in [0, HANDLERS, STACKS, CODE + CODE_ALIAS_OFFSET, 1 << 46] {
        let report = proof(|vm| jump(vm, address));
        assert_eq!(vector(&report), PAGE_FAULT, "{report}");
        assert_eq!((report.address, report.registers.rip), (address, address));
    }
    // The end of the code region: filled with what traps, or zeroes.
    let report = proof(|vm| jump(vm, CODE + CODE_SIZE - 2));
    assert!(matches!(report.cause, Cause::Exception { .. }), "{report}");
}

#[test]
fn deep_recursion_ends_in_the_guard() {
    let report = proof(|vm| {
        let insns = "
            again:
                *(u64 *)(r10 - 512) = r1
                call again
                exit";
        let text = format!(
            "call begin\nexit\nbegin:\n{}",
            insns.replace("again:", "").replace("again", "begin")
        );
        killed(&load(vm, program(&text)))
    });
    assert_eq!(vector(&report), PAGE_FAULT, "{report}");
    let guard = STACKS..STACKS + REGION;
    assert!(guard.contains(&report.address), "{report}");
    assert!(report.in_program, "{report}");
}

#[test]
fn the_heap_can_be_overwritten_and_only_that_vm_dies() {
    proof(|vm| {
        let poker = Poker::new(vm);
        // Positive control: the place can be written.
        let place = HEAP + 0x1000;
        let before = poker.peek(place).unwrap();
        assert_eq!(poker.poke(&[(place, before)]), Ok(0));
        let wipe = "
            r1 = {HEAP} ll
            r2 = {END} ll
        again:
            r3 = 0x4141414141414141 ll
            *(u64 *)(r1 + 0) = r3
            r1 += 8
            if r1 < r2 goto again
            r0 = 0
            exit";
        let end = HEAP + REGION;
        let wipe = wipe
            .replace("{HEAP}", &format!("{HEAP:#x}"))
            .replace("{END}", &format!("{end:#x}"));
        let wiper = load(vm, program(&wipe));
        // The run itself may still end well; what comes after cannot.
        let answers = (0..4).map(|_| wiper.run(&[0; 64])).collect::<Vec<_>>();
        assert!(!vm.is_alive(), "{answers:?}");
        let report = vm.fault().unwrap();
        assert!(
            matches!(report.cause, Cause::Exception { .. } | Cause::Panic),
            "{report}"
        );
    });
}

#[test]
fn faults_one_after_another_leave_nothing_behind() {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    let fault = || drop(write(&victim(), 0));
    proof(|_| fault());
    let before = (count("fd"), count("task"));
    for _ in 0..30 {
        fault();
    }
    let after = (count("fd"), count("task"));
    // Other tests of this process run meanwhile, a few VMs each.
    assert!(after.0 < before.0 + 60, "descriptors: {before:?} {after:?}");
    assert!(after.1 < before.1 + 15, "threads: {before:?} {after:?}");
}
