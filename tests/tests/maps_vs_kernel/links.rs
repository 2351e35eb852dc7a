//! Maps whose values name maps and programs: random sequences of operations from
//! outside, with every slot used by a program after each.

use super::pair::vm;
use bpf_core::asm::assemble;
use bpf_core::uapi::{Cmd, MapType, ProgType, map_flags};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

const MAX: u32 = 4;
/// What a program answers that found nothing.
const NOTHING: u32 = 1000;

type Answer = Result<Option<u32>, i32>;

/// What values can name, on one side: descriptors, and their objects.
struct Things<M, P> {
    maps: Vec<M>,
    programs: Vec<P>,
}

/// Descriptors in an order that is the same on both sides: three maps that fit,
/// one that doesn't, three programs that fit, one that doesn't.
impl<M: AsRawFd, P: AsRawFd> Things<M, P> {
    fn fds(&self) -> Vec<i32> {
        let maps = self.maps.iter().map(AsRawFd::as_raw_fd);
        maps.chain(self.programs.iter().map(AsRawFd::as_raw_fd))
            .collect()
    }
}

struct Two {
    ours: Map,
    theirs: kernel::Map,
    things: Things<Map, Program>,
    their_things: Things<kernel::Map, kernel::Prog>,
    user: Program,
    their_user: kernel::Prog,
    io: Map,
    their_io: kernel::Map,
    /// Which thing an id means, as far as they were ever read.
    ids: [BTreeMap<u32, usize>; 2],
}

/// Returns the number `n`.
fn constant(n: usize) -> String {
    format!("r0 = {n}\nexit\n")
}

/// Uses the slot that the array `io` says: the number in the inner map, or what
/// the program there returns.
fn user(map_type: MapType, map: i32, io: i32) -> String {
    match map_type {
        MapType::ProgArray => format!(
            "r9 = map[id:{io}][0]+0\nr3 = *(u32 *)(r9 +0)\nr2 = map[id:{map}]\n\
             call bpf_tail_call\nr0 = {NOTHING}\nexit\n"
        ),
        _ => format!(
            "r2 = map[id:{io}][0]+0\nr1 = map[id:{map}]\ncall bpf_map_lookup_elem\n\
             if r0 == 0 goto none\nr1 = r0\n*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\n\
             call bpf_map_lookup_elem\nif r0 == 0 goto none\nr0 = *(u32 *)(r0 +0)\nexit\n\
             none:\nr0 = {NOTHING}\nexit\n"
        ),
    }
}

fn things(vm: &Vm) -> Things<Map, Program> {
    let number = |n: u32, max| {
        let map = vm.create_map(MapSpec::array("i", 4, max)).unwrap();
        map.insert(&[0; 4], &n.to_ne_bytes()).unwrap();
        map
    };
    let load = |kind, n| {
        let spec = ProgramSpec::new(kind, assemble(&constant(n)).unwrap());
        vm.load(spec).unwrap()
    };
    Things {
        maps: vec![number(0, 1), number(1, 1), number(2, 1), number(3, 2)],
        programs: vec![
            load(ProgType::Xdp, 4),
            load(ProgType::Xdp, 5),
            load(ProgType::Xdp, 6),
            load(ProgType::SocketFilter, 7),
        ],
    }
}

fn their_things() -> Things<kernel::Map, kernel::Prog> {
    let number = |n: u32, max| {
        let map = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 4, max)).unwrap();
        map.update(&[0; 4], &n.to_ne_bytes(), 0).unwrap();
        map
    };
    let load = |kind, n| {
        let code = assemble(&constant(n)).unwrap();
        kernel::Prog::load(&kernel::ProgSpec::new(kind, &code)).unwrap()
    };
    Things {
        maps: vec![number(0, 1), number(1, 1), number(2, 1), number(3, 2)],
        programs: vec![
            load(ProgType::Xdp, 4),
            load(ProgType::Xdp, 5),
            load(ProgType::Xdp, 6),
            load(ProgType::SocketFilter, 7),
        ],
    }
}

