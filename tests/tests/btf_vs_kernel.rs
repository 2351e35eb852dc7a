//! What BTF is taken: by us and by the running kernel, with which errno. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpf_core::btf;
use bpf_core::btf::kind;
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel::btf::Blob;
use bpfvisor_tests::kernel::{self, Btf};

/// Both answers, where they differ.
fn differ(blob: &[u8]) -> Option<String> {
    let here = btf::Btf::checked(blob).map(drop);
    let there = Btf::load(blob).map(drop).map_err(|e| e.errno);
    let same = here.as_ref().map_err(|d| d.errno) == there.as_ref().map_err(|e| *e);
    (!same).then(|| format!("{here:?} here, {there:?} there"))
}

/// A type of every kind, each where it may stand.
fn every_kind() -> Blob {
    let mut b = Blob::default();
    let int = b.int("int", 4);
    let byte = b.int("char", 1);
    let float = b.add("double", kind::FLOAT << 24, 8, &[]);
    let array = b.add("", kind::ARRAY << 24, 0, &[byte, int, 16]);
    let constant = b.add("", kind::CONST << 24, int, &[]);
    let tagged = b.add("user", kind::TYPE_TAG << 24, constant, &[]);
    let pointer = b.add("", kind::PTR << 24, tagged, &[]);
    let number = b.add("number", kind::TYPEDEF << 24, constant, &[]);
    let volatile = b.add("", kind::VOLATILE << 24, array, &[]);
    let one = b.string("ONE");
    let plain = b.add("e", (kind::ENUM << 24) | 1, 4, &[one, 1]);
    let wide = b.add("e64", (kind::ENUM64 << 24) | 1, 8, &[one, 1, 1]);
    let inner = b.structure("pair", 8, &[("a", int, 0), ("b", number, 32)]);
    let members = [
        ("p", pointer, 0),
        ("pair", inner, 64),
        ("text", volatile, 128),
        ("e", plain, 256),
        ("w", wide, 320),
        ("d", float, 384),
    ];
    let outer = b.structure("outer", 56, &members);
    let fields: Vec<u32> = [(int, 3, 0), (plain, 5, 3), (int, 0, 32)]
        .iter()
        .flat_map(|&(of, bits, at)| [one, of, (bits << 24) | at])
        .collect();
    b.add("fields", (1 << 31) | (kind::STRUCT << 24) | 3, 8, &fields);
    b.add("u", (kind::UNION << 24) | 1, 8, &[one, float, 0]);
    let forward = b.add("later", kind::FWD << 24, 0, &[]);
    let to_forward = b.add("", kind::PTR << 24, forward, &[]);
    let restrict = b.add("", kind::RESTRICT << 24, to_forward, &[]);
    let proto = b.proto(int, &[restrict, outer, number]);
    let f = b.add("f", (kind::FUNC << 24) | 1, proto, &[]);
    let var = b.add("v", kind::VAR << 24, outer, &[1]);
    let section = [var, 0, 56];
    b.add(".data", (kind::DATASEC << 24) | 1, 64, &section);
    b.add("tag", kind::DECL_TAG << 24, f, &[2]);
    b.add("tag", kind::DECL_TAG << 24, outer, &[u32::MAX]);
    b
}

fn in_words(blob: &[u8]) -> usize {
    blob.len() / 4
}

/// A blob with one to three changes, most of them to single numbers of its types.
fn changed(blob: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = blob.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(in_words(&out) as u64) as usize * 4;
        let old = u32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
        let other = rng.below(in_words(&out) as u64) as usize * 4;
        let new = match rng.below(10) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old ^ (1 << rng.below(32)),
            3 => rng.below(32) as u32,
            4 => 0,
            5 => u32::MAX,
            6 => (old & 0x80ff_ffff) | ((rng.below(22) as u32) << 24),
            7 => rng.below(64) as u32 * 8,
            8 => u32::from_ne_bytes(out[other..other + 4].try_into().unwrap()),
            _ => {
                let cut = rng.below(out.len() as u64 - 8) as usize;
                if rng.below(8) == 0 {
                    out.truncate(cut + 8);
                }
                continue;
            }
        };
        if at + 4 <= out.len() {
            out[at..at + 4].copy_from_slice(&new.to_ne_bytes());
        }
    }
    out
}

#[test]
fn every_kind_is_taken() {
    kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let blob = every_kind().bytes();
    assert_eq!(btf::Btf::checked(&blob).map(drop), Ok(()));
    assert_eq!(differ(&blob), None);
}

/// `COUNT=1000000` for more, `SEED` for others.
#[test]
fn changed_blobs_are_judged_as_by_the_kernel() {
    kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok().and_then(|n| n.parse().ok());
        given.unwrap_or(default)
    };
    let (count, seed) = (number("COUNT", 20_000), number("SEED", 1));
    let bases = [every_kind().bytes(), kernel::btf::functions()];
    let mut taken = 0;
    for seed in seed..seed + count {
        let mut rng = Rng::new(seed);
        let base = &bases[usize::from(rng.below(10) == 0)];
        let blob = changed(base, &mut rng);
        if let Some(how) = differ(&blob) {
            panic!("SEED={seed}: {how}\n{:08x?}", blob.as_chunks::<4>().0);
        }
        taken += u64::from(btf::Btf::checked(&blob).is_ok());
    }
    assert!(taken * 20 > count, "only {taken} of {count} are taken");
}

/// Chains of references as long as they may be, and longer; and circles.
#[test]
fn depth_and_circles_are_judged_as_by_the_kernel() {
    kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = String::new();
    let mut compare = |name: String, blob: &Blob| {
        if let Some(how) = differ(&blob.bytes()) {
            wrong += &format!("{name}: {how}\n");
        }
    };
    for of in [
        kind::CONST,
        kind::PTR,
        kind::ARRAY,
        kind::STRUCT,
        kind::TYPE_TAG,
    ] {
        for depth in [2u32, 30, 31, 32, 33, 34] {
            for backwards in [false, true] {
                for end in [0, depth + 1, 1] {
                    let mut b = Blob::default();
                    let int = depth + 2;
                    for nr in 1..=depth + 1 {
                        let (to, last) = match backwards {
                            false => (nr + 1, nr == depth + 1),
                            true => (nr.wrapping_sub(1), nr == 1),
                        };
                        let to = if last { end } else { to };
                        let to = if last && end == depth + 1 { int } else { to };
                        match of {
                            kind::ARRAY => b.add("", of << 24, 0, &[to, int, 1]),
                            kind::STRUCT => b.structure("s", 4, &[("m", to, 0)]),
                            kind::TYPE_TAG => b.add("t", of << 24, to, &[]),
                            _ => b.add("", of << 24, to, &[]),
                        };
                    }
                    b.int("int", 4);
                    compare(format!("{of} {depth} {backwards} {end}"), &b);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
