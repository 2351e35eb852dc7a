//! VMs with hand-made guests. They need /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bpfvisor_abi::layout;

use super::*;
use crate::fault::Cause;
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

/// A request that kills the VM, and the report of that.
fn killed_by(op: u32, arg: [u64; 7]) -> FaultReport {
    let vm = boot(small(), testing::echo());
    let other = boot(small(), testing::echo());
    let report = match vm.call(op, arg) {
        Err(CallError::Dead(report)) => report,
        answer => panic!("expected a dead VM, got {answer:?}"),
    };
    assert!(!vm.is_alive());
    assert_eq!(vm.fault().as_ref(), Some(&report));
    assert!(matches!(vm.call(0, [0; 7]), Err(CallError::Dead(_))));
    assert_eq!(other.call(0, [7; 7]).unwrap().val, [7, 7, 7, 0, 0, 0, 0]);
    (*report).clone()
}

const PAGE_FAULT: Cause = Cause::Exception { vector: 14 };
/// Bits of a page fault's error code: page present, write, user, instruction fetch.
const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const I: u64 = 16;

#[test]
fn wild_writes_are_contained_and_reported() {
    for (address, error_code) in [
        (layout::SUPERVISOR + 0x3000, P | W | U),
        (layout::pml4(0), P | W | U),
        (layout::IMAGE, P | W | U),
        (layout::CODE, P | W | U),
        (layout::CODE + layout::CODE_ALIAS_OFFSET, W | U),
        (layout::stack_base(0) - 8, W | U),
        (layout::stack_top(0) + 8, W | U),
        (layout::SHARED + (8 << 20), W | U),
    ] {
        let report = killed_by(1, [address; 7]);
        assert_eq!(
            (report.cause, report.address),
            (PAGE_FAULT, address),
            "{report}"
        );
        assert_eq!(report.error_code, error_code, "{report}");
        assert_eq!(report.registers.rbx, address, "{report}");
        assert!(
            !report.in_program && report.registers.rip < layout::IMAGE_END,
            "{report}"
        );
    }
}

#[test]
fn data_is_not_executable() {
    for address in [layout::stack_base(0), layout::HEAP, layout::SHARED] {
        let report = killed_by(2, [address; 7]);
        assert_eq!(
            (report.cause, report.address),
            (PAGE_FAULT, address),
            "{report}"
        );
        assert_eq!(report.error_code, P | U | I, "{report}");
        assert_eq!(report.registers.rip, address);
    }
}

#[test]
fn fault_of_a_program_is_told_apart() {
    // Zeroes are `add [rax], al`, and RAX is 2.
    let report = killed_by(2, [layout::CODE + 0x100; 7]);
    assert_eq!((report.cause, report.address), (PAGE_FAULT, 2), "{report}");
    assert!(report.in_program, "{report}");
}

#[test]
fn broken_protocol_kills_only_that_vm() {
    assert_eq!(killed_by(3, [1; 7]).cause, Cause::Protocol);
    assert_eq!(killed_by(3, [-5000i64 as u64; 7]).cause, Cause::Protocol);
    let stamp = killed_by(5, [0; 7]);
    assert!(stamp.text.contains("0x77777777"), "{stamp}");
    let port = killed_by(7, [0, 0x501, 0, 0, 0, 0, 0]);
    assert!(
        port.cause == Cause::Protocol && port.text.contains("0x501"),
        "{port}"
    );
    let closed = killed_by(7, [0, 0x600, 0, 0, 0, 0, 0]);
    assert_eq!(closed.cause, Cause::Exception { vector: 13 });
}

#[test]
fn triple_fault_is_reported() {
    let image = testing::guest_with(testing::echo(), |_| testing::handler_that_faults());
    let vm = Vm::boot_image(&small(), &image).expect("these tests need KVM");
    vm.call(9, [1; 7]).unwrap();
    let error = vm.call(1, [0xdead_0000; 7]).unwrap_err();
    assert!(matches!(error, CallError::Dead(_)), "{error}");
    let report = vm.fault().unwrap();
    assert_eq!(report.cause, Cause::TripleFault, "{report}");
    boot(small(), testing::echo()).call(9, [1; 7]).unwrap();
}

#[test]
fn panic_brings_its_text() {
    let report = killed_by(6, [0; 7]);
    assert_eq!((report.cause, report.text.as_str()), (Cause::Panic, "oops"));
}

#[test]
fn runtime_that_never_answers_is_given_up() {
    let vm = boot(
        Config {
            call_timeout: Duration::from_millis(5),
            ..small()
        },
        testing::echo(),
    );
    match vm.call(4, [0; 7]) {
        Err(CallError::Dead(report)) => assert_eq!(report.cause, Cause::Unresponsive, "{report}"),
        answer => panic!("expected a dead VM, got {answer:?}"),
    }
}

