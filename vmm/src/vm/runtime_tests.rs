//! VMs with the real runtime. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bpfvisor_abi::layout;
use bpfvisor_abi::op::LoadRecord;
use zerocopy::FromZeros;

use super::*;
use crate::TypeInfo;
use crate::fault::Cause;

const XDP: u32 = 6;

fn boot(config: Config) -> Vm {
    Vm::boot(config).expect("these tests need KVM")
}

/// One instruction.
fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let mut bytes = [op, src << 4 | dst, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&off.to_le_bytes());
    bytes[4..].copy_from_slice(&imm.to_le_bytes());
    bytes
}

fn mov(dst: u8, imm: i32) -> [u8; 8] {
    insn(0xb7, dst, 0, 0, imm)
}

const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

fn load(vm: &Vm, insns: &[[u8; 8]]) -> Result<Loaded, LoadError> {
    let mut record = LoadRecord::new_zeroed();
    record.prog_type = XDP;
    record.license[..3].copy_from_slice(b"GPL");
    record.log_level = 1;
    vm.load(LoadRequest {
        record,
        insns: insns.as_flattened(),
        types: TypeInfo::default(),
        maps: vec![],
        note: Vec::new(),
        log_len: 4096,
    })
}

/// A packet of 64 zeroes in a buffer of its own.
fn packet(vm: &Vm) -> (Block, Packet) {
    let block = vm.alloc_low(512, 64).unwrap();
    let off = u32::try_from(block.offset()).unwrap();
    (
        block,
        Packet {
            off,
            cap: 512,
            data: 256,
            len: 64,
            ..Packet::default()
        },
    )
}

#[test]
fn program_is_loaded_run_and_freed() {
    let vm = boot(Config {
        vcpus: 2,
        ..Config::default()
    });
    let loaded = load(&vm, &[mov(0, 2), EXIT]).unwrap();
    assert!(
        loaded.record.jited_len > 0 && loaded.record.processed == 2,
        "{:?}",
        loaded.record
    );
    let (_block, packet) = packet(&vm);
    let run = Run {
        repeat: 1,
        packet,
        ..Run::default()
    };
    for _ in 0..1000 {
        let result = vm.run(&loaded.object, run).unwrap();
        assert_eq!((result.r0, result.data, result.len), (2, 256, 64));
    }
    drop(loaded);
    assert_eq!(vm.stats().objects, 0);
}

#[test]
fn batch_gives_each_packet_its_result() {
    let vm = boot(Config::default());
    // r2 = data, r3 = data_end; r0 = r3 - r2.
    let program = [
        insn(0x61, 2, 1, 0, 0),
        insn(0x61, 0, 1, 4, 0),
        insn(0x1f, 0, 2, 0, 0),
        EXIT,
    ];
    let loaded = load(&vm, &program).unwrap();
    let (_block, packet) = packet(&vm);
    let mut packets: Vec<_> = (0..2500)
        .map(|n| Packet {
            len: 14 + n % 200,
            ..packet
        })
        .collect();
    vm.run_batch(&loaded.object, &mut packets).unwrap();
    for (n, packet) in (0..).zip(&packets) {
        assert_eq!(
            (packet.status, packet.retval),
            (0, 14 + n % 200),
            "packet {n}"
        );
    }
}

#[test]
fn rejected_program_says_why() {
    let vm = boot(Config::default());
    match load(&vm, &[mov(1, 2), EXIT]) {
        Err(LoadError::Rejected {
            errno,
            message,
            log,
            ..
        }) => {
            assert!(errno == libc::EACCES || errno == libc::EINVAL, "{errno}");
            assert!(message.contains("R0"), "{message}");
            assert!(!log.is_empty());
        }
        other => panic!("expected a reject, got {other:?}"),
    }
    assert!(vm.is_alive());
}

#[test]
fn ranges_outside_are_refused() {
    let vm = boot(Config::default());
    let loaded = load(&vm, &[mov(0, 2), EXIT]).unwrap();
    let (_block, good) = packet(&vm);
    for bad in [
        Packet {
            off: u32::MAX - 511,
            ..good
        },
        Packet { data: 500, ..good },
        Packet {
            len: u32::MAX,
            ..good
        },
        Packet {
            ctx_or_target: u32::MAX,
            ctx_len_or_via: 8,
            ..good
        },
    ] {
        let error = vm.run(
            &loaded.object,
            Run {
                repeat: 1,
                packet: bad,
                ..Run::default()
            },
        );
        assert_eq!(error.unwrap_err().errno(), libc::EINVAL);
        assert!(vm.run_batch(&loaded.object, &mut [good, bad]).is_err());
    }
    let other = boot(Config::default());
    assert!(other.run(&loaded.object, Run::default()).is_err());
}

fn unverified() -> Vm {
    boot(Config {
        verifier_off: true,
        call_timeout: Duration::from_millis(20),
        ..Config::default()
    })
}

fn run_one(vm: &Vm, insns: &[[u8; 8]]) -> Result<RunResult, CallError> {
    let loaded = load(vm, insns).unwrap();
    let (_block, packet) = packet(vm);
    vm.run(
        &loaded.object,
        Run {
            repeat: 1,
            packet,
            ..Run::default()
        },
    )
}

#[test]
fn endless_program_is_cut_short_and_the_vm_goes_on() {
    let vm = unverified();
    for _ in 0..3 {
        let answer = run_one(&vm, &[mov(0, 0), insn(0x05, 0, 0, -1, 0), EXIT]);
        assert!(matches!(answer, Err(CallError::TimedOut)), "{answer:?}");
        assert_eq!(run_one(&vm, &[mov(0, 7), EXIT]).unwrap().r0, 7);
    }
}

#[test]
fn wild_store_of_a_program_kills_the_vm_alone() {
    for (address, present) in [
        (0x3000, 1),
        (layout::CODE, 1),
        (layout::stack_base(0) - 8, 0),
    ] {
        let (vm, other) = (unverified(), boot(Config::default()));
        let store = [
            mov(1, address as i32),
            insn(0x7a, 1, 0, 0, 1),
            mov(0, 0),
            EXIT,
        ];
        match run_one(&vm, &store) {
            Err(CallError::Dead(report)) => {
                assert_eq!(report.cause, Cause::Exception { vector: 14 }, "{report}");
                assert_eq!((report.address, report.error_code & 1), (address, present));
                assert!(report.in_program, "{report}");
            }
            answer => panic!("expected a dead VM, got {answer:?}"),
        }
        assert_eq!(run_one(&other, &[mov(0, 7), EXIT]).unwrap().r0, 7);
    }
}

#[test]
fn program_descriptor_keeps_it_loaded() {
    use std::os::fd::AsRawFd;
    let vm = boot(Config::default());
    let loaded = load(&vm, &[mov(0, 3), EXIT]).unwrap();
    let fd = vm.export(&loaded.object).unwrap();
    drop(loaded);
    let (_block, packet) = packet(&vm);
    let run = Run {
        repeat: 5,
        packet,
        ..Run::default()
    };
    let program = vm.resolve(fd.as_raw_fd()).unwrap();
    assert_eq!(vm.run(&program, run).unwrap().r0, 3);
}
