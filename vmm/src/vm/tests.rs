//! VMs with hand-made guests. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use super::*;
use crate::testing;

fn boot(config: Config, code: &[u8]) -> Vm {
    Vm::boot_image(&config, &testing::guest(code)).expect("these tests need KVM")
}

fn small() -> Config {
    Config {
        shared_bytes: 8 << 20,
        heap_bytes: 2 << 20,
        ..Config::default()
    }
}

#[test]
fn guest_announces_itself_and_vm_shuts_down() {
    let vm = boot(small(), testing::spin());
    assert!(vm.is_alive());
    assert_eq!(vm.stats().exits, 1);
}

#[test]
fn requests_are_echoed_through_many_turns_of_the_ring() {
    let vm = boot(small(), testing::echo());
    for n in 0..1000 {
        let answer = vm.call(0, [n, n + 1, n + 2, 0, 0, 0, 0]).unwrap();
        assert_eq!(answer.val[..3], [n, n + 1, n + 2]);
    }
    assert_eq!(vm.stats().calls, 1000);
}

#[test]
fn sleeping_guest_is_woken_and_sleeping_caller_notified() {
    let vm = boot(
        Config {
            client_spins: 0,
            ..small()
        },
        testing::echo(),
    );
    for n in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(vm.call(0, [n; 7]).unwrap().val[0], n);
    }
    let stats = vm.stats();
    assert!(stats.wakes > 0 && stats.waits == 20, "{stats:?}");
}

#[test]
fn real_guest_boots_and_answers() {
    let vm = Vm::boot(Config {
        vcpus: 2,
        ..small()
    })
    .expect("these tests need KVM");
    vm.call(code::NOP, [0; 7]).unwrap();
    assert!(vm.is_alive(), "{:?}", vm.fault());
}
