//! Program types: which bytes of their context they may touch, what they may
//! return, and what the types of cgroups and tunnels see of a packet.

use crate::contexts::{FIELDS, with};
use crate::duel::{Duel, Loaded};
use crate::packets::{BEGIN, IN, TYPES, frame, store_fields, udp, vlan};
use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::{ProgType, sk_buff as f};
use bpfvisor::{Error, ProgramSpec, Vm};
use bpfvisor_tests::kernel;

const ALL: [ProgType; 8] = [
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
    ProgType::Xdp,
    ProgType::CgroupSkb,
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
];
const RECEIVED: [ProgType; 4] = [
    ProgType::CgroupSkb,
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
];

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("needs a usable /dev/kvm: {e}"))
}

/// Whether both take the program; `None` where ours says that it means not to.
fn verdicts(vm: &Vm, kind: ProgType, attach: u32, insns: &[Insn]) -> Option<(bool, bool)> {
    let spec = ProgramSpec::new(kind, insns).license("GPL");
    let ours = match vm.load(spec.attach_type(attach)) {
        Ok(_) => true,
        Err(Error::Program(r)) if r.unsupported => return None,
        Err(_) => false,
    };
    let theirs = kernel::Prog::load(&kernel::ProgSpec {
        attach_type: attach,
        ..kernel::ProgSpec::new(kind, insns)
    });
    Some((ours, theirs.is_ok()))
}

