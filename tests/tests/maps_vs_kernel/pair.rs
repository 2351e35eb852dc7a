//! A map of ours and one of the kernel, and operations on both.

use bpf_core::insn::Insn;
use bpf_core::uapi::{Cmd, MapType, ProgType, map_flags};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use bpfvisor_tests::kernel;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub map_type: MapType,
    pub key: u32,
    pub value: u32,
    pub max: u32,
    pub flags: u32,
}

#[derive(Clone, Debug)]
pub enum Op {
    Update(Vec<u8>, Vec<u8>, u64),
    Delete(Vec<u8>),
    Lookup(Vec<u8>),
    Take(Vec<u8>),
    NextKey(Vec<u8>),
    UpdateBatch(Vec<(Vec<u8>, Vec<u8>)>),
    DeleteBatch(Vec<Vec<u8>>),
    ProgUpdate(Vec<u8>, Vec<u8>, u64),
    ProgDelete(Vec<u8>),
    ProgLookup(Vec<u8>),
    ProgPush(Vec<u8>, u64),
    ProgPop,
    ProgPeek,
}

/// Errno, or what came (nothing for "no such key").
type Answer = Result<Option<Vec<u8>>, i32>;

pub fn vm() -> Vm {
    let cpus = kernel::possible_cpus() as u32;
    let vm = Vm::builder().memory(64 << 20).vcpus(cpus).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

/// What programs are told and answer: flags, result, key, value.
const IO: u32 = 160;
const KEY: usize = 16;
const VALUE: usize = 80;
/// The result of a lookup that found something.
const FOUND: i64 = 1;

pub struct Pair {
    shape: Shape,
    pub ours: Map,
    pub theirs: kernel::Map,
    io: Map,
    kernel_io: kernel::Map,
    programs: BTreeMap<&'static str, (Program, kernel::Prog)>,
    value_len: usize,
}

impl Pair {
    pub fn new(vm: &Vm, shape: Shape) -> Self {
        kernel::require().unwrap();
        let Shape {
            map_type,
            key,
            value,
            max,
            flags,
        } = shape;
        let ours = MapSpec::new("m", map_type, key, value, max).flags(flags);
        let ours = vm.create_map(ours).unwrap();
        let spec = kernel::MapSpec::new(map_type, key, value, max).flags(flags);
        let theirs = kernel::Map::create(&spec).unwrap();
        assert_eq!(ours.value_len(), theirs.value_len());
        let io = vm.create_map(MapSpec::array("io", IO, 1)).unwrap();
        let kernel_io =
            kernel::Map::create(&kernel::MapSpec::new(MapType::Array, 4, IO, 1)).unwrap();
        let mut pair = Self {
            shape,
            value_len: ours.value_len(),
            ours,
            theirs,
            io,
            kernel_io,
            programs: BTreeMap::new(),
        };
        pair.load(vm);
        pair
    }

    fn is_queue(&self) -> bool {
        matches!(self.shape.map_type, MapType::Queue | MapType::Stack)
    }

    fn is_per_cpu(&self) -> bool {
        self.value_len != self.shape.value as usize
    }

    fn load(&mut self, vm: &Vm) {
        let names: &[(&str, i32)] = match self.is_queue() {
            true => &[("push", 87), ("pop", 88), ("peek", 89)],
            false => &[("lookup", 1), ("update", 2), ("delete", 3)],
        };
        for (name, helper) in names {
            let ours = program(
                *helper,
                self.shape.value,
                self.ours.as_raw_fd(),
                self.io.as_raw_fd(),
            );
            let theirs = program(
                *helper,
                self.shape.value,
                self.theirs.as_raw_fd(),
                self.kernel_io.as_raw_fd(),
            );
            let ours = vm.load(ProgramSpec::xdp(ours)).unwrap();
            let theirs =
                kernel::Prog::load(&kernel::ProgSpec::new(ProgType::Xdp, &theirs)).unwrap();
            self.programs.insert(name, (ours, theirs));
        }
    }

    /// Both do it, and agree.
    pub fn check(&self, op: &Op, round: u32) {
        if let Op::NextKey(key) = op {
            return self.check_next_key(key, round);
        }
        let (ours, theirs) = (self.ours(op), self.theirs(op));
        assert_eq!(
            ours, theirs,
            "{:?}, round {round}: {op:?}: ours, the kernel's",
            self.shape
        );
        match op {
            Op::ProgUpdate(key, value, _) if self.is_per_cpu() => self.level(key, value, round),
            _ => {}
        }
    }

    /// What a program changed is its own CPU's value, whichever that was: the values
    /// of all are the same but for their order. Then every CPU gets `value`.
    fn level(&self, key: &[u8], value: &[u8], round: u32) {
        let sorted = |all: Option<Vec<u8>>| {
            let step = self.value_len / self.cpus();
            let one = |v: &[u8]| v[..value.len()].to_vec();
            let mut all: Vec<_> = all.iter().flat_map(|a| a.chunks(step).map(one)).collect();
            all.sort_unstable();
            all
        };
        let ours = self.ours.get(key).map(sorted).map_err(|e| e.errno());
        let theirs = self.theirs.lookup(key).map(sorted).map_err(|e| e.errno);
        assert_eq!(ours, theirs, "{:?}, round {round}: {key:?}", self.shape);
        let writable = self.shape.flags & map_flags::RDONLY == 0;
        if writable && ours.is_ok_and(|values| !values.is_empty()) {
            self.ours.update(key, &self.all(value), 0).unwrap();
            self.theirs.update(key, &self.all(value), 0).unwrap();
        }
    }

    fn cpus(&self) -> usize {
        self.value_len / (self.shape.value as usize).next_multiple_of(8)
    }

    /// The values that a host passes: every CPU's for per-CPU maps.
    fn all(&self, value: &[u8]) -> Vec<u8> {
        if !self.is_per_cpu() {
            return value.to_vec();
        }
        let mut one = value.to_vec();
        one.resize(value.len().next_multiple_of(8), 0);
        one.repeat(self.value_len / one.len())
    }

    fn ours(&self, op: &Op) -> Answer {
        let none = |r: bpfvisor::Result<()>| r.map(|()| None).map_err(|e| e.errno());
        let m = &self.ours;
        match op {
            Op::Update(k, v, f) => none(m.update(k, &self.all(v), *f)),
            Op::Delete(k) => none(m.remove(k)),
            Op::Lookup(k) => m.get(k).map_err(|e| e.errno()),
            Op::Take(k) => m.lookup_and_delete(k).map_err(|e| e.errno()),
            Op::UpdateBatch(all) => {
                let keys: Vec<u8> = all.iter().flat_map(|e| e.0.clone()).collect();
                let values: Vec<u8> = all.iter().flat_map(|e| self.all(&e.1)).collect();
                if self.is_queue() {
                    return Err(524);
                }
                counted(m.update_batch(&keys, &values, 0), |e| e.errno())
            }
            Op::DeleteBatch(all) if !self.is_queue() => {
                counted(m.delete_batch(&all.concat()), |e| e.errno())
            }
            Op::DeleteBatch(_) => Err(524),
            _ => self.by_program(op, true),
        }
    }

    fn theirs(&self, op: &Op) -> Answer {
        let none = |r: kernel::Result<()>| r.map(|()| None).map_err(|e| e.errno);
        let m = &self.theirs;
        match op {
            Op::Update(k, v, f) => none(m.update(k, &self.all(v), *f)),
            Op::Delete(k) => none(m.delete(k)),
            Op::Lookup(k) => m.lookup(k).map_err(|e| e.errno),
            Op::Take(k) => m.lookup_and_delete(k).map_err(|e| e.errno),
            Op::UpdateBatch(all) => {
                let mut keys: Vec<u8> = all.iter().flat_map(|e| e.0.clone()).collect();
                let mut values: Vec<u8> = all.iter().flat_map(|e| self.all(&e.1)).collect();
                if self.is_queue() {
                    keys = vec![0; 4];
                    values = vec![0; 4 * self.value_len];
                    return self.theirs_batch(Cmd::MapUpdateBatch, &mut keys, &mut values, 0);
                }
                self.theirs_batch(Cmd::MapUpdateBatch, &mut keys, &mut values, all.len())
            }
            Op::DeleteBatch(_) if self.is_queue() => Err(524),
            Op::DeleteBatch(all) => {
                self.theirs_batch(Cmd::MapDeleteBatch, &mut all.concat(), &mut [], all.len())
            }
            _ => self.by_program(op, false),
        }
    }

    fn theirs_batch(&self, cmd: Cmd, keys: &mut [u8], values: &mut [u8], given: usize) -> Answer {
        if given == 0 {
            return Err(524);
        }
        let (done, count, _) = self.theirs.batch(cmd, None, keys, values, 0);
        // Refused as a whole, the count stays as it was.
        let count = match done {
            Err(e) if e.errno == 524 || e.errno == libc::EPERM => 0,
            _ => count,
        };
        counted((count, done), |e| e.errno)
    }

    fn by_program(&self, op: &Op, ours: bool) -> Answer {
        let empty = Vec::new();
        let (name, key, value, flags) = match op {
            Op::ProgUpdate(k, v, f) => ("update", k, v, *f),
            Op::ProgDelete(k) => ("delete", k, &empty, 0),
            Op::ProgLookup(k) => ("lookup", k, &empty, 0),
            Op::ProgPush(v, f) => ("push", &empty, v, *f),
            Op::ProgPop => ("pop", &empty, &empty, 0),
            _ => ("peek", &empty, &empty, 0),
        };
        let Some((program, kernel_program)) = self.programs.get(name) else {
            return Ok(None);
        };
        let mut io = vec![0; IO as usize];
        io[..8].copy_from_slice(&flags.to_le_bytes());
        io[KEY..KEY + key.len()].copy_from_slice(key);
        io[VALUE..VALUE + value.len()].copy_from_slice(value);
        let zero = [0; 4];
        let out = if ours {
            self.io.insert(&zero, &io).unwrap();
            program.run(&[0; 64]).unwrap();
            self.io.get(&zero).unwrap().unwrap()
        } else {
            self.kernel_io.update(&zero, &io, 0).unwrap();
            kernel_program
                .run(&kernel::RunSpec::data(&[0; 64]))
                .unwrap();
            self.kernel_io.lookup(&zero).unwrap().unwrap()
        };
        let result = i64::from_le_bytes(out[8..16].try_into().unwrap());
        let value = out[VALUE..VALUE + self.shape.value as usize].to_vec();
        match result {
            FOUND => Ok(Some(value)),
            0 if name == "pop" || name == "peek" => Ok(Some(value)),
            0 => Ok(None),
            e => Err(-e as i32),
        }
    }

    /// The order of keys is nobody's promise (but arrays'), so only: whether
    /// there is one.
    fn check_next_key(&self, key: &[u8], round: u32) {
        let ours = self.ours.next_key(Some(key)).map_err(|e| e.errno());
        let theirs = self.theirs.next_key(Some(key)).map_err(|e| e.errno);
        let ordered = matches!(self.shape.map_type, MapType::Array | MapType::PercpuArray);
        if ordered || ours.is_err() || theirs.is_err() {
            assert_eq!(
                ours, theirs,
                "{:?}, round {round}: after {key:?}",
                self.shape
            );
        }
    }

    pub fn check_contents(&self, round: u32) {
        if self.is_queue() {
            return;
        }
        let theirs: BTreeMap<_, _> = self.theirs.entries().unwrap().into_iter().collect();
        let ours: Vec<_> = self.ours.iter().map(|e| e.unwrap()).collect();
        let count = ours.len();
        let ours: BTreeMap<_, _> = ours.into_iter().collect();
        assert_eq!(ours.len(), count, "a key twice");
        assert_eq!(ours, theirs, "{:?}, round {round}", self.shape);
        let keys: Vec<_> = self.ours.keys().map(|k| k.unwrap()).collect();
        assert!(
            keys.iter()
                .eq(keys.iter().filter(|k| ours.contains_key(*k)))
        );
        assert_eq!(keys.len(), ours.len());
    }

    /// `bpf_for_each_map_elem` meets as many elements.
    pub fn check_for_each(&self) {
        if self.is_queue() || self.shape.map_type == MapType::LpmTrie {
            return;
        }
        let ours = for_each(self.ours.as_raw_fd());
        let theirs = for_each(self.theirs.as_raw_fd());
        let vm_program = self.vm().load(ProgramSpec::xdp(ours)).unwrap();
        let btf = kernel::Btf::load(&kernel::btf::functions()).unwrap();
        let functions = [
            [0, kernel::btf::FUNCTION],
            [CALLBACK, kernel::btf::FUNCTION],
        ];
        let theirs = kernel::Prog::load(&kernel::ProgSpec {
            btf: Some((btf.as_fd(), &functions)),
            ..kernel::ProgSpec::new(ProgType::Xdp, &theirs)
        });
        let theirs = theirs
            .unwrap()
            .run(&kernel::RunSpec::data(&[0; 64]))
            .unwrap();
        assert_eq!(
            vm_program.run(&[0; 64]).unwrap().retval,
            theirs.retval,
            "{:?}",
            self.shape
        );
    }

    fn vm(&self) -> Vm {
        self.ours.vm().clone()
    }

    /// Frozen maps refuse alike.
    pub fn check_frozen(&self) {
        let none = |r: bpfvisor::Result<()>| r.map_err(|e| e.errno());
        for _ in 0..2 {
            assert_eq!(
                none(self.ours.freeze()),
                self.theirs.freeze().map_err(|e| e.errno)
            );
        }
        let (k, v) = (
            vec![0; self.shape.key as usize],
            vec![1; self.shape.value as usize],
        );
        for op in [
            Op::Update(k.clone(), v.clone(), 0),
            Op::Delete(k.clone()),
            Op::Take(k.clone()),
            Op::Lookup(k.clone()),
            Op::UpdateBatch(vec![(k.clone(), v)]),
            Op::DeleteBatch(vec![k]),
        ] {
            self.check(&op, u32::MAX);
        }
    }

    /// A walk by batches of `count`: steps, sums and the way it ends.
    pub fn check_batches(&self, count: u32) {
        let mut ours = BTreeMap::new();
        let mut from = None;
        let mut small = false;
        loop {
            let batch = match self.ours.lookup_batch(from.as_ref(), count) {
                Ok(batch) => batch,
                Err(e) => {
                    assert_eq!(e.errno(), libc::ENOSPC);
                    small = true;
                    break;
                }
            };
            let pairs = batch.keys.chunks(self.shape.key as usize);
            let pairs = pairs.zip(batch.values.chunks(self.value_len));
            ours.extend(pairs.map(|(k, v)| (k.to_vec(), v.to_vec())));
            match batch.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        if !small {
            let theirs: BTreeMap<_, _> = self.theirs.entries().unwrap().into_iter().collect();
            assert_eq!(ours, theirs, "{:?} by {count}", self.shape);
        }
        if self.shape.map_type == MapType::Hash {
            return;
        }
        // Types without buckets: the first step is alike in everything.
        let first = self.ours.lookup_batch(None, count).unwrap();
        let mut keys = vec![0; (self.shape.key * count) as usize];
        let mut values = vec![0; self.value_len * count as usize];
        let (done, n, _) = self
            .theirs
            .batch(Cmd::MapLookupBatch, None, &mut keys, &mut values, 0);
        let ended = done.map_err(|e| e.errno) == Err(libc::ENOENT);
        assert_eq!(
            (first.next.is_none(), first.count),
            (ended, n),
            "{:?} by {count}",
            self.shape
        );
    }

    /// Taking everything at once leaves nothing on either side.
    pub fn check_taking_batch(&self) {
        let taken = self.ours.lookup_and_delete_batch(None, 50).unwrap();
        let mut keys = vec![0; self.shape.key as usize * 50];
        let mut values = vec![0; self.value_len * 50];
        let (done, n, _) = self.theirs.batch(
            Cmd::MapLookupAndDeleteBatch,
            None,
            &mut keys,
            &mut values,
            0,
        );
        assert_eq!(done.map_err(|e| e.errno), Err(libc::ENOENT));
        assert_eq!((taken.count, taken.next), (n, None));
        self.check_contents(0);
        assert_eq!(self.ours.keys().count(), 0);
    }
}

fn counted<E>((count, done): (usize, Result<(), E>), errno: impl Fn(E) -> i32) -> Answer {
    match done {
        Ok(()) => Ok(Some(vec![count as u8])),
        // Which element it was is part of the answer.
        Err(e) => Err(errno(e) + 1000 * count as i32),
    }
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

fn load_fd(dst: u8, pseudo: u8, fd: i32) -> [Insn; 2] {
    [insn(0x18, dst, pseudo, 0, fd), insn(0, 0, 0, 0, 0)]
}

/// Calls a map helper as the io map says and puts there what came.
pub fn program(helper: i32, value: u32, map: i32, io: i32) -> Vec<Insn> {
    let mut p = Vec::new();
    p.extend(load_fd(9, 2, io));
    p.extend(load_fd(1, 1, map));
    let second = if helper >= 87 { VALUE } else { KEY };
    p.extend([insn(0xbf, 2, 9, 0, 0), insn(0x07, 2, 0, 0, second as i32)]);
    p.extend([insn(0xbf, 3, 9, 0, 0), insn(0x07, 3, 0, 0, VALUE as i32)]);
    if helper == 87 {
        p.push(insn(0x79, 3, 9, 0, 0));
    }
    p.push(insn(0x79, 4, 9, 0, 0));
    p.push(insn(0x85, 0, 0, 0, helper));
    if helper == 1 {
        let skip = 2 * value as i16 + 1;
        p.push(insn(0x15, 0, 0, skip, 0));
        for i in 0..value as i16 {
            p.push(insn(0x71, 1, 0, i, 0));
            p.push(insn(0x73, 9, 1, VALUE as i16 + i, 0));
        }
        p.push(insn(0xb7, 0, 0, 0, FOUND as i32));
    }
    p.push(insn(0x7b, 9, 0, 8, 0));
    p.extend([insn(0xb7, 0, 0, 0, 2), insn(0x95, 0, 0, 0, 0)]);
    p
}

/// The callback's first instruction.
const CALLBACK: u32 = 9;

/// r0 = bpf_for_each_map_elem(map, nothing, 0, 0).
fn for_each(map: i32) -> Vec<Insn> {
    let mut p = Vec::new();
    p.extend(load_fd(1, 1, map));
    p.extend([
        insn(0x18, 2, 4, 0, CALLBACK as i32 - 3),
        insn(0, 0, 0, 0, 0),
    ]);
    p.extend([insn(0xb7, 3, 0, 0, 0), insn(0xb7, 4, 0, 0, 0)]);
    p.extend([
        insn(0x85, 0, 0, 0, 164),
        insn(0xbf, 6, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ]);
    p.extend([insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)]);
    p
}