#[test]
fn long_program_is_cut_short_and_the_vm_goes_on() {
    let vm = boot(
        Config {
            call_timeout: Duration::from_millis(5),
            ..small()
        },
        testing::echo(),
    );
    for _ in 0..3 {
        let answer = vm.call(8, [layout::CODE; 7]);
        assert!(matches!(answer, Err(CallError::TimedOut)), "{answer:?}");
        assert_eq!(vm.call(0, [3; 7]).unwrap().val[0], 3);
    }
    assert_eq!(vm.stats().timeouts, 3);
}

#[test]
fn errno_comes_through() {
    let vm = boot(small(), testing::echo());
    let error = vm
        .call(3, [-i64::from(libc::ENOENT) as u64; 7])
        .unwrap_err();
    assert_eq!(error.errno(), libc::ENOENT);
    assert!(vm.is_alive());
}

#[test]
fn callers_share_vcpus() {
    let vm = boot(
        Config {
            vcpus: 2,
            ..small()
        },
        testing::echo(),
    );
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let vm = &vm;
            scope.spawn(move || {
                for n in 0..500 {
                    let sent = caller * 1000 + n;
                    assert_eq!(vm.call(0, [sent; 7]).unwrap().val[0], sent);
                }
            });
        }
    });
    assert_eq!(vm.stats().calls, 2000);
}

fn map(vm: &Vm, keeps: Vec<Arc<Object>>) -> Arc<Object> {
    let storage = vm.alloc(4096, 4096).unwrap();
    vm.create_map(MapRecord::default(), storage, keeps).unwrap()
}

/// Waits for the descriptors' thread.
fn eventually(what: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| what() || (std::thread::sleep(Duration::from_millis(1)), false).1)
}

#[test]
fn descriptors_resolve_until_the_last_copy_is_closed() {
    use std::os::fd::AsRawFd;
    let vm = boot(small(), testing::echo());
    let used = vm.stats().shared_used;
    let map = map(&vm, vec![]);
    let fd = vm.export(&map).unwrap();
    let copy = fd.try_clone().unwrap();
    assert!(Arc::ptr_eq(&vm.resolve(copy.as_raw_fd()).unwrap(), &map));
    drop(fd);
    let again = vm.resolve(copy.as_raw_fd()).unwrap();
    drop((map, again));
    assert_eq!(vm.stats().objects, 1);
    let number = copy.as_raw_fd();
    drop(copy);
    assert!(
        eventually(|| vm.stats().objects == 0),
        "the last close did not free the map"
    );
    assert!(
        eventually(|| vm.stats().shared_used == used),
        "{:?}",
        vm.stats()
    );
    assert!(vm.resolve(number).is_err());
}

#[test]
fn descriptors_of_other_kinds_are_told_apart() {
    use std::os::fd::AsRawFd;
    let (vm, other) = (
        boot(small(), testing::echo()),
        boot(small(), testing::echo()),
    );
    let foreign = other.export(&map(&other, vec![])).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(vm.resolve(-1).unwrap_err(), FdError::NotOpen(-1));
    let fd = null.as_raw_fd();
    assert_eq!(vm.resolve(fd).unwrap_err(), FdError::NotOurs(fd));
    let fd = foreign.as_raw_fd();
    assert_eq!(vm.resolve(fd).unwrap_err(), FdError::OtherVm(fd));
    drop(other);
    assert_eq!(vm.resolve(fd).unwrap_err(), FdError::NotOurs(fd));
}

#[test]
fn kept_objects_live_as_long_as_their_keeper() {
    let vm = boot(small(), testing::echo());
    let inner = map(&vm, vec![]);
    let outer = map(&vm, vec![Arc::clone(&inner)]);
    drop(inner);
    assert_eq!(vm.stats().objects, 2);
    drop(outer);
    assert!(eventually(
        || vm.stats().objects == 0 && vm.stats().shared_used == 0
    ));
}

#[test]
fn objects_outlive_their_vm_without_harm() {
    let vm = boot(small(), testing::echo());
    let map = map(&vm, vec![]);
    let fd = vm.export(&map).unwrap();
    drop(vm);
    let offset = map.storage().unwrap().offset();
    map.shared().write(offset, b"still there").unwrap();
    drop((fd, map));
}

#[test]
fn freed_memory_is_zero_when_given_again() {
    let vm = boot(small(), testing::spin());
    for len in [100, 5000, 3 << 20] {
        let block = vm.alloc_low(len, 64).unwrap();
        let offset = block.offset();
        vm.shared()
            .write(offset, &vec![0xaa; len as usize])
            .unwrap();
        drop(block);
        let block = vm.alloc_low(len, 64).unwrap();
        assert_eq!(block.offset(), offset);
        let mut bytes = vec![1; len as usize];
        vm.shared().read(offset, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0), "{len} bytes");
    }
    assert!(matches!(
        vm.alloc(1 << 40, 64),
        Err(CallError::NoMemory { .. })
    ));
    assert!(vm.shared().write(vm.shared().len() - 3, b"four").is_err());
}

