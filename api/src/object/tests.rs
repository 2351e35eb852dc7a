#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use bpf_core::insn::op;

fn resource(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/programs");
    std::fs::read(path.join(name)).unwrap()
}

fn firewall() -> ObjectFile {
    ObjectFile::parse("xdp_firewall", &resource("xdp_firewall.o")).unwrap()
}

#[test]
fn programs_maps_and_globals_are_found() {
    let object = firewall();
    let programs: Vec<_> = object.programs().collect();
    assert_eq!(programs.len(), 1);
    assert_eq!(programs[0].prog_type, Some(ProgType::Xdp));
    let maps: Vec<&str> = object.maps().collect();
    for name in ["rules", "reasons", ".rodata", ".bss", ".data"] {
        assert!(maps.contains(&name), "{name} is not among {maps:?}");
    }
    let rules = object.maps.iter().find(|m| m.name == "rules").unwrap();
    assert_eq!(
        (
            rules.map_type,
            rules.key_size,
            rules.value_size,
            rules.max_entries
        ),
        (1, 4, 16, 1024)
    );
}

#[test]
fn functions_are_appended_and_every_map_load_names_a_map() {
    let object = firewall();
    let linked = object.programs[0].linked.as_ref().unwrap();
    assert!(!linked.map_loads.is_empty());
    for &at in &linked.map_loads {
        assert!((linked.insns[at].imm as usize) < object.maps.len());
        assert!(matches!(
            linked.insns[at].src,
            op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE
        ));
    }
    let calls = linked
        .insns
        .iter()
        .enumerate()
        .filter(|(_, i)| i.opcode == op::JMP | op::CALL && i.src == op::PSEUDO_CALL);
    let mut seen = 0;
    for (at, call) in calls {
        let target = at as i64 + 1 + i64::from(call.imm);
        assert!(target > 0 && (target as usize) < linked.insns.len());
        // A function begins after the end of another one.
        assert_eq!(linked.insns[target as usize - 1].opcode, op::JMP | op::EXIT);
        seen += 1;
    }
    assert!(seen > 0, "the example has functions of its own");
}

#[test]
fn globals_are_set_before_load_with_their_exact_size() {
    let mut object = firewall();
    object.set_global("allow_non_ip", &[0]).unwrap();
    assert!(object.set_global("allow_non_ip", &[0, 0]).is_err());
    let e = object.set_global("nonsense", &[0]).unwrap_err();
    assert!(e.to_string().contains("allow_non_ip"), "{e}");
    let global = find_global(&object.globals, "longest_packet").unwrap();
    let data = object.maps[global.map].data.as_ref().unwrap();
    assert_eq!(data[global.offset..global.offset + 4], 60u32.to_le_bytes());
}

#[test]
fn what_is_not_an_object_is_told_apart() {
    for (bytes, what) in [
        (&b""[..], "not an ELF file"),
        (b"\x7fELF\x01\x01", "32-bit"),
        (b"\x7fELF\x02\x02", "big-endian"),
        (b"\x7fELF\x02\x01", "damaged"),
    ] {
        let e = ObjectFile::parse("x", bytes).unwrap_err();
        assert!(e.to_string().contains(what), "{e}");
    }
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let e = ObjectFile::parse("x", &own).unwrap_err();
    assert!(e.to_string().contains("-target bpf"), "{e}");
}

#[test]
fn truncated_and_damaged_objects_never_panic() {
    let good = resource("xdp_firewall.o");
    for len in (0..good.len()).step_by(37) {
        let _ = ObjectFile::parse("x", &good[..len]);
    }
    // Flip bits all over, most of all in headers and tables.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3000 {
        let mut bad = good.clone();
        for _ in 0..4 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = seed as usize % bad.len();
            bad[at] = (seed >> 32) as u8;
        }
        let _ = ObjectFile::parse("x", &bad);
    }
}

#[test]
fn section_names_mean_what_libbpf_says() {
    let type_of = |s: &str| section::meaning(s).map(|m| m.prog_type);
    assert_eq!(type_of("xdp"), Some(ProgType::Xdp));
    assert_eq!(type_of("xdp/anything"), Some(ProgType::Xdp));
    assert_eq!(type_of("tc"), Some(ProgType::SchedCls));
    assert_eq!(type_of("tcx/ingress"), Some(ProgType::SchedCls));
    assert_eq!(type_of("classifier/x"), Some(ProgType::SchedCls));
    assert_eq!(type_of("action"), Some(ProgType::SchedAct));
    assert_eq!(type_of("socket1"), Some(ProgType::SocketFilter));
    assert_eq!(type_of("kprobe/sys_open"), Some(ProgType::Kprobe));
    assert_eq!(type_of("whatever"), None);
    assert!(!section::autoload("?xdp") && section::autoload("xdp"));
    assert_ne!(section::meaning("xdp.frags").unwrap().flags, 0);
}
