//! The queue loop and the simplest requests.
mod world;
use bpf_core::uapi::errno;
use bpfvisor_abi::boot::port;
use bpfvisor_abi::layout::queue_block;
use bpfvisor_abi::op::code;
use bpfvisor_abi::ring::{ENTRIES, block};
use world::World;

#[test]
fn answers_nop_round_after_round() {
    let w = World::new();
    for _ in 0..ENTRIES * 2 + 3 {
        assert_eq!(w.call(code::NOP, [1; 7]).status, 0);
    }
}

#[test]
fn refuses_unknown_operations() {
    let w = World::new();
    assert_eq!(w.call(99, [0; 7]).status, -errno::EINVAL);
}

#[test]
fn refuses_handles_that_mean_nothing() {
    let w = World::new();
    for op in [
        code::PROG_UNLOAD,
        code::RUN,
        code::RUN_BATCH,
        code::PROG_DUMP,
        code::MAP_FREE,
    ] {
        assert_eq!(
            w.call(op, [5, 0, 0, 0, 0, 0, 0]).status,
            -errno::EBADF,
            "{op}"
        );
    }
}

#[test]
fn refuses_records_outside_the_slot() {
    let w = World::new();
    for op in [code::PROG_LOAD, code::MAP_CREATE] {
        assert_eq!(
            w.call(op, [1 << 40, 0, 0, 0, 0, 0, 0]).status,
            -errno::EFAULT,
            "{op}"
        );
    }
}

#[test]
fn says_ready_and_stopped() {
    let w = World::new();
    assert_eq!(w.rung(), [port::READY]);
    w.call(code::NOP, [0; 7]);
    assert_eq!(w.rung(), [port::STOPPED]);
}

#[test]
fn notifies_a_waiting_host_once() {
    let w = World::new();
    w.rung();
    w.shared
        .write(queue_block(0) + block::HOST_WAITING, 1u32)
        .unwrap();
    w.call(code::NOP, [0; 7]);
    w.call(code::NOP, [0; 7]);
    let rung = w.rung();
    assert_eq!(rung.iter().filter(|&&p| p == port::NOTIFY).count(), 1);
}

#[test]
#[should_panic(expected = "protocol version")]
fn panics_on_another_protocol() {
    World::with(|b| b.version += 1);
}