impl Two {
    fn new(vm: &Vm, map_type: MapType, flags: u32) -> Self {
        let (things, their_things) = (things(vm), their_things());
        let of_maps = map_type != MapType::ProgArray;
        let spec = MapSpec::new("o", map_type, 4, 4, MAX).flags(flags);
        let spec = match of_maps {
            true => spec.inner(&things.maps[0]),
            false => spec,
        };
        let ours = vm.create_map(spec).unwrap();
        let theirs = kernel::Map::create(&kernel::MapSpec {
            inner: of_maps.then(|| their_things.maps[0].as_fd()),
            ..kernel::MapSpec::new(map_type, 4, 4, MAX).flags(flags)
        });
        let theirs = theirs.unwrap();
        let io = vm.create_map(MapSpec::array("io", 4, 1)).unwrap();
        let their_io = kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, 4, 1)).unwrap();
        let code = user(map_type, ours.as_raw_fd(), io.as_raw_fd());
        let user_program = vm.load(ProgramSpec::xdp(assemble(&code).unwrap())).unwrap();
        let code = user(map_type, theirs.as_raw_fd(), their_io.as_raw_fd());
        let code = assemble(&code).unwrap();
        let their_user = kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &code)).unwrap();
        Self {
            ours,
            theirs,
            things,
            their_things,
            user: user_program,
            their_user,
            io,
            their_io,
            ids: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    /// A thing's descriptor on both sides; behind the last one, none.
    fn fds(&self, thing: usize) -> [i32; 2] {
        let at = |all: Vec<i32>| all.get(thing).copied().unwrap_or(-1);
        [at(self.things.fds()), at(self.their_things.fds())]
    }

    /// What a slot names now is what was put there, by its id.
    fn named(&mut self, side: usize, id: Option<Vec<u8>>, thing: Option<usize>) -> Option<u32> {
        let id = u32::from_ne_bytes(id?.try_into().unwrap());
        let thing = thing.expect("a value where nothing was put");
        assert_eq!(*self.ids[side].entry(id).or_insert(thing), thing, "id {id}");
        Some(thing as u32)
    }

    fn uses(&self, key: &[u8]) -> [u32; 2] {
        self.io.insert(&[0; 4], key).unwrap();
        self.their_io.update(&[0; 4], key, 0).unwrap();
        let theirs = self.their_user.run(&kernel::RunSpec::data(&[0; 64]));
        [
            self.user.run(&[0; 64]).unwrap().retval,
            theirs.unwrap().retval,
        ]
    }

    fn batch_update(&self, keys: &[u8], things: &[usize]) -> [(usize, Result<(), i32>); 2] {
        let values = |side: usize| -> Vec<u8> {
            let fds = things.iter().map(|t| self.fds(*t)[side]);
            fds.flat_map(i32::to_ne_bytes).collect()
        };
        let (count, done) = self.ours.update_batch(keys, &values(0), 0);
        let mut keys = keys.to_vec();
        let theirs = &self.theirs;
        let (theirs, n, _) = theirs.batch(Cmd::MapUpdateBatch, None, &mut keys, &mut values(1), 0);
        let theirs = theirs.map_err(|e| e.errno);
        // Refused as a whole, the kernel leaves the count as it was.
        let n = if theirs == Err(524) { 0 } else { n };
        [(count, done.map_err(|e| e.errno())), (n, theirs)]
    }
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let key = rng.pick(&[0u32, 1, 2, 3, 3, 4, 5, u32::MAX]);
    key.to_ne_bytes().to_vec()
}

fn sequence(map_type: MapType, flags: u32, seed: u64) {
    let vm = vm();
    let mut two = Two::new(&vm, map_type, flags);
    let mut rng = Rng::new(seed);
    // What each key names: things that the kernel took.
    let mut model = BTreeMap::new();
    for round in 0..600 {
        let k = key(&mut rng);
        let thing = rng.below(9) as usize;
        let flags = rng.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
        let op = rng.below(8);
        let what = format!("{map_type:?}, round {round}: operation {op}, {k:?}, thing {thing}");
        let none = |r: bpfvisor::Result<()>| r.map(|()| None).map_err(|e| e.errno());
        let theirs_none = |r: kernel::Result<()>| r.map(|()| None).map_err(|e| e.errno);
        let (a, b): (Answer, Answer) = match op {
            0..=2 => {
                let [x, y] = two.fds(thing).map(i32::to_ne_bytes);
                let b = theirs_none(two.theirs.update(&k, &y, flags));
                if b.is_ok() {
                    model.insert(k.clone(), thing);
                }
                (none(two.ours.update(&k, &x, flags)), b)
            }
            3 => {
                let b = theirs_none(two.theirs.delete(&k));
                if b.is_ok() {
                    model.remove(&k);
                }
                (none(two.ours.remove(&k)), b)
            }
            4 => {
                let a = two.ours.lookup_and_delete(&k).map_err(|e| e.errno());
                let b = two.theirs.lookup_and_delete(&k).map_err(|e| e.errno);
                let thing = model.get(&k).copied();
                if b.is_ok() {
                    model.remove(&k);
                }
                (
                    a.map(|v| two.named(0, v, thing)),
                    b.map(|v| two.named(1, v, thing)),
                )
            }
            5 => {
                let a = two.ours.next_key(Some(&k)).map_err(|e| e.errno());
                let b = two.theirs.next_key(Some(&k)).map_err(|e| e.errno);
                // The order of a hash table's keys is nobody's promise.
                let hash = map_type == MapType::HashOfMaps;
                let shown = |k: Option<Vec<u8>>| {
                    let k = k.map(|k| u32::from_ne_bytes(k.try_into().unwrap()));
                    if hash { None } else { k }
                };
                (a.map(shown), b.map(shown))
            }
            6 => {
                let keys = [k.clone(), key(&mut rng)];
                let things = [thing, rng.below(9) as usize];
                let [a, b] = two.batch_update(&keys.concat(), &things);
                assert_eq!(a, b, "{what}: ours, the kernel's");
                for (k, thing) in keys.into_iter().zip(things).take(b.0) {
                    model.insert(k, thing);
                }
                continue;
            }
            _ => {
                let a = two.ours.get(&k).map_err(|e| e.errno());
                let b = two.theirs.lookup(&k).map_err(|e| e.errno);
                let thing = model.get(&k).copied();
                (
                    a.map(|v| two.named(0, v, thing)),
                    b.map(|v| two.named(1, v, thing)),
                )
            }
        };
        assert_eq!(a, b, "{what}, flags {flags:#x}: ours, the kernel's");
        let [ours, theirs] = two.uses(&k);
        assert_eq!(ours, theirs, "{what}, used: ours, the kernel's");
        let right = model.get(&k).map_or(NOTHING, |thing| *thing as u32);
        assert_eq!(ours, right, "{what}, used");
    }
    let (a, b) = (two.ours.freeze(), two.theirs.freeze());
    assert_eq!(a.map_err(|e| e.errno()), b.map_err(|e| e.errno));
}

#[test]
fn random_sequences() {
    kernel::require().unwrap();
    sequence(MapType::ProgArray, 0, 1);
    sequence(MapType::ArrayOfMaps, 0, 2);
    sequence(MapType::HashOfMaps, 0, 3);
    sequence(MapType::HashOfMaps, map_flags::NO_PREALLOC, 4);
}
