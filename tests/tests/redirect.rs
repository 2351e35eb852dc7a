//! Redirections are reported with their target, one by one and by batch. Needs
//! /dev/kvm. (That verdicts are the kernel's, `helpers_vs_kernel` shows.)
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpf_core::asm::assemble;
use bpf_core::uapi::{MapType, ProgType};
use bpfvisor::{MapSpec, Program, ProgramSpec, Redirect, Vm};
use std::os::fd::AsRawFd;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

fn load(vm: &Vm, prog_type: ProgType, text: &str) -> Program {
    let insns = assemble(text).unwrap();
    vm.load(ProgramSpec::new(prog_type, insns)).unwrap()
}

/// Runs alone and as one of a batch, which must agree.
fn target(program: &Program) -> (u32, Option<Redirect>) {
    let data: &[u8] = &[0; 64];
    let one = program.run(data).unwrap();
    for out in program.run_batch(&[data, data]).unwrap() {
        assert_eq!((out.retval, out.redirect), (one.retval, one.redirect));
    }
    (one.retval, one.redirect)
}

#[test]
fn interfaces() {
    let vm = vm();
    let call = |kind, helper, flags| {
        let text = format!("r1 = 7\nr2 = {flags}\nr3 = 0\nr4 = 0\ncall {helper}\nexit\n");
        target(&load(&vm, kind, &text))
    };
    let to = |index, ingress| Some(Redirect::Interface { index, ingress });
    let (xdp, tc) = (ProgType::Xdp, ProgType::SchedCls);
    assert_eq!(call(xdp, "bpf_redirect", 0), (4, to(7, false)));
    assert_eq!(call(xdp, "bpf_redirect", 1), (0, None));
    assert_eq!(call(tc, "bpf_redirect", 0), (7, to(7, false)));
    assert_eq!(call(tc, "bpf_redirect", 1), (7, to(7, true)));
    assert_eq!(call(tc, "bpf_redirect", 2), (2, None));
    let peer = Some(Redirect::Peer { index: 7 });
    assert_eq!(call(tc, "bpf_redirect_peer", 0), (7, peer));
    let neighbour = Some(Redirect::Neighbour { index: 7 });
    assert_eq!(call(tc, "bpf_redirect_neigh", 0), (7, neighbour));
}

#[test]
fn entries_of_maps() {
    let vm = vm();
    for map_type in [
        MapType::Devmap,
        MapType::DevmapHash,
        MapType::Cpumap,
        MapType::Xskmap,
    ] {
        let map = MapSpec::new("to", map_type, 4, 4, 8);
        let map = vm.create_map(map).unwrap();
        map.insert(&3u32.to_ne_bytes(), &5u32.to_ne_bytes())
            .unwrap();
        let call = |key, flags| {
            let text = format!(
                "r1 = map[id:{}]\nr2 = {key}\nr3 = {flags}\ncall bpf_redirect_map\nexit\n",
                map.as_raw_fd()
            );
            target(&load(&vm, ProgType::Xdp, &text))
        };
        let (id, key) = (map.id(), 3);
        let entry = Some(Redirect::Entry { map: id, key });
        assert_eq!(call(3, 0), (4, entry), "{map_type:?}");
        assert_eq!(call(4, 2), (2, None), "{map_type:?}");
        if matches!(map_type, MapType::Devmap | MapType::DevmapHash) {
            for (flags, exclude_ingress) in [(8, false), (24, true)] {
                let map = id;
                let all = Redirect::Broadcast {
                    map,
                    exclude_ingress,
                };
                assert_eq!(call(4, flags), (4, Some(all)), "{map_type:?}");
            }
        }
    }
}

/// The last choice of a run holds, and none of the run before.
#[test]
fn only_of_this_run() {
    let vm = vm();
    let text = "r1 = 7\nr2 = 0\ncall bpf_redirect\nr1 = 9\nr2 = 0\ncall bpf_redirect\nexit\n";
    let index = 9;
    let nine = Some(Redirect::Interface {
        index,
        ingress: false,
    });
    assert_eq!(target(&load(&vm, ProgType::Xdp, text)), (4, nine));
    let bare = load(&vm, ProgType::Xdp, "r0 = 4\nexit\n");
    assert_eq!(target(&bare), (4, None));
    let other = "r1 = 7\nr2 = 0\ncall bpf_redirect\nr0 = 2\nexit\n";
    assert_eq!(target(&load(&vm, ProgType::Xdp, other)), (2, None));
}
