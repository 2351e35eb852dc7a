//! Perf event arrays: errno as the kernel's, and events as they were given.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType, errno};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use bpfvisor_tests::kernel;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Sends 8 bytes, the first of the packet's, and answers 1000 more than the
/// helper.
fn sender(map: i32, flags: u64) -> Vec<Insn> {
    let text = format!(
        "r6 = r1\nr2 = *(u32 *)(r1 +{{DATA}})\nr3 = *(u32 *)(r1 +{{END}})\nr4 = r2\nr4 += 8\n\
         if r4 > r3 goto out\nr5 = *(u64 *)(r2 +0)\n*(u64 *)(r10 -8) = r5\nr1 = r6\n\
         r2 = map[id:{map}]\nr3 = {flags:#x} ll\nr4 = r10\nr4 += -8\nr5 = 8\n\
         call bpf_perf_event_output\nr0 += 1000\nexit\nout:\nr0 = 0\nexit\n"
    );
    assemble(&text.replace("{DATA}", "0").replace("{END}", "4")).unwrap()
}

fn skb_sender(map: i32, flags: u64) -> Vec<Insn> {
    let text = format!(
        "*(u64 *)(r10 -8) = 7\nr2 = map[id:{map}]\nr3 = {flags:#x} ll\nr4 = r10\nr4 += -8\n\
         r5 = 8\ncall bpf_perf_event_output\nr0 += 1000\nexit\n"
    );
    assemble(&text).unwrap()
}

const OWN: u64 = 0xffff_ffff;

#[test]
fn errno_as_the_kernels() {
    kernel::require().unwrap();
    let vm = vm();
    let ours = vm.create_map(MapSpec::perf_event_array("e", 4)).unwrap();
    let theirs = kernel::MapSpec::new(MapType::PerfEventArray, 4, 4, 4);
    let theirs = kernel::Map::create(&theirs).unwrap();
    let array = vm.create_map(MapSpec::array("a", 8, 1)).unwrap();
    let theirs_array = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 8, 1));
    let theirs_array = theirs_array.unwrap();
    let none = |r: bpfvisor::Result<()>| r.map_err(|e| e.errno());
    for (x, y) in [(-1, -1), (array.as_raw_fd(), theirs_array.as_raw_fd())] {
        for (key, flags) in [(0u32, 0), (1, 1), (2, 2), (0, 4), (9, 0)] {
            let key = key.to_ne_bytes();
            let a = none(ours.update(&key, &x.to_ne_bytes(), flags));
            let b = theirs.update(&key, &y.to_ne_bytes(), flags);
            assert_eq!(a, b.map_err(|e| e.errno), "update {key:?}, flags {flags}");
        }
    }
    for key in [0u32, 3, 4, u32::MAX].map(u32::to_ne_bytes) {
        let a = none(ours.get(&key).map(drop));
        assert_eq!(
            a,
            theirs.lookup(&key).map(drop).map_err(|e| e.errno),
            "{key:?}"
        );
        let a = none(ours.remove(&key));
        assert_eq!(a, theirs.delete(&key).map_err(|e| e.errno), "{key:?}");
        let a = none(ours.lookup_and_delete(&key).map(drop));
        let b = theirs.lookup_and_delete(&key).map(drop);
        assert_eq!(a, b.map_err(|e| e.errno), "{key:?}");
        let a = ours.next_key(Some(&key)).map_err(|e| e.errno());
        assert_eq!(a, theirs.next_key(Some(&key)).map_err(|e| e.errno));
    }
    for kind in [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter] {
        let make = if kind == ProgType::Xdp {
            sender
        } else {
            skb_sender
        };
        for len in [0, 1, 50, 64, 65, 0xf_ffff] {
            for index in [0, 3, 4, OWN - 1, OWN, 1 << 52, 1 << 63] {
                let flags = len << 32 | index;
                let a = ProgramSpec::new(kind, make(ours.as_raw_fd(), flags));
                let a = vm.load(a.license("GPL")).unwrap();
                let b = make(theirs.as_raw_fd(), flags);
                let b = kernel::Prog::load(&kernel::ProgSpec::new(kind, &b)).unwrap();
                assert_eq!(
                    a.run(&[0; 64]).unwrap().retval,
                    b.run(&kernel::RunSpec::data(&[0; 64])).unwrap().retval,
                    "{kind:?} {flags:#x}: ours, the kernel's"
                );
            }
        }
    }
}

fn xdp(vm: &Vm, map: &Map, flags: u64) -> Program {
    let spec = ProgramSpec::xdp(sender(map.as_raw_fd(), flags));
    vm.load(spec.license("GPL")).unwrap()
}

fn packet(n: u64) -> Vec<u8> {
    let mut p: Vec<u8> = (0..64).collect();
    p[..8].copy_from_slice(&n.to_ne_bytes());
    p
}

