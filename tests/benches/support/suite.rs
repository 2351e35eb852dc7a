//! The programs of `resources/bench` in each of the machines that are compared.

use crate::elf;
use crate::foreign::{self, HostMap};
use crate::support::each;
use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::Cmd;
use bpfvisor::object::{LoadOptions, Object, ObjectFile};
use bpfvisor::{Map, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel;
use bpfvisor_tests::root;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// A program and how it is measured.
pub struct Case {
    /// What the table says.
    pub title: &'static str,
    /// Name of object and program.
    pub name: &'static str,
    /// Variables filled with random bytes.
    pub random: &'static [&'static str],
    /// Entries of the hash map `table`, and how many of them; 0 for none.
    pub keys: u32,
}

const fn case(name: &'static str, random: &'static [&'static str]) -> Case {
    Case {
        title: name,
        name,
        random,
        keys: 0,
    }
}

const fn hashed(title: &'static str, name: &'static str, keys: u32) -> Case {
    Case {
        title,
        name,
        random: &[],
        keys,
    }
}

/// All of them.
pub const CASES: [Case; 16] = [
    case("trivial", &[]),
    case("primes", &[]),
    case("sieve", &[]),
    case("fnv", &["text"]),
    case("jhash", &["words"]),
    case("copy", &["from"]),
    case("branches", &["steps"]),
    case("logarithm", &["numbers"]),
    case("compare", &["left", "right"]),
    case("filter", &["frames"]),
    case("array_loop", &[]),
    hashed("hash_loop, 1K keys", "hash_loop", 1 << 10),
    hashed("hash_loop, 64K keys", "hash_loop", 1 << 16),
    hashed("hash_loop, 1M keys", "hash_loop", 1 << 20),
    hashed("hash_update, 1K keys", "hash_update", 1 << 10),
    hashed("hash_update, 1M keys", "hash_update", 1 << 20),
];

/// The packet, which no program looks at.
const FRAME: [u8; 64] = [0; 64];

impl Case {
    fn path(&self) -> PathBuf {
        root().join(format!("resources/bench/{}.o", self.name))
    }

    /// What the variables hold, the same everywhere.
    pub fn values(&self) -> Vec<(&'static str, Vec<u8>)> {
        let file = ObjectFile::open(self.path()).unwrap();
        let bytes = |name: &str| {
            let mut rng = Rng::new(1);
            (0..file.global_size(name).unwrap())
                .map(|_| rng.word() as u8)
                .collect()
        };
        let mut values: Vec<_> = self.random.iter().map(|n| (*n, bytes(n))).collect();
        if self.keys != 0 {
            values.push(("mask", (self.keys - 1).to_ne_bytes().to_vec()));
        }
        values
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..self.keys).map(|k| (k, u64::from(k) * 3))
    }

    /// Loaded in the VM.
    pub fn in_vm(&self, vm: &Vm) -> Object {
        let mut file = ObjectFile::open(self.path()).unwrap();
        for (name, bytes) in self.values() {
            file.set_global(name, &bytes).unwrap();
        }
        let object = file.load(vm, &LoadOptions::default()).unwrap();
        if let Some(table) = object.map("table") {
            self.fill(vm, table);
        }
        object
    }

    /// Fills a map with [`pairs`](Self::pairs), by a program: a call per key would
    /// take long.
    fn fill(&self, vm: &Vm, table: &Map) {
        const STEP: u32 = 1024;
        let insns = assemble(
            "r2 = *(u32 *)(r1 +0)
             r3 = *(u32 *)(r1 +4)
             r4 = r2
             r4 += 14
             if r4 > r3 goto out
             r6 = *(u32 *)(r2 +0)
             r7 = 0
             again:
             *(u32 *)(r10 -4) = r6
             r8 = r6
             r8 *= 3
             *(u64 *)(r10 -16) = r8
             r1 = 0 ll
             r2 = r10
             r2 += -4
             r3 = r10
             r3 += -16
             r4 = 0
             call bpf_map_update_elem#2
             r6 += 1
             r7 += 1
             if r7 < 1024 goto again
             out:
             r0 = 2
             exit",
        )
        .unwrap();
        let spec = ProgramSpec::xdp(insns).fixup(11, table);
        let program = vm.load(spec).unwrap();
        for first in (0..self.keys).step_by(STEP as usize) {
            let mut frame = FRAME;
            frame[..4].copy_from_slice(&first.to_ne_bytes());
            program.run(&frame).unwrap();
        }
        let last = self.keys - 1;
        assert!(
            table.get(&last.to_ne_bytes()).unwrap().is_some(),
            "the map is not full"
        );
    }

    /// Loaded in the kernel.
    pub fn in_kernel(&self) -> kernel::Prog {
        let values = self.values();
        let mut loader = aya::EbpfLoader::new();
        for (name, bytes) in &values {
            loader.override_global(name, bytes.as_slice(), true);
        }
        let mut object = loader.load_file(self.path()).unwrap();
        if let Some(aya::maps::Map::HashMap(data)) = object.map("table") {
            let fd = data.fd().as_fd().try_clone_to_owned().unwrap();
            let map = kernel::Map::from_fd(fd, 4, 8);
            let mut keys: Vec<u8> = self.pairs().flat_map(|(k, _)| k.to_ne_bytes()).collect();
            let mut values: Vec<u8> = self.pairs().flat_map(|(_, v)| v.to_ne_bytes()).collect();
            map.batch(Cmd::MapUpdateBatch, None, &mut keys, &mut values, 0)
                .0
                .unwrap();
        }
        let program: &mut aya::programs::Xdp =
            object.program_mut(self.name).unwrap().try_into().unwrap();
        program.load().unwrap();
        let fd = program.fd().unwrap().as_fd().try_clone_to_owned().unwrap();
        kernel::Prog::from_fd(fd)
    }

    /// Compiled by rbpf: its program, and what that works on.
    pub fn in_rbpf(&self) -> Rbpf {
        let mut object = elf::Object::read(&std::fs::read(self.path()).unwrap());
        for (name, bytes) in self.values() {
            assert!(object.set(name, &bytes), "{name} of {}", self.name);
        }
        let mut map = Box::new(if self.keys == 0 {
            HostMap::Array(vec![0; 4096])
        } else {
            HostMap::Hash(self.pairs().collect())
        });
        let address = std::ptr::from_mut(&mut *map) as u64;
        for &at in &object.map_loads {
            object.insns[at].imm = address as i32;
            object.insns[at + 1].imm = (address >> 32) as i32;
        }
        let code = object
            .insns
            .iter()
            .flat_map(|i| Insn::to_bytes(*i))
            .collect();
        Rbpf {
            code,
            _map: map,
            _data: object.data,
        }
    }
}