#[test]
fn trace_text_is_taken_once() {
    use bpfvisor_abi::ring::block;
    let vm = boot(small(), testing::spin());
    let put = |at: u64, text: &[u8], head: u64| {
        let queue = layout::queue_block(0);
        vm.shared().write(queue + block::TRACE + at, text).unwrap();
        vm.shared()
            .write(queue + block::TRACE_HEAD, &head.to_le_bytes())
            .unwrap();
    };
    put(0, b"hello ", 6);
    assert_eq!(vm.take_trace(), "hello ");
    put(6, b"world", 11);
    assert_eq!(vm.take_trace(), "world");
    assert_eq!(vm.take_trace(), "");
    // A head that lies costs no more than a ring's length of text.
    put(0, b"", u64::MAX);
    assert_eq!(vm.take_trace().len() as u64, block::TRACE_LEN);
    put(0, b"", 0);
    assert_eq!(vm.take_trace(), "");
}

#[test]
fn configuration_is_checked() {
    for bad in [
        Config {
            vcpus: 0,
            ..small()
        },
        Config {
            vcpus: 65,
            ..small()
        },
        Config {
            shared_bytes: 1 << 20,
            ..small()
        },
        Config {
            shared_bytes: 1 << 50,
            ..small()
        },
        Config {
            heap_bytes: 0,
            ..small()
        },
        Config {
            heap_bytes: 1 << 30,
            ..small()
        },
    ] {
        let error = Vm::boot_image(&bad, &testing::guest(testing::spin())).unwrap_err();
        assert!(
            matches!(error, BootError::Config { .. }),
            "{bad:?}: {error}"
        );
    }
}

/// Open descriptors and threads of this process.
fn footprint() -> (usize, usize) {
    let count = |dir| std::fs::read_dir(dir).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

#[test]
fn many_vms_come_and_go_and_leave_nothing() {
    // Other tests run beside this one: only growth with the number of VMs counts.
    let before = footprint();
    for _ in 0..40 {
        let vm = boot(small(), testing::echo());
        let map = map(&vm, vec![]);
        let _fd = vm.export(&map).unwrap();
    }
    let vms: Vec<_> = (0..20).map(|_| boot(small(), testing::echo())).collect();
    for (n, vm) in (0..).zip(&vms) {
        assert_eq!(vm.call(0, [n; 7]).unwrap().val[0], n);
    }
    drop(vms);
    assert!(eventually(
        || footprint().0 < before.0 + 30 && footprint().1 < before.1 + 10
    ));
}

fn lives_again(vm: &Vm, recoveries: u64) {
    let begin = std::time::Instant::now();
    while vm.stats().recoveries < recoveries {
        assert!(begin.elapsed() < Duration::from_secs(10), "not rebuilt");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(vm.call(0, [7; 7]).unwrap().val[0], 7);
    assert!(vm.is_alive() && vm.fault().is_none());
}

#[test]
fn triple_faults_nonsense_and_errors_of_kvm_are_recovered_from() {
    let config = Config {
        recovery: crate::Recovery::KeepMaps,
        call_timeout: Duration::from_millis(100),
        vcpus: 2,
        ..small()
    };
    let image = testing::guest_with(testing::echo(), |_| testing::handler_that_faults());
    let vm = Vm::boot_image(&config, &image).expect("these tests need KVM");
    let calls = |vm: &Vm| vm.stats().calls;
    for (nth, (op, arg, cause)) in [
        (1, 0, Cause::TripleFault),
        (5, 0, Cause::Protocol),
        (6, 0, Cause::Panic),
        (3, 1, Cause::Protocol),
        (2, layout::SHARED, Cause::TripleFault),
        (4, 0, Cause::Unresponsive),
    ]
    .into_iter()
    .enumerate()
    {
        lives_again(&vm, nth as u64);
        let before = calls(&vm);
        let error = vm.ask(op, [arg, 0, 0, 0, 0, 0, 0]).unwrap_err();
        let CallError::Failed(report) = error else {
            panic!("{error}")
        };
        assert_eq!(report.cause, cause, "{report}");
        lives_again(&vm, nth as u64 + 1);
        assert!(calls(&vm) > before, "counters go on");
    }
    vm.inject_fault("for the test");
    lives_again(&vm, 7);
    let reports = vm.recoveries();
    assert_eq!(reports.last().unwrap().fault.cause, Cause::KvmInternal);
    assert_eq!(reports.len(), 7);
}
