//! One program on three sides: the running kernel, compiled in a VM, interpreted
//! in a VM. What the kernel gives is right.

use bpf_core::asm::assemble;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{MapType, ProgType, errno, map_flags, sk_buff, xdp_md};
use bpfvisor::{FuncInfo, MapSpec, ProgramSpec, TestRun, Vm};
use bpfvisor_tests::kernel;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes of the map `$out`, in which programs leave what they saw.
pub const OUT: usize = 1024;

enum Side {
    Kernel,
    Ours(&'static str, Vm),
}

/// How many differences are shown of one program.
const SHOWN: usize = 5;
/// Room for a packet to grow into.
const ROOM: usize = 16500;

/// The three sides, and what they disagreed on.
pub struct Duel {
    sides: Vec<Side>,
    differences: RefCell<Vec<String>>,
    compared: Cell<usize>,
}

/// A map to be made on each side, under the name that programs use: `$name`.
#[derive(Clone, Copy)]
pub struct MapOf(pub &'static str, pub MapType, pub u32, pub u32, pub u32);

enum AnyMap {
    Kernel(kernel::Map),
    Ours(bpfvisor::Map),
}

enum AnyProg {
    Kernel(kernel::Prog),
    Ours(bpfvisor::Program),
}

/// A program on every side, with its maps.
pub struct Loaded<'a> {
    duel: &'a Duel,
    name: String,
    sides: Vec<(&'static str, AnyProg, BTreeMap<&'static str, AnyMap>)>,
}

/// What a run gave.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    Refused(i32),
    Ran {
        retval: u32,
        data: Vec<u8>,
        ctx: Vec<u8>,
        out: Vec<u8>,
    },
}

impl Outcome {
    /// The word at `at` of `$out`, where the program ran.
    pub fn seen(&self, at: usize) -> Option<u64> {
        match self {
            Self::Ran { out, .. } => Some(u64::from_ne_bytes(out[at..at + 8].try_into().unwrap())),
            Self::Refused(_) => None,
        }
    }

    /// Takes `len` bytes of `$out` from the comparison.
    pub fn forget(&mut self, at: usize, len: usize) {
        if let Self::Ran { out, .. } = self {
            out[at..at + len].fill(0);
        }
    }

    /// Takes `len` bytes of the context from the comparison.
    pub fn forget_ctx(&mut self, at: usize, len: usize) {
        if let Self::Ran { ctx, .. } = self
            && let Some(bytes) = ctx.get_mut(at..at + len)
        {
            bytes.fill(0);
        }
    }
}

impl AnyMap {
    fn fd(&self) -> i32 {
        match self {
            Self::Kernel(m) => m.as_raw_fd(),
            Self::Ours(m) => m.as_raw_fd(),
        }
    }

    pub fn update(&self, key: &[u8], value: &[u8]) {
        match self {
            Self::Kernel(m) => m.update(key, value, 0).unwrap(),
            Self::Ours(m) => m.update(key, value, 0).unwrap(),
        }
    }

    fn freeze(&self) {
        match self {
            Self::Kernel(m) => m.freeze().unwrap(),
            Self::Ours(m) => m.freeze().unwrap(),
        }
    }

    fn lookup(&self, key: &[u8]) -> Vec<u8> {
        match self {
            Self::Kernel(m) => m.lookup(key).unwrap().unwrap(),
            Self::Ours(m) => m.get(key).unwrap().unwrap(),
        }
    }
}

