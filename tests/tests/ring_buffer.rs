//! Ring buffers from programs to the host: needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpf_core::insn::Insn;
use bpf_core::uapi::errno;
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).vcpus(2).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

/// Sends the first 8 bytes of the packet; returns what came of it.
fn sender(vm: &Vm, ring: &Map, flags: i32) -> Program {
    let insns = vec![
        insn(0x61, 2, 1, 0, 0),
        insn(0x61, 3, 1, 4, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, 8),
        insn(0x2d, 4, 3, 8, 0),
        insn(0x79, 4, 2, 0, 0),
        insn(0x7b, 10, 4, -8, 0),
        insn(0x18, 1, 1, 0, ring.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -8),
        insn(0xb7, 3, 0, 0, 8),
        insn(0x05, 0, 0, 2, 0),
        insn(0xb7, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb7, 4, 0, 0, flags),
        insn(0x85, 0, 0, 0, 130),
        insn(0x95, 0, 0, 0, 0),
    ];
    vm.load(ProgramSpec::xdp(insns)).unwrap()
}

fn packet(n: u64) -> [u8; 64] {
    let mut p = [0; 64];
    p[..8].copy_from_slice(&n.to_le_bytes());
    p
}

#[test]
fn records_come_in_order_and_lost_ones_are_counted() {
    let vm = vm();
    let map = vm.create_map(MapSpec::ringbuf("r", 4096)).unwrap();
    let program = sender(&vm, &map, 0);
    let mut ring = map.ring_buffer().unwrap();
    assert_eq!(map.ring_buffer().unwrap_err().errno(), errno::EBUSY);
    assert_eq!(ring.try_next(), None);
    for n in 0..5u64 {
        assert_eq!(program.run(&packet(n)).unwrap().retval, 0);
    }
    for n in 0..5u64 {
        assert_eq!(ring.try_next(), Some(&n.to_le_bytes()[..]));
    }
    assert_eq!(ring.try_next(), None);
    assert_eq!((ring.available(), ring.dropped()), (0, 0));
    let sent = (0..300u64).filter(|n| program.run(&packet(*n)).unwrap().retval == 0);
    let sent = sent.count();
    let mut next = 0u64;
    let got = ring.drain(|record| {
        assert_eq!(record, next.to_le_bytes());
        next += 1;
    });
    assert_eq!((got, ring.dropped()), (sent, 300 - sent as u64));
    let other = vm.create_map(MapSpec::array("a", 8, 1)).unwrap();
    assert_eq!(other.ring_buffer().unwrap_err().errno(), errno::EINVAL);
    drop(ring);
    map.ring_buffer().unwrap();
}

#[test]
fn a_consumer_sleeps_and_is_woken_and_only_then_are_there_exits() {
    let vm = vm();
    let map = vm.create_map(MapSpec::ringbuf("r", 1 << 16)).unwrap();
    let program = sender(&vm, &map, 0);
    let mut ring = map.ring_buffer().unwrap();
    let begin = Instant::now();
    assert_eq!(ring.next(Some(Duration::from_millis(30))).unwrap(), None);
    assert!(begin.elapsed() >= Duration::from_millis(30));
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..50u64 {
                std::thread::sleep(Duration::from_millis(2));
                program.run(&packet(n)).unwrap();
            }
        });
        for n in 0..50u64 {
            let record = ring.next(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(record, Some(&n.to_le_bytes()[..]));
        }
    });
    // Nobody sleeps: nothing rings.
    for n in 0..100u64 {
        program.run(&packet(n)).unwrap();
        assert!(!readable(&ring));
        assert!(ring.try_next().is_some());
    }
}

fn readable(ring: &bpfvisor::RingBuffer) -> bool {
    let events = rustix::event::PollFlags::IN;
    let mut fds = [rustix::event::PollFd::new(ring, events)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() == 1
}

#[test]
fn the_descriptor_tells_by_linux_rules() {
    let vm = vm();
    let map = vm.create_map(MapSpec::ringbuf("r", 4096)).unwrap();
    let [plain, quiet, loud] = [0, 1, 2].map(|flags| sender(&vm, &map, flags));
    let mut ring = map.ring_buffer().unwrap();
    let run = |p: &Program| assert_eq!(p.run(&packet(1)).unwrap().retval, 0);
    assert!(ring.arm());
    assert!(!readable(&ring));
    run(&plain);
    assert!(readable(&ring), "the record that the consumer waits for");
    assert!(!ring.arm(), "there is a record");
    assert_eq!(ring.drain(|_| ()), 1);
    assert!(ring.arm());
    run(&quiet);
    assert!(!readable(&ring), "BPF_RB_NO_WAKEUP");
    run(&plain);
    assert!(!readable(&ring), "not the record it waits for");
    run(&loud);
    assert!(readable(&ring), "BPF_RB_FORCE_WAKEUP");
    assert_eq!(ring.drain(|_| ()), 3);
}