/// A program for rbpf with the memory that it holds addresses of.
pub struct Rbpf {
    code: Vec<u8>,
    _map: Box<HostMap>,
    _data: Vec<Box<[u64]>>,
}

impl Rbpf {
    /// Compiles it, where rbpf can.
    pub fn compile(&self) -> Option<rbpf::EbpfVmNoData<'_>> {
        let mut vm = rbpf::EbpfVmNoData::new(Some(&self.code)).ok()?;
        vm.register_helper(1, foreign::lookup).ok()?;
        vm.register_helper(2, foreign::update).ok()?;
        vm.jit_compile().ok()?;
        Some(vm)
    }
}

/// Result and nanoseconds of one of `repeat` runs in the VM.
pub fn run_in_vm(program: &bpfvisor::Program, repeat: u32) -> (u32, f64) {
    let run = TestRun {
        data: &FRAME,
        repeat,
        ..TestRun::default()
    };
    let out = program.test_run(&run).unwrap();
    (out.retval, out.duration.as_nanos() as f64)
}

/// The same in the kernel.
pub fn run_in_kernel(program: &kernel::Prog, repeat: u32) -> (u32, f64) {
    let spec = kernel::RunSpec {
        repeat,
        ..kernel::RunSpec::data(&FRAME)
    };
    let out = program.run(&spec).unwrap();
    (out.retval, out.duration.as_nanos() as f64)
}

/// The same of a function of this process.
pub fn run_here(run: impl Fn() -> u32, repeat: u32) -> (u32, f64) {
    let mut value = 0;
    let ns = each(repeat, || value = std::hint::black_box(run()));
    (value, ns)
}
