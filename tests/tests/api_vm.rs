//! The typed API against real VMs: needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::insn::Insn;
use bpfvisor::uapi::{ProgType, elem_flags, errno};
use bpfvisor::{Error, Map, MapSpec, ProgramSpec, TestRun, Vm};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

fn ret(value: i32) -> [Insn; 2] {
    [insn(0xb7, 0, 0, 0, value), insn(0x95, 0, 0, 0, 0)]
}

/// r0 = the 64-bit value of element 0 of the map that instruction 0 names.
fn read_element(src: u8, fd: i32) -> Vec<Insn> {
    vec![
        insn(0x18, 1, src, 0, fd),
        insn(0, 0, 0, 0, 0),
        insn(0x79, 0, 1, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ]
}

const FRAME: [u8; 64] = [7; 64];

#[test]
fn a_hash_map_behaves_as_linux_says() {
    let vm = vm();
    let map = vm.create_map(MapSpec::hash("h", 4, 8, 2)).unwrap();
    let (a, b, c) = (1u32.to_ne_bytes(), 2u32.to_ne_bytes(), 3u32.to_ne_bytes());
    assert_eq!(map.get(&a).unwrap(), None);
    map.insert(&a, &[1; 8]).unwrap();
    assert_eq!(map.get(&a).unwrap().unwrap(), [1; 8]);
    let refused = |r: bpfvisor::Result<()>| r.unwrap_err().errno();
    assert_eq!(
        refused(map.update(&a, &[2; 8], elem_flags::NOEXIST)),
        errno::EEXIST
    );
    assert_eq!(
        refused(map.update(&b, &[2; 8], elem_flags::EXIST)),
        errno::ENOENT
    );
    assert_eq!(refused(map.insert(&a, &[1; 7])), errno::EINVAL);
    assert_eq!(refused(map.insert(&[0; 5], &[1; 8])), errno::EINVAL);
    map.insert(&b, &[2; 8]).unwrap();
    assert_eq!(refused(map.insert(&c, &[3; 8])), errno::E2BIG);
    assert_eq!(map.keys().count(), 2);
    let mut all: Vec<_> = map.iter().map(Result::unwrap).collect();
    all.sort();
    assert_eq!(all, [(a.to_vec(), vec![1; 8]), (b.to_vec(), vec![2; 8])]);
    assert_eq!(map.lookup_and_delete(&b).unwrap().unwrap(), [2; 8]);
    map.remove(&a).unwrap();
    assert_eq!(refused(map.remove(&a)), errno::ENOENT);
    assert_eq!(map.iter().count(), 0);
}

#[test]
fn walking_a_large_map_meets_every_key_once() {
    let vm = vm();
    let map = vm.create_map(MapSpec::hash("h", 4, 8, 5000)).unwrap();
    for i in 0..3000u32 {
        map.insert(&i.to_ne_bytes(), &u64::from(i).to_ne_bytes())
            .unwrap();
    }
    let mut seen: Vec<u32> = map
        .iter()
        .map(|e| {
            let (key, value) = e.unwrap();
            let key = u32::from_ne_bytes(key.try_into().unwrap());
            assert_eq!(value, u64::from(key).to_ne_bytes());
            key
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..3000).collect::<Vec<_>>());
}

#[test]
fn programs_name_maps_in_every_spelling() {
    let vm = vm();
    let map = vm.create_map(MapSpec::array("a", 8, 1)).unwrap();
    map.insert(&[0; 4], &42u64.to_ne_bytes()).unwrap();
    let direct = vm
        .load(ProgramSpec::xdp(read_element(2, map.as_raw_fd())))
        .unwrap();
    let indexed = ProgramSpec::xdp(read_element(6, 0)).fd_array([map.as_fd()]);
    let indexed = vm.load(indexed).unwrap();
    let named = vm
        .load(ProgramSpec::xdp(read_element(2, -1)).fixup(0, &map))
        .unwrap();
    for program in [direct, indexed, named] {
        assert_eq!(program.run(&FRAME).unwrap().retval, 42);
    }
}

#[test]
fn a_program_keeps_its_map_and_a_copied_fd_keeps_it_too() {
    let vm = vm();
    let map = vm.create_map(MapSpec::array("a", 8, 1)).unwrap();
    map.insert(&[0; 4], &9u64.to_ne_bytes()).unwrap();
    let program = vm
        .load(ProgramSpec::xdp(read_element(2, map.as_raw_fd())))
        .unwrap();
    let copy = map.as_fd().try_clone_to_owned().unwrap();
    drop(map);
    assert_eq!(program.run(&FRAME).unwrap().retval, 9);
    let again = Map::from_fd(&vm, copy).unwrap();
    assert_eq!(again.get(&[0; 4]).unwrap().unwrap(), 9u64.to_ne_bytes());
    assert_eq!((again.name(), again.max_entries()), ("a", 1));
}

#[test]
fn wrong_descriptors_are_told_apart() {
    let (vm, other) = (vm(), vm());
    let load = |fd| vm.load(ProgramSpec::xdp(read_element(2, fd))).unwrap_err();
    assert_eq!(load(-1).errno(), errno::EBADF);
    assert_eq!(load(9999).errno(), errno::EBADF);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(load(file.as_raw_fd()).errno(), errno::EINVAL);
    let program = vm.load(ProgramSpec::xdp(ret(2))).unwrap();
    assert_eq!(load(program.as_raw_fd()).errno(), errno::EINVAL);
    let foreign = other.create_map(MapSpec::array("a", 8, 1)).unwrap();
    assert_eq!(load(foreign.as_raw_fd()).errno(), errno::EXDEV);
}

#[test]
fn objects_die_with_their_last_descriptor() {
    let vm = vm();
    let before = vm.stats();
    for _ in 0..20 {
        let map = vm.create_map(MapSpec::hash("h", 4, 8, 64)).unwrap();
        let mut endless = read_element(1, map.as_raw_fd());
        endless.pop();
        assert!(vm.load(ProgramSpec::xdp(endless)).is_err());
        vm.load(ProgramSpec::xdp(ret(2))).unwrap();
    }
    // The VMM hears of the last close from another thread.
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let now = vm.stats();
        now.objects == before.objects && now.shared_used <= before.shared_used
    });
    assert!(gone, "{:?} before, {:?} after", before, vm.stats());
}

