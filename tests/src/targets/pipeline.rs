//! Instructions through decoder, verifier and compiler in this process, without a
//! VM: what is accepted is run, compiled and interpreted. A false accept, or wrong
//! code for a true one, is then a crash here.

#[path = "../../../guest/tests/world/mod.rs"]
mod world;

use bpf_core::insn::Insn;
use bpf_core::uapi::ProgType;
use std::cell::OnceCell;
use world::World;

const TYPES: [ProgType; 4] = [
    ProgType::Flat,
    ProgType::Xdp,
    ProgType::SocketFilter,
    ProgType::SchedCls,
];
/// What programs run over.
const DATA: [u8; 64] = [0x45; 64];
/// Most instructions: loops stay short enough to be run through.
const MOST: usize = 256;
/// Instructions that the verifier may process.
const BUDGET: u32 = 20_000;

thread_local! {
    static WORLDS: OnceCell<[World; 2]> = const { OnceCell::new() };
}

/// A call of a function of the runtime, by its number.
fn called(insn: &[u8; 8]) -> Option<i32> {
    let [op, regs, .., a, b, c, d] = *insn;
    (op == 0x85 && regs >> 4 == 0).then(|| i32::from_le_bytes([a, b, c, d]))
}

/// `bpf_loop` and `bpf_for_each_map_elem`: millions of rounds that only a watchdog
/// would end.
const LONG: [i32; 2] = [181, 164];
/// `may_goto`: likewise.
const MAY_GOTO: u8 = 0xe5;

fn is_long(insn: &[u8; 8]) -> bool {
    insn[0] == MAY_GOTO || called(insn).is_some_and(|f| LONG.contains(&f))
}

pub(super) fn run(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else {
        return false;
    };
    let (insns, _) = rest.as_chunks::<8>();
    let insns = &insns[..insns.len().min(MOST)];
    if insns.is_empty() || insns.iter().any(is_long) {
        return false;
    }
    let prog_type = TYPES[usize::from(*kind) % TYPES.len()];
    WORLDS.with(|worlds| {
        let worlds = worlds.get_or_init(World::both);
        let ran = worlds
            .each_ref()
            .map(|w| through(w, prog_type, insns.as_flattened()));
        assert_eq!(
            ran[0], ran[1],
            "compiled and interpreted differ in the verdict"
        );
        ran[0]
    })
}

fn through(world: &World, prog_type: ProgType, insns: &[u8]) -> bool {
    let begin = world.mark();
    let loaded = world.try_load_bytes(prog_type, insns, |rec| {
        rec.insn_budget = BUDGET;
        (rec.flat_min, rec.flat_max) = (DATA.len() as u32, DATA.len() as u32);
    });
    let accepted = loaded.is_ok();
    if let Ok(handle) = loaded {
        let _ = world.run(handle, &DATA);
        world.unload(handle);
    }
    world.reset(begin);
    accepted
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let folder = crate::root().join("tests/cases");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = files.filter_map(|f| std::fs::read_to_string(f.path()).ok());
    let cases = texts.filter_map(|text| crate::cases::parse(&text).ok());
    let seed = |case: crate::cases::Case| {
        let kind = TYPES.iter().position(|t| *t == case.prog_type)?;
        let bytes = case.insns.iter().flat_map(|i: &Insn| i.to_bytes());
        Some([kind as u8].into_iter().chain(bytes).collect::<Vec<u8>>())
    };
    let all = cases.flatten().filter_map(seed);
    all.filter(|s| s.len() <= 8 * MOST).collect()
}