impl Side {
    fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ours(name, _) => name,
        }
    }

    fn map(&self, of: MapOf) -> AnyMap {
        let MapOf(name, map_type, key, value, entries) = of;
        let flags = if name == "constant" {
            map_flags::RDONLY_PROG
        } else {
            0
        };
        match self {
            Self::Kernel => {
                let spec = kernel::MapSpec::new(map_type, key, value, entries).flags(flags);
                AnyMap::Kernel(kernel::Map::create(&spec).unwrap())
            }
            Self::Ours(_, vm) => {
                let spec = MapSpec::new(name, map_type, key, value, entries).flags(flags);
                AnyMap::Ours(
                    vm.create_map(spec)
                        .unwrap_or_else(|e| panic!("{name}: {e}")),
                )
            }
        }
    }

    fn load(&self, prog_type: ProgType, insns: &[Insn]) -> Result<AnyProg, String> {
        match self {
            Self::Kernel => {
                let types = functions(insns);
                let btf = kernel::Btf::load(&kernel::btf::functions()).unwrap();
                let btf = (!types.is_empty()).then_some((btf.as_fd(), types.as_slice()));
                let spec = kernel::ProgSpec {
                    btf,
                    ..kernel::ProgSpec::new(prog_type, insns)
                };
                kernel::Prog::load(&spec).map(AnyProg::Kernel).map_err(|_| {
                    let again = kernel::Prog::load(&spec.log_level(1));
                    again.map_or_else(|e| e.to_string(), |_| "first no, then yes".into())
                })
            }
            Self::Ours(_, vm) => {
                let btf = vm.load_btf(&kernel::btf::functions()).unwrap();
                let types = functions(insns).into_iter();
                let types = types.map(|[insn, type_id]| FuncInfo { insn, type_id });
                let spec = ProgramSpec::new(prog_type, insns).license("GPL").types(
                    &btf,
                    types.collect(),
                    Vec::new(),
                );
                vm.load(spec).map(AnyProg::Ours).map_err(|e| e.to_string())
            }
        }
    }
}

impl AnyProg {
    fn run(&self, data: &[u8], ctx: &[u8]) -> Result<(u32, Vec<u8>, Vec<u8>), i32> {
        match self {
            Self::Kernel(p) => {
                let spec = kernel::RunSpec {
                    ctx,
                    headroom: ROOM,
                    ..kernel::RunSpec::data(data)
                };
                let out = p.run(&spec).map_err(|e| e.errno)?;
                Ok((out.retval, out.data, out.ctx))
            }
            Self::Ours(p) => {
                let run = TestRun {
                    data,
                    ctx,
                    ..TestRun::default()
                };
                let mut out = p.test_run(&run).map_err(|e| e.errno())?;
                // The kernel answers no more than the structure; here the rest
                // is what was given, zeros.
                out.ctx.truncate(struct_size(p.prog_type()));
                Ok((out.retval, out.data, out.ctx))
            }
        }
    }
}

/// First instructions of the program's functions with their type, if it has more
/// than one.
fn functions(insns: &[Insn]) -> Vec<[u32; 2]> {
    let names = |i: &Insn| {
        (i.opcode == op::JMP | op::CALL && i.src == op::PSEUDO_CALL)
            || (i.is_wide() && i.src == op::PSEUDO_FUNC)
    };
    let targets = insns.iter().enumerate().filter(|(_, i)| names(i));
    let mut starts: Vec<u32> = targets
        .map(|(at, i)| (at as i64 + 1 + i64::from(i.imm)) as u32)
        .collect();
    starts.sort_unstable();
    starts.dedup();
    if !starts.is_empty() {
        starts.insert(0, 0);
    }
    starts
        .into_iter()
        .map(|start| [start, kernel::btf::FUNCTION])
        .collect()
}

fn struct_size(of: ProgType) -> usize {
    match of {
        ProgType::Xdp => xdp_md::SIZE as usize,
        _ => sk_buff::SIZE as usize,
    }
}

impl Duel {
    /// Boots the VMs. Needs root and /dev/kvm.
    pub fn new() -> Self {
        kernel::require().unwrap();
        // Polling vCPUs of two VMs per test would take the processors from each other.
        let boot = |vm: bpfvisor::VmBuilder| {
            vm.memory(64 << 20)
                .spins(50, 200)
                .boot()
                .unwrap_or_else(|e| panic!("needs a usable /dev/kvm: {e}"))
        };
        let sides = vec![
            Side::Kernel,
            Side::Ours("compiled", boot(Vm::builder())),
            Side::Ours("interpreted", boot(Vm::builder().interpret())),
        ];
        // Per-CPU values are those of the CPU that runs the test: stay on one. The
        // vCPUs' threads are there already and keep all.
        let mut here = rustix::thread::CpuSet::new();
        here.set(rustix::thread::sched_getcpu());
        rustix::thread::sched_setaffinity(None, &here).unwrap();
        Self {
            sides,
            differences: RefCell::default(),
            compared: Cell::new(0),
        }
    }

