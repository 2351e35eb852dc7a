//! VMs from a pool. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::{ProgramSpec, Vm, VmPool, asm::assemble};
use std::time::{Duration, Instant};

fn pool(ready: usize) -> VmPool {
    let builder = Vm::builder().memory(16 << 20).heap(8 << 20);
    let pool = builder.pool(ready);
    pool.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn wait_until_ready(pool: &VmPool, count: usize) {
    let end = Instant::now() + Duration::from_secs(20);
    while pool.ready() != count {
        assert!(Instant::now() < end, "{} ready", pool.ready());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn runs(vm: &Vm) -> bool {
    let insns = assemble("r0 = 2\nexit").unwrap();
    let program = vm.load(ProgramSpec::xdp(insns)).unwrap();
    program.run(&[0; 64]).unwrap().retval == 2
}

#[test]
fn what_is_taken_is_replaced_and_belongs_to_the_taker() {
    let pool = pool(2);
    wait_until_ready(&pool, 2);
    let taken: Vec<Vm> = (0..4).map(|_| pool.take().unwrap()).collect();
    for (at, vm) in taken.iter().enumerate() {
        assert!(runs(vm));
        let same = |other: &&Vm| other.id() == vm.id();
        assert_eq!(taken.iter().position(|o| same(&o)), Some(at));
    }
    wait_until_ready(&pool, 2);
    drop(pool);
    assert!(taken.iter().all(runs), "VMs outlive their pool");
}

#[test]
fn an_empty_pool_boots_on_request() {
    let pool = pool(0);
    assert_eq!(pool.ready(), 0);
    assert!(runs(&pool.take().unwrap()));
    assert_eq!(pool.ready(), 0);
}

#[test]
fn settings_out_of_range_are_refused_at_once() {
    let refused = Vm::builder().vcpus(0).pool(2).unwrap_err();
    assert_eq!(refused.errno(), 22, "{refused}");
}

#[test]
fn threads_take_from_one_pool() {
    let pool = pool(2);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..3).for_each(|_| assert!(runs(&pool.take().unwrap()))));
        }
    });
    wait_until_ready(&pool, 2);
}