#[test]
fn a_reject_has_errno_reason_instruction_and_log() {
    let vm = vm();
    let insns = vec![insn(0xbf, 0, 2, 0, 0), insn(0x95, 0, 0, 0, 0)];
    match vm.load(ProgramSpec::xdp(insns).name("bad").log_level(2)) {
        Err(Error::Program(r)) => {
            assert_eq!((r.errno, r.insn), (errno::EACCES, Some(0)));
            assert!(r.reason.contains("R2 !read_ok"), "{}", r.reason);
            assert!(r.log.contains("R2 !read_ok"), "{}", r.log);
        }
        other => panic!("expected a reject, got {other:?}"),
    }
}

#[test]
fn batches_give_what_single_runs_give() {
    let vm = vm();
    // r0 = packet length: data_end - data.
    let insns = vec![
        insn(0x61, 2, 1, 4, 0),
        insn(0x61, 1, 1, 0, 0),
        insn(0xbf, 0, 2, 0, 0),
        insn(0x1f, 0, 1, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let program = vm.load(ProgramSpec::xdp(insns)).unwrap();
    let packets: Vec<Vec<u8>> = [14, 64, 1500, 3520, 9000, 65536].map(|n| vec![1; n]).into();
    let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let batch = program.run_batch(&slices).unwrap();
    for (packet, out) in packets.iter().zip(&batch) {
        assert_eq!(out.retval as usize, packet.len());
        assert_eq!(out.data, *packet);
        assert_eq!(program.run(packet).unwrap().retval, out.retval);
    }
    for len in [0, 13, 65537] {
        let e = program.run(&vec![0; len]).unwrap_err();
        assert_eq!(e.errno(), errno::EINVAL);
    }
}

#[test]
fn buffers_are_reused_and_checked() {
    let vm = vm();
    let program = vm.load(ProgramSpec::xdp(ret(2))).unwrap();
    let mut buffer = vm.packet_buffer(ProgType::Xdp, 3, 100).unwrap();
    for round in 0..5u8 {
        buffer.clear();
        while !buffer.is_full() {
            buffer.push(&[round; 60]).unwrap();
        }
        assert_eq!(buffer.push(&[0; 60]).unwrap_err().errno(), errno::ENOSPC);
        program.run_buffer(&mut buffer).unwrap();
        assert!(
            buffer
                .outcomes()
                .all(|o| (o.retval, o.len, o.errno) == (2, 60, 0))
        );
        let mut data = Vec::new();
        buffer.read(2, &mut data).unwrap();
        assert_eq!(data, [round; 60]);
        assert!(buffer.read(3, &mut data).is_err());
    }
    let foreign = self::vm().load(ProgramSpec::xdp(ret(2))).unwrap();
    assert!(foreign.run_buffer(&mut buffer).is_err());
}

#[test]
fn flat_programs_get_the_memory_they_were_promised() {
    let vm = vm();
    // r0 = first byte; first byte = 9.
    let insns = vec![
        insn(0x71, 0, 1, 0, 0),
        insn(0x72, 1, 0, 0, 9),
        insn(0x95, 0, 0, 0, 0),
    ];
    let program = vm.load(ProgramSpec::flat(insns).flat_memory(1, 8)).unwrap();
    let out = program.test_run(&TestRun {
        data: &[5, 6],
        repeat: 2,
        ..TestRun::default()
    });
    let out = out.unwrap();
    assert_eq!((out.r0, out.data.as_slice()), (9, &[9, 6][..]));
    assert_eq!(program.run(&[]).unwrap_err().errno(), errno::EINVAL);
    assert_eq!(program.run(&[0; 9]).unwrap_err().errno(), errno::EINVAL);
}

#[test]
fn program_arrays_take_program_descriptors() {
    let vm = vm();
    let array = vm.create_map(MapSpec::prog_array("p", 2)).unwrap();
    let target = vm.load(ProgramSpec::xdp(ret(3))).unwrap();
    let not_a_program = vm.create_map(MapSpec::array("a", 4, 1)).unwrap();
    let put = |fd: i32| array.insert(&0u32.to_ne_bytes(), &fd.to_ne_bytes());
    assert_eq!(
        put(not_a_program.as_raw_fd()).unwrap_err().errno(),
        errno::EINVAL
    );
    assert_eq!(put(-1).unwrap_err().errno(), errno::EBADF);
    put(target.as_raw_fd()).unwrap();
    drop(target);
    // r2 = map; r3 = 0; tail_call; r0 = 1
    let insns = vec![
        insn(0x18, 2, 1, 0, array.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xb7, 3, 0, 0, 0),
        insn(0x85, 0, 0, 0, 12),
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ];
    let caller = vm.load(ProgramSpec::xdp(insns)).unwrap();
    assert_eq!(caller.run(&FRAME).unwrap().retval, 3);
    array.remove(&0u32.to_ne_bytes()).unwrap();
    assert_eq!(caller.run(&FRAME).unwrap().retval, 1);
}

#[test]
fn the_firewall_object_counts_what_it_lets_through() {
    let vm = vm();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../resources/programs");
    let object = vm.load_object(path.join("xdp_firewall.o")).unwrap();
    let program = object.program("firewall").unwrap();
    // An ARP frame passes.
    let mut arp = [0u8; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(program.run(&arp).unwrap().retval, 2);
    assert_eq!(object.global("bytes_seen").unwrap(), 60u64.to_le_bytes());
    let constants = object.map(".rodata").unwrap();
    let value = constants.get(&[0; 4]).unwrap().unwrap();
    assert_eq!(
        constants.insert(&[0; 4], &value).unwrap_err().errno(),
        errno::EPERM
    );
}

#[test]
fn settings_out_of_range_and_bad_names_are_the_callers_fault() {
    let e = Vm::builder().vcpus(0).boot().unwrap_err();
    assert!(matches!(e, Error::Caller(_)), "{e}");
    let vm = vm();
    let map = vm.create_map(MapSpec::array("far too long a name", 4, 1));
    assert_eq!(map.unwrap_err().errno(), errno::EINVAL);
    let map = vm.create_map(MapSpec::hash("h", 0, 4, 1));
    assert_eq!(map.unwrap_err().errno(), errno::EINVAL);
    let map = vm.create_map(MapSpec::array("big", 1 << 20, 1 << 20));
    assert_eq!(map.unwrap_err().errno(), errno::ENOMEM);
}

#[test]
fn a_verification_that_outgrows_its_budgets_ends_and_the_vm_lives() {
    // Every turn of the loop doubles what r7 may have been, with a full stack
    // that all those states carry along; in the end r7 matters.
    let slots: String = (1..=58)
        .map(|n| format!("*(u64 *)(r10 -{}) = r0\n", n * 8))
        .collect();
    let text = format!(
        "call bpf_ktime_get_ns#5
         {slots}
         r6 = 0
         r7 = 0
         loop:
         call bpf_get_prandom_u32#7
         if r0 == 0 goto skip
         r7 += 1
         skip:
         r6 += 1
         if r6 < 100000 goto loop
         r7 &= 31
         r2 = r10
         r2 -= r7
         *(u8 *)(r2 -1) = 0
         r0 = *(u64 *)(r10 -8)
         exit"
    );
    let insns = bpfvisor::asm::assemble(&text).unwrap();
    for heap in [16 << 20, 128 << 20] {
        let vm = Vm::builder().heap(heap).boot().unwrap();
        let error = vm
            .load(ProgramSpec::xdp(insns.clone()).license("GPL"))
            .unwrap_err();
        // Too much memory here, too many pending jumps there: a verdict.
        assert!(matches!(error, Error::Program(_)), "{heap}: {error}");
        let next = vm.load(ProgramSpec::xdp(ret(2))).unwrap();
        assert_eq!(next.run(&FRAME).unwrap().retval, 2);
    }
}

#[test]
fn a_callback_of_endless_rounds_is_a_verdict() {
    // Every round is another state: the list of where numbers came from grows by
    // millions.
    let insns = bpfvisor::asm::assemble(
        "*(u64 *)(r10 -8) = 0
         r1 = -9
         r2 = subprog[+8]
         r3 = r10
         r3 += -8
         r4 = 0
         call bpf_loop#181
         r8 = *(u32 *)(r10 -8)
         r1 = 0
         r0 = 1
         exit
         r3 = *(u64 *)(r2 +0)
         r3 += 1
         *(u64 *)(r2 +0) = r3
         r0 = 0
         exit",
    );
    let vm = Vm::builder().boot().unwrap();
    let refused = vm.load(ProgramSpec::xdp(insns.unwrap()).license("GPL"));
    let text = format!("{refused:?}");
    assert!(matches!(refused, Ok(_) | Err(Error::Program(_))), "{text}");
    let next = vm.load(ProgramSpec::xdp(ret(2))).unwrap();
    assert_eq!(next.run(&FRAME).unwrap().retval, 2);
}