    /// Loads a program whose text names its maps as `$name`; `$out` is always
    /// there.
    pub fn load(&self, name: &str, prog_type: ProgType, maps: &[MapOf], text: &str) -> Loaded<'_> {
        let loaded = self.try_load(name, prog_type, maps, text, &[]);
        loaded.unwrap_or_else(|| panic!("{name}: the kernel rejects this"))
    }

    /// As [`Duel::load`], with a map `$constant` that nobody can change. `None`
    /// where the kernel does not take the program (and the others should not).
    pub fn try_load(
        &self,
        name: &str,
        prog_type: ProgType,
        maps: &[MapOf],
        text: &str,
        constant: &[u8],
    ) -> Option<Loaded<'_>> {
        let out = MapOf("out", MapType::Array, 4, OUT as u32, 1);
        let frozen = MapOf(
            "constant",
            MapType::Array,
            4,
            constant.len().max(8) as u32,
            1,
        );
        let mut sides = Vec::new();
        let mut refused = None;
        for side in &self.sides {
            let mut made = BTreeMap::new();
            let mut text = text.to_string();
            for of in maps.iter().copied().chain([out, frozen]) {
                let map = side.map(of);
                if of.0 == "constant" && !constant.is_empty() {
                    map.update(&[0; 4], constant);
                    map.freeze();
                }
                text = text.replace(&format!("${}", of.0), &format!("[id:{}]", map.fd()));
                made.insert(of.0, map);
            }
            let insns = assemble(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            let loaded = side.load(prog_type, &insns);
            match (loaded, side.name() == "kernel") {
                (Err(e), true) if constant.is_empty() => panic!("{name}: {e}\n{text}"),
                (Err(e), true) => refused = Some(e),
                (Err(e), false) if refused.is_none() => {
                    self.differ(format!("{name}: {} rejects: {e}", side.name()));
                }
                (Ok(_), false) if refused.is_some() => {
                    let why = refused.as_deref().unwrap_or_default();
                    self.differ(format!("{name}: {} accepts; kernel: {why}", side.name()));
                }
                (Ok(prog), _) => sides.push((side.name(), prog, made)),
                (Err(_), false) => self.compared.set(self.compared.get() + 1),
            }
        }
        let loaded = Loaded {
            duel: self,
            name: name.to_string(),
            sides,
        };
        refused.is_none().then_some(loaded)
    }

    fn differ(&self, what: String) {
        self.differences.borrow_mut().push(what);
    }

    /// Fails the test if anything was different.
    pub fn finish(self, at_least: usize) {
        let differences = self.differences.take();
        let mut of_program: BTreeMap<&str, usize> = BTreeMap::new();
        let shown = differences.iter().filter(|d| {
            let count = of_program
                .entry(d.split(" | ").next().unwrap_or(d))
                .or_default();
            *count += 1;
            *count <= SHOWN
        });
        let shown: Vec<_> = shown.take(100).cloned().collect();
        assert!(
            shown.is_empty(),
            "{} differences in {} comparisons:\n{}",
            differences.len(),
            self.compared.get(),
            shown.join("\n")
        );
        let compared = self.compared.get();
        assert!(compared >= at_least, "only {compared} comparisons");
    }
}

