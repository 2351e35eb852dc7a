//! Programs linked to a packet source: exchanging one loses no packet, and the
//! end of its last descriptor unlinks it. Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bpfvisor::asm::assemble;
use bpfvisor::uapi::ProgType;
use bpfvisor::{Program, ProgramSpec, Vm};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn answers(vm: &Vm, verdict: u32) -> Program {
    let insns = assemble(&format!("r0 = {verdict}\nexit")).unwrap();
    vm.load(ProgramSpec::xdp(insns).license("GPL")).unwrap()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn exchanging_programs_loses_no_packet() {
    let vm = Vm::builder().boot().unwrap();
    let source = vm.packet_source("here", ProgType::Xdp);
    let link = source.attach(&answers(&vm, 1000)).unwrap();
    let stop = AtomicBool::new(false);
    let (sent, seen) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut sent, mut seen) = (0u64, Vec::new());
            while !stop.load(Relaxed) {
                let out = source.deliver(&[0; 64]).unwrap();
                seen.push(out.expect("a packet that no program saw").retval);
                sent += 1;
            }
            (sent, seen)
        });
        for n in 1001..1040 {
            link.update(&answers(&vm, n)).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        stop.store(true, Relaxed);
        traffic.join().unwrap()
    });
    assert_eq!(source.delivered(), sent);
    assert!(seen.is_sorted(), "an old program came back");
    let last = source.deliver(&[0; 64]).unwrap().unwrap();
    assert_eq!(last.retval, 1039);
    // The programs that were exchanged are gone: one is left.
    eventually("old programs stay", || vm.stats().objects == 1);
}

#[test]
fn the_last_descriptor_unlinks() {
    let vm = Vm::builder().boot().unwrap();
    let source = vm.packet_source("here", ProgType::Xdp);
    assert_eq!(source.deliver(&[0; 64]).unwrap(), None);
    let link = source.attach(&answers(&vm, 1)).unwrap();
    assert_eq!(source.attach(&answers(&vm, 1)).unwrap_err().errno(), 16);
    let copy = std::os::fd::AsFd::as_fd(&link)
        .try_clone_to_owned()
        .unwrap();
    drop(link);
    std::thread::sleep(Duration::from_millis(20));
    assert!(source.deliver(&[0; 64]).unwrap().is_some());
    drop(copy);
    eventually("it stays linked", || {
        source.deliver(&[0; 64]).unwrap().is_none()
    });
    eventually("its program stays", || vm.stats().objects == 0);
}

#[test]
fn a_pin_keeps_it_linked() {
    let vm = Vm::builder().boot().unwrap();
    let source = vm.packet_source("here", ProgType::Xdp);
    let link = source.attach(&answers(&vm, 1)).unwrap();
    link.pin("/sys/fs/bpf/link").unwrap();
    drop(link);
    std::thread::sleep(Duration::from_millis(20));
    assert!(source.deliver(&[0; 64]).unwrap().is_some());
    vm.unpin("/sys/fs/bpf/link").unwrap();
    assert!(source.deliver(&[0; 64]).unwrap().is_none());
}

#[test]
fn a_detached_link_has_no_effect() {
    let vm = Vm::builder().boot().unwrap();
    let source = vm.packet_source("here", ProgType::Xdp);
    let first = source.attach(&answers(&vm, 1)).unwrap();
    first.detach();
    assert!(source.deliver(&[0; 64]).unwrap().is_none());
    let second = source.attach(&answers(&vm, 2)).unwrap();
    assert_eq!(first.update(&answers(&vm, 3)).unwrap_err().errno(), 67);
    // Nor when it goes.
    drop(first);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(source.deliver(&[0; 64]).unwrap().unwrap().retval, 2);
    drop(source);
    assert_eq!(second.update(&answers(&vm, 3)).unwrap_err().errno(), 67);
}

#[test]
fn programs_of_other_types_and_vms_are_refused() {
    let (vm, other) = (Vm::builder().boot().unwrap(), Vm::builder().boot().unwrap());
    let source = vm.packet_source("here", ProgType::Xdp);
    let e = source.attach(&answers(&other, 1)).unwrap_err();
    assert_eq!(e.errno(), 18, "{e}");
    let insns = assemble("r0 = 0\nexit").unwrap();
    let filter = vm.load(ProgramSpec::socket_filter(insns)).unwrap();
    assert_eq!(source.attach(&filter).unwrap_err().errno(), 22);
    let link = source.attach(&answers(&vm, 1)).unwrap();
    assert_eq!(link.update(&filter).unwrap_err().errno(), 22);
    assert_eq!(link.update(&answers(&other, 1)).unwrap_err().errno(), 18);
}