/// Every offset, size and direction.
#[test]
fn accesses_to_the_context() {
    kernel::require().unwrap();
    let vm = vm();
    let ret = [Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
    // Loads, loads with sign, stores of registers and of numbers, by size.
    let codes = [
        [0x71, 0x69, 0x61, 0x79].as_slice(),
        &[0x91, 0x89, 0x81],
        &[0x73, 0x6b, 0x63, 0x7b],
        &[0x72, 0x6a, 0x62, 0x7a],
    ];
    let (mut yes, mut no, mut unsupported) = (0, 0, 0);
    for kind in ALL {
        for off in -8..204 {
            for (class, sizes) in codes.iter().enumerate() {
                for &code in *sizes {
                    let (dst, src) = if class < 2 { (0, 1) } else { (1, 0) };
                    let access = Insn::new(code, dst, src, off, 0);
                    let insns = [ret[0], access, ret[0], ret[1]];
                    match verdicts(&vm, kind, 0, &insns) {
                        None => unsupported += 1,
                        Some((ours, theirs)) => {
                            assert_eq!(ours, theirs, "{kind:?}: {code:#x} at {off}");
                            *(if ours { &mut yes } else { &mut no }) += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(yes > 1000 && no > 5000 && unsupported < 50);
}

#[test]
fn what_cgroup_programs_may_return() {
    kernel::require().unwrap();
    let vm = vm();
    let bodies = [
        "r0 = 0",
        "r0 = 1",
        "r0 = 2",
        "r0 = 3",
        "r0 = 4",
        "r0 = -1",
        "r0 = r1",
        "r0 = *(u32 *)(r1 +0)",
        "r0 = *(u32 *)(r1 +0)\nr0 &= 1",
        "r0 = *(u32 *)(r1 +0)\nr0 &= 3",
        "r0 = *(u32 *)(r1 +0)\nr0 &= 7",
    ];
    for attach in [0, 1, 2, 3, 50] {
        for body in bodies {
            let insns = assemble(&format!("{body}\nexit\n")).unwrap();
            let answer = verdicts(&vm, ProgType::CgroupSkb, attach, &insns);
            let (ours, theirs) = answer.unwrap();
            assert_eq!(ours, theirs, "attach type {attach}: {body}");
        }
    }
}

/// What only cgroup programs see.
const CGROUP_FIELDS: [(u32, u32); 12] = [
    (f::FAMILY, 4),
    (f::REMOTE_IP4, 4),
    (f::LOCAL_IP4, 4),
    (f::REMOTE_IP6, 4),
    (f::REMOTE_IP6 + 12, 4),
    (f::LOCAL_IP6, 4),
    (f::LOCAL_IP6 + 8, 4),
    (f::REMOTE_PORT, 4),
    (f::LOCAL_PORT, 4),
    (f::TSTAMP, 8),
    (f::HWTSTAMP, 8),
    (f::PRIORITY, 4),
];

fn reader(duel: &Duel, kind: ProgType, ret: i32) -> Loaded<'_> {
    let mut text = BEGIN.to_string();
    text += &store_fields(&FIELDS, 0);
    text += &format!(
        "r1 = *(u32 *)(r6 +{})\nr2 = *(u32 *)(r6 +{})\nr3 = r2\nr3 -= r1\n\
         *(u64 *)(r9 +512) = r3\nr3 = r1\nr3 += 4\nif r3 > r2 goto short\n\
         r4 = *(u32 *)(r1 +0)\n*(u64 *)(r9 +520) = r4\nshort:\n",
        f::DATA,
        f::DATA_END
    );
    if kind == ProgType::CgroupSkb {
        text += &store_fields(&CGROUP_FIELDS, 528);
    }
    text += &format!("r0 = {ret}\nexit\n");
    duel.load(&format!("{kind:?} reader"), kind, &[IN], &text)
}

#[test]
fn packets_as_received() {
    let duel = Duel::new();
    for kind in RECEIVED {
        let program = reader(&duel, kind, 1);
        for ethertype in TYPES {
            for len in (0..70).chain([100, 1500, 3520]) {
                let data = match len {
                    ..14 => vec![0; len],
                    _ => frame(ethertype, len),
                };
                program.run(&format!("{ethertype:#x}, {len} bytes"), &data, &[]);
            }
        }
        for (what, data) in [("v4", udp(4, 80)), ("v6", udp(6, 80)), ("vlan", vlan(80))] {
            program.run(what, &data, &[]);
            for word in 0..48u32 {
                for value in [1, 80, 0xffff, u32::MAX] {
                    if word * 4 == f::IFINDEX && value > 1 {
                        continue;
                    }
                    let label = format!("{what}, byte {} = {value:#x}", word * 4);
                    program.run(&label, &data, &with(192, &[(word * 4, value)]));
                }
            }
        }
    }
    duel.finish(4000);
}

/// Tunnel programs on their way out write to the packet and change its room.
#[test]
fn tunnels_change_packets() {
    let duel = Duel::new();
    let write = format!(
        "{BEGIN}r1 = *(u32 *)(r6 +{})\nr2 = *(u32 *)(r6 +{})\nr3 = r1\nr3 += 8\n\
         if r3 > r2 goto short\nr4 = 4660\n*(u16 *)(r1 +6) = r4\n",
        f::DATA,
        f::DATA_END
    );
    let end = "*(u64 *)(r9 +0) = r0\nshort:\nr0 = 0\nexit\n";
    let calls = [
        "r0 = 0\n",
        "r1 = r6\nr2 = 40\nr3 = 0\ncall bpf_skb_change_tail\n",
        "r1 = r6\nr2 = 14\nr3 = 0\ncall bpf_skb_change_head\n",
        "r1 = r6\nr2 = 0\ncall bpf_skb_pull_data\n",
        "r1 = r6\nr2 = 4\nr3 = r9\nr4 = 8\nr5 = 0\ncall bpf_skb_store_bytes\n",
        "r1 = r6\nr2 = 10\nr3 = 0\nr4 = 1\nr5 = 2\ncall bpf_l3_csum_replace\n",
        "r1 = 3\nr2 = 0\ncall bpf_redirect\n",
        "r1 = r6\ncall bpf_get_hash_recalc\nr0 = 0\n",
    ];
    for call in calls {
        let text = format!("{write}{call}{end}");
        let program = duel.load(call, ProgType::LwtXmit, &[IN], &text);
        for len in [14, 20, 22, 34, 60, 100, 1500] {
            program.run(&format!("{len} bytes"), &frame(0x88cc, len), &[]);
        }
        program.run("v4", &udp(4, 80), &[]);
        program.run("v6", &udp(6, 80), &[]);
    }
    duel.finish(130);
}