#[test]
fn events_come_as_they_were_given() {
    let vm = vm();
    let map = MapSpec::perf_event_array("e", vm.vcpus());
    let map = vm.create_map(map).unwrap();
    let other = vm.create_map(MapSpec::array("a", 8, 1)).unwrap();
    assert_eq!(other.event_stream(4096).unwrap_err().errno(), errno::EINVAL);
    assert_eq!(map.event_stream(5000).unwrap_err().errno(), errno::EINVAL);
    let mut events = map.event_stream(4096).unwrap();
    assert_eq!(events.try_next(), None);
    for len in [0, 1, 7, 20, 64] {
        for slot in [0, u64::from(vm.vcpus() - 1), OWN] {
            let program = xdp(&vm, &map, len << 32 | slot);
            assert_eq!(program.run(&packet(9)).unwrap().retval, 1000);
            let event = events.try_next().unwrap();
            if slot != OWN {
                assert_eq!(u64::from(event.cpu), slot);
            }
            let whole = packet(9);
            let right = [&whole[..8], &whole[..len as usize]].concat();
            assert_eq!(event.data, right, "{len} bytes of the packet");
            assert_eq!(events.try_next(), None);
        }
    }
    let program = xdp(&vm, &map, 0);
    let sent = (0..400u64).filter(|n| match program.run(&packet(*n)).unwrap().retval {
        1000 => true,
        no => {
            assert_eq!(no, 1000 - errno::ENOSPC as u32);
            false
        }
    });
    let sent = sent.count() as u64;
    for n in 0..sent {
        assert_eq!(events.try_next().unwrap().data, n.to_ne_bytes());
    }
    assert_eq!(events.try_next(), None);
    assert_eq!(events.lost(), 400 - sent);
    assert!(sent > 100 && sent < 400);
}

/// Sends `size` bytes of the stack, in which each byte is its number.
fn sized(map: i32, flags: u64, size: u32) -> Vec<Insn> {
    let fill: String = (0..64)
        .map(|n| format!("*(u8 *)(r10 -{}) = {n}\n", 64 - n))
        .collect();
    let text = format!(
        "{fill}r2 = map[id:{map}]\nr3 = {flags:#x} ll\nr4 = r10\nr4 += -64\nr5 = {size}\n\
         call bpf_perf_event_output\nr0 += 1000\nexit\n"
    );
    assemble(&text).unwrap()
}

/// Linux pads events to 4 bytes less than a multiple of 8; what is in them is the
/// same.
#[test]
fn events_hold_what_the_kernels_hold() {
    kernel::require().unwrap();
    let vm = vm();
    let cpus = kernel::possible_cpus() as u32;
    let ours = vm.create_map(MapSpec::perf_event_array("e", cpus)).unwrap();
    let theirs = kernel::MapSpec::new(MapType::PerfEventArray, 4, 4, cpus);
    let theirs = kernel::Map::create(&theirs).unwrap();
    let mut stream = ours.event_stream(1 << 16).unwrap();
    let mut perf: Vec<_> = (0..cpus)
        .map(|c| kernel::Events::open(c).unwrap())
        .collect();
    for (cpu, events) in (0u32..).zip(&perf) {
        let fd = events.as_raw_fd().to_ne_bytes();
        theirs.update(&cpu.to_ne_bytes(), &fd, 0).unwrap();
    }
    let mut compared = 0;
    for kind in [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter] {
        for size in [1, 2, 3, 4, 7, 8, 12, 13, 63, 64] {
            for len in [0, 1, 5, 20, 49, 50, 51, 64, 65] {
                let flags = len << 32 | OWN;
                let a = ProgramSpec::new(kind, sized(ours.as_raw_fd(), flags, size));
                let a = vm.load(a.license("GPL")).unwrap();
                let b = sized(theirs.as_raw_fd(), flags, size);
                let b = kernel::Prog::load(&kernel::ProgSpec::new(kind, &b)).unwrap();
                let a = a.run(&packet(7)).unwrap().retval;
                let b = b.run(&kernel::RunSpec::data(&packet(7))).unwrap().retval;
                let what = format!("{kind:?}, {size} bytes, {len} of the packet");
                assert_eq!(a, b, "{what}: ours, the kernel's");
                let there: Vec<_> = perf.iter_mut().flat_map(|e| e.drain()).collect();
                let here = stream.try_next().map(|e| e.data.to_vec());
                assert_eq!(usize::from(here.is_some()), there.len(), "{what}");
                let (Some(here), [there]) = (here, there.as_slice()) else {
                    continue;
                };
                let padded = (here.len() + 4).next_multiple_of(8) - 4;
                assert_eq!(there.len(), padded, "{what}");
                assert_eq!(here, there[..here.len()], "{what}");
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "only {compared} events");
}

#[test]
fn a_consumer_of_events_sleeps_and_is_woken() {
    let vm = vm();
    let map = MapSpec::perf_event_array("e", vm.vcpus());
    let map = vm.create_map(map).unwrap();
    let mut events = map.event_stream(1 << 14).unwrap();
    let none = events.next(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(none, None);
    let last = u64::from(vm.vcpus() - 1);
    let programs = [xdp(&vm, &map, 0), xdp(&vm, &map, last)];
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..40u64 {
                std::thread::sleep(Duration::from_millis(1));
                let program = &programs[n as usize % 2];
                assert_eq!(program.run(&packet(n)).unwrap().retval, 1000);
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 40 {
            let event = events.next(Some(Duration::from_secs(10))).unwrap();
            let data = event.expect("an event within 10 s").data;
            seen.push(u64::from_ne_bytes(data.try_into().unwrap()));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    });
}