impl Loaded<'_> {
    /// Sets an element on every side.
    pub fn set(&self, map: &str, key: &[u8], value: &[u8]) {
        for (_, _, maps) in &self.sides {
            maps[map].update(key, value);
        }
    }

    /// Sets an element of a program array to the program itself.
    pub fn set_self(&self, map: &str, index: u32) {
        for (_, prog, maps) in &self.sides {
            let fd = match prog {
                AnyProg::Kernel(p) => p.as_raw_fd(),
                AnyProg::Ours(p) => p.as_raw_fd(),
            };
            maps[map].update(&index.to_ne_bytes(), &fd.to_ne_bytes());
        }
    }

    /// Runs it on every side and compares everything. `$out` goes on with what the
    /// run before left, which is the same on every side.
    pub fn run(&self, label: &str, data: &[u8], ctx: &[u8]) -> Outcome {
        self.run_as(label, data, ctx, |_| ())
    }

    /// Runs it on every side, the kernel first, and compares nothing.
    pub fn each(&self, data: &[u8], ctx: &[u8]) -> Vec<Outcome> {
        self.sides
            .iter()
            .map(|(_, prog, maps)| outcome(prog, maps, data, ctx))
            .collect()
    }

    /// As [`Loaded::run`], but what `blur` takes away is not compared.
    pub fn run_as(
        &self,
        label: &str,
        data: &[u8],
        ctx: &[u8],
        blur: impl Fn(&mut Outcome),
    ) -> Outcome {
        let mut right: Option<Outcome> = None;
        let mut known = None;
        for (side, prog, maps) in &self.sides {
            let mut outcome = outcome(prog, maps, data, ctx);
            blur(&mut outcome);
            let Some(right) = &right else {
                right = Some(outcome);
                continue;
            };
            self.duel.compared.set(self.duel.compared.get() + 1);
            let how = difference(right, &outcome);
            if how.is_some() && how != known {
                let how = how.as_deref().unwrap_or_default();
                self.duel
                    .differ(format!("{} | {label}: kernel, {side}: {how}", self.name));
            }
            known = how;
        }
        if known.is_some() {
            self.set("out", &[0; 4], &[0; OUT]);
        }
        right.unwrap()
    }
}

fn outcome(prog: &AnyProg, maps: &BTreeMap<&str, AnyMap>, data: &[u8], ctx: &[u8]) -> Outcome {
    match prog.run(data, ctx) {
        Err(errno) => Outcome::Refused(errno),
        Ok((retval, data, ctx)) => Outcome::Ran {
            retval,
            data,
            ctx,
            out: maps["out"].lookup(&[0; 4]),
        },
    }
}

fn difference(a: &Outcome, b: &Outcome) -> Option<String> {
    // The kernel's ENOSPC speaks of the context's way out, for which callers of the
    // system call give a length of its own.
    if a == b || matches!(a, Outcome::Refused(errno::ENOSPC)) {
        return None;
    }
    use Outcome::{Ran, Refused};
    Some(match (a, b) {
        (Refused(x), Refused(y)) => format!("errno {x}, {y}"),
        (Refused(x), Ran { retval, .. }) => format!("errno {x}, ran ({retval:#x})"),
        (Ran { retval, .. }, Refused(y)) => format!("ran ({retval:#x}), errno {y}"),
        (
            Ran {
                retval,
                data,
                ctx,
                out,
            },
            Ran {
                retval: retval2,
                data: data2,
                ctx: ctx2,
                out: out2,
            },
        ) => {
            let mut parts = Vec::new();
            if retval != retval2 {
                parts.push(format!("retval {retval:#x}, {retval2:#x}"));
            }
            for (what, a, b) in [
                ("data", data, data2),
                ("ctx", ctx, ctx2),
                ("out", out, out2),
            ] {
                if a != b {
                    parts.push(format!("{what} {}", bytes(a, b)));
                }
            }
            parts.join("; ")
        }
    })
}

/// Where two byte strings differ, by 8 bytes.
fn bytes(a: &[u8], b: &[u8]) -> String {
    let mut text = String::new();
    if a.len() != b.len() {
        text += &format!("lengths {}, {} ", a.len(), b.len());
    }
    let words = a
        .chunks(8)
        .zip(b.chunks(8))
        .enumerate()
        .filter(|(_, (a, b))| a != b);
    for (i, (a, b)) in words.take(6) {
        text += &format!("@{}: {}, {} ", i * 8, hex(a), hex(b));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
