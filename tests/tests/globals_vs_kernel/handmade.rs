//! Functions whose types are made by hand, one for each rule.

use bpf_core::asm::assemble;
use bpf_core::btf::kind;
use bpf_core::insn::{Insn, op};
use bpf_core::program::{FlatMemory, FuncInfo, LineInfo, ProgramDesc, TypeInfo};
use bpf_core::uapi::ProgType;
use bpf_core::verifier::{Options, Outcome, verify};
use bpfvisor_tests::cases::{Maps, on_kernel};
use bpfvisor_tests::kernel::btf::Blob;
use bpfvisor_tests::kernel::{self, Btf, Prog, ProgSpec};
use std::os::fd::{AsFd, AsRawFd};

/// A program of main function and `f`.
struct Case {
    name: &'static str,
    prog_type: ProgType,
    /// What `f` returns, then its parameters, as in [`Types::of`]; a `'` before it
    /// makes it static.
    proto: &'static str,
    text: &'static str,
}

const fn xdp(name: &'static str, proto: &'static str, text: &'static str) -> Case {
    Case {
        name,
        prog_type: ProgType::Xdp,
        proto,
        text,
    }
}

const fn skb(name: &'static str, proto: &'static str, text: &'static str) -> Case {
    Case {
        name,
        prog_type: ProgType::SchedCls,
        proto,
        text,
    }
}

/// Passes eight bytes of stack.
const STACK: &str = "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\ncall f\nr0 = 0\nexit\n";
/// Passes nothing but the context.
const CTX: &str = "call f\nr0 = 0\nexit\n";
/// Passes a number.
const NUMBER: &str = "r1 = 1\ncall f\nr0 = 0\nexit\n";
const NULL: &str = "r1 = 0\ncall f\nr0 = 0\nexit\n";
/// Does nothing.
const LEAF: &str = "f: r0 = 0\nexit";
const READS: &str = "f: r0 = *(u32 *)(r1 +0)\nexit";
const CHECKS: &str = "f: r0 = 0\nif r1 == 0 goto out\nr0 = *(u32 *)(r1 +4)\nout: exit";

fn cases() -> Vec<(Case, String)> {
    let all = [
        xdp("a number", "nn", "NUMBER LEAF"),
        xdp("a pointer as number", "nn", "STACK LEAF"),
        xdp("no argument set", "nnn", "NUMBER LEAF"),
        xdp("the context by name", "nc", "CTX LEAF"),
        xdp("the context by its kernel name", "nb", "CTX LEAF"),
        xdp("another context's name", "ns", "CTX LEAF"),
        skb("the context of skb", "ns", "CTX LEAF"),
        skb("the kernel's name of skb", "nk", "CTX LEAF"),
        xdp("the context by tag", "nC", "CTX LEAF"),
        xdp("a number for the context", "nc", "NUMBER LEAF"),
        xdp("stack for the context", "nc", "STACK LEAF"),
        xdp("stack for the tagged", "nC", "STACK LEAF"),
        xdp("tag on the right structure", "n1", "CTX LEAF"),
        xdp("tag on another structure", "n2", "CTX LEAF"),
        xdp("tag on the kernel's structure", "n3", "CTX LEAF"),
        xdp("tag on a number", "n4", "CTX LEAF"),
        xdp("two tags", "n5", "CTX LEAF"),
        xdp("unknown tag", "nx", "STACK LEAF"),
        xdp("foreign tag", "ny", "STACK CHECKS"),
        xdp("nullable alone", "ni", "STACK LEAF"),
        xdp("nonnull on a number", "nm", "NUMBER LEAF"),
        xdp("memory unchecked", "np", "STACK READS"),
        xdp("memory checked", "np", "STACK CHECKS"),
        xdp("memory never null", "nP", "STACK READS"),
        xdp("null for memory", "np", "NULL CHECKS"),
        xdp("a number for memory", "np", "NUMBER CHECKS"),
        xdp("context for memory", "np", "CTX CHECKS"),
        xdp(
            "beyond the memory",
            "nP",
            "STACK f: r0 = *(u32 *)(r1 +8)\nexit",
        ),
        xdp(
            "before the memory",
            "nP",
            "STACK f: r0 = *(u32 *)(r1 -4)\nexit",
        ),
        xdp(
            "writing memory",
            "nP",
            "STACK f: *(u32 *)(r1 +4) = 1\nr0 = 0\nexit",
        ),
        xdp(
            "constant memory is written too",
            "nK",
            "STACK f: *(u32 *)(r1 +4) = 1\nr0 = 0\nexit",
        ),
        xdp("16 bytes of 8", "na", "STACK LEAF"),
        xdp(
            "uninitialised stack",
            "np",
            "r1 = r10\nr1 += -8\ncall f\nr0 = 0\nexit\nCHECKS",
        ),
        xdp(
            "stack is changed",
            "nP",
            "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\ncall f\nr1 = *(u64 *)(r10 -8)\nr2 = r10\n\
             r2 += r1\nr0 = *(u8 *)(r2 -16)\nexit\nLEAF",
        ),
        xdp(
            "spilled pointers are lost",
            "nP",
            "r6 = r1\n*(u64 *)(r10 -8) = r1\nr1 = r10\nr1 += -8\ncall f\nr1 = *(u64 *)(r10 -8)\n\
             r0 = *(u32 *)(r1 +0)\nexit\nLEAF",
        ),
        xdp(
            "above the stack",
            "np",
            "r1 = r10\nr1 += -4\ncall f\nr0 = 0\nexit\nCHECKS",
        ),
        xdp(
            "modified context",
            "nc",
            "r1 += 8\ncall f\nr0 = 0\nexit\nLEAF",
        ),
        xdp("void pointer", "nv", "STACK LEAF"),
        xdp("pointer to unknown structure", "nq", "STACK LEAF"),
        xdp("structure by value", "nS", "NUMBER LEAF"),
        xdp("pointer to pointer", "n6", "STACK CHECKS"),
        xdp("empty structure", "n7", "STACK LEAF"),
        xdp("number for an empty structure", "n7", "NUMBER LEAF"),
        xdp("an enumeration", "ne", "NUMBER LEAF"),
        xdp("returns nothing", "Vn", "NUMBER LEAF"),
        xdp("returns a pointer", "pn", "NUMBER LEAF"),
        xdp("returns a structure", "Sn", "NUMBER LEAF"),
        xdp("returns an enumeration", "en", "NUMBER LEAF"),
        xdp("returns long", "ln", "NUMBER LEAF"),
        xdp("six arguments", "nnnnnnn", "NUMBER LEAF"),
        xdp(
            "five arguments",
            "nnnnnn",
            "r1 = 1\nr2 = 1\nr3 = 1\nr4 = 1\nr5 = 1\ncall f\nexit\nf: r0 = r1\nr0 += r5\nexit",
        ),
        xdp("result unset", "nn", "NUMBER f: exit"),
        xdp("result a pointer", "nc", "CTX f: r0 = r1\nexit"),
        xdp("result a stack pointer", "nn", "NUMBER f: r0 = r10\nexit"),
        xdp(
            "result is not known",
            "nn",
            "r1 = 1\ncall f\nr1 = r10\nr1 += r0\n*(u8 *)(r1 -8) = 1\nr0 = 0\nexit\nLEAF",
        ),
        xdp(
            "an argument that is no parameter",
            "n",
            "NUMBER f: r0 = r1\nexit",
        ),
        xdp(
            "saved registers stay",
            "nn",
            "r6 = 5\nr1 = 1\ncall f\nr0 = r6\nexit\nLEAF",
        ),
        xdp(
            "argument registers do not",
            "nn",
            "r1 = 1\ncall f\nr0 = r1\nexit\nLEAF",
        ),
        xdp(
            "never called",
            "np",
            "r0 = 0\nif r0 == 0 goto out\ncall f\nout: exit\nREADS",
        ),
        xdp(
            "calls itself",
            "nn",
            "NUMBER f: r1 = 2\ncall f\nr0 = 0\nexit",
        ),
        xdp("a loop in it", "nn", "NUMBER f: r0 = 0\nl: goto l\nexit"),
        xdp("static with a wrong type", "'nn", "STACK READS"),
        xdp("static with tags", "'nP", "STACK READS"),
        xdp("static with void result", "'Vn", "STACK READS"),
        xdp("static is followed", "'np", "STACK READS"),
        xdp(
            "packet kept",
            "nn",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr6 = r2\nr2 += 1\nif r2 > r3 goto out\n\
             r1 = 1\ncall f\nr0 = *(u8 *)(r6 +0)\nout: r0 = 0\nexit\nLEAF",
        ),
        xdp(
            "packet given up",
            "nc",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr6 = r2\nr2 += 1\nif r2 > r3 goto out\n\
             call f\nr0 = *(u8 *)(r6 +0)\nout: r0 = 0\nexit\n\
             f: r2 = 0\ncall bpf_xdp_adjust_tail\nr0 = 0\nexit",
        ),
        xdp(
            "packet given up further down",
            "nc",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr6 = r2\nr2 += 1\nif r2 > r3 goto out\n\
             call f\nr0 = *(u8 *)(r6 +0)\nout: r0 = 0\nexit\n\
             f: call g\nr0 = 0\nexit\n\
             g: r2 = 0\ncall bpf_xdp_adjust_tail\nr0 = 0\nexit",
        ),
        xdp(
            "packet as memory",
            "nP",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr1 = r2\nr2 += 8\nif r2 > r3 goto out\n\
             call f\nout: r0 = 0\nexit\nREADS",
        ),
        xdp(
            "too little packet",
            "nP",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr1 = r2\nr2 += 7\nif r2 > r3 goto out\n\
             call f\nout: r0 = 0\nexit\nREADS",
        ),
        xdp(
            "tail call in it",
            "nc",
            "call f\nr0 = 0\nexit\nf: r2 = map[id:2]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ),
        xdp(
            "packet given up by a tail call",
            "nc",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr6 = r2\nr2 += 1\nif r2 > r3 goto out\ncall f\nr0 = *(u8 *)(r6 +0)\nout: r0 = 0\nexit\nf: r2 = map[id:2]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ),
        xdp(
            "packet given up by a static function's tail call",
            "'nc",
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr6 = r2\nr2 += 1\nif r2 > r3 goto out\ncall f\nr0 = *(u8 *)(r6 +0)\nout: r0 = 0\nexit\nf: r2 = map[id:2]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ),
        xdp(
            "tail call of a function without result",
            "'Vc",
            "call f\nr0 = 0\nexit\nf: r2 = map[id:2]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ),
        xdp(
            "what a tail call returns is not known",
            "'nc",
            "call f\nr1 = r10\nr1 += r0\n*(u8 *)(r1 -8) = 1\nr0 = 0\nexit\nf: r2 = map[id:2]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ),
        xdp(
            "a lock is held",
            "nn",
            "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:6]\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\nr6 = r0\nr1 = r0\nr1 += 4\ncall bpf_spin_lock\nr1 = 1\ncall f\nr1 = r6\nr1 += 4\ncall bpf_spin_unlock\nout: r0 = 0\nexit\nLEAF",
        ),
        xdp(
            "a map value that may be null",
            "np",
            "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:1]\ncall bpf_map_lookup_elem\nr1 = r0\ncall f\nr0 = 0\nexit\nCHECKS",
        ),
        xdp(
            "a map value that may be null, but must not",
            "nP",
            "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:1]\ncall bpf_map_lookup_elem\nr1 = r0\ncall f\nr0 = 0\nexit\nREADS",
        ),
        xdp(
            "a value that programs only read",
            "nP",
            "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:14]\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\ncall f\nout: r0 = 0\nexit\nREADS",
        ),
        xdp(
            "a value with a lock inside",
            "nP",
            "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:6]\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\ncall f\nout: r0 = 0\nexit\nREADS",
        ),
        xdp(
            "a map for memory",
            "np",
            "r1 = map[id:1]\ncall f\nr0 = 0\nexit\nCHECKS",
        ),
        xdp(
            "a reference that the function reads",
            "nP",
            "r1 = map[id:5]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr6 = r0\nr1 = r0\ncall f\nr1 = r6\nr2 = 0\ncall bpf_ringbuf_discard\nout: r0 = 0\nexit\nREADS",
        ),
        xdp(
            "a lock kept in the function",
            "nn",
            "NUMBER f: *(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[id:6]\n\
             call bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = r0\nr1 += 4\n\
             call bpf_spin_lock\nout: r0 = 0\nexit",
        ),
        xdp(
            "a reference kept in the function",
            "nn",
            "NUMBER f: r1 = map[id:5]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
        ),
        xdp(
            "called back",
            "nnn",
            "r1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nLEAF",
        ),
        skb(
            "packet loads need a number",
            "'Vs",
            "r6 = r1\ncall f\nr0 = 0\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nexit",
        ),
        skb(
            "packet loads with a number",
            "'ns",
            "r6 = r1\ncall f\nr0 = 0\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nexit",
        ),
        skb(
            "packet loads in a global function",
            "ns",
            "r6 = r1\ncall f\nr0 = 0\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nexit",
        ),
        skb(
            "packet loads in a function of short",
            "nh",
            "r6 = r1\ncall f\nr0 = 0\nexit\nf: r0 = 0\nexit",
        ),
    ];
    let parts = [
        ("STACK ", STACK),
        ("CTX ", CTX),
        ("NUMBER ", NUMBER),
        ("NULL ", NULL),
        ("LEAF", LEAF),
        ("READS", READS),
        ("CHECKS", CHECKS),
    ];
    let expand = |case: Case| {
        let mut text = case.text.to_owned();
        for (short, long) in parts {
            text = text.replace(short, long);
        }
        (case, text)
    };
    all.into_iter().map(expand).collect()
}

/// A blob with the types that prototypes name by a letter.
struct Types {
    blob: Blob,
    int: u32,
    main: u32,
}

impl Types {
    fn new() -> Self {
        let mut blob = Blob::default();
        let int = blob.int("int", 4);
        let context = blob.structure("xdp_md", 24, &[]);
        let context = blob.add("", kind::PTR << 24, context, &[]);
        let proto = blob.proto(int, &[context]);
        let main = blob.add("main", (kind::FUNC << 24) | 1, proto, &[]);
        Self { blob, int, main }
    }

    fn pointer(&mut self, to: u32) -> u32 {
        self.blob.add("", kind::PTR << 24, to, &[])
    }

    /// The type that a letter stands for, and a tag for its parameter.
    fn of(&mut self, letter: char) -> (u32, &'static [&'static str]) {
        let int = self.int;
        let pair = |t: &mut Self| {
            t.blob
                .structure("pair", 8, &[("a", int, 0), ("b", int, 32)])
        };
        let named = |t: &mut Self, name: &str, size: u32| {
            let s = t.blob.structure(name, size, &[]);
            t.pointer(s)
        };
        match letter {
            'n' => (int, &[]),
            'l' => (self.blob.int("long", 8), &[]),
            'h' => (self.blob.int("short", 2), &[]),
            'm' => (int, &["arg:nonnull"]),
            'e' => (self.blob.add("e", kind::ENUM << 24, 4, &[]), &[]),
            'V' => (0, &[]),
            'S' => (pair(self), &[]),
            'v' => (self.pointer(0), &[]),
            'C' => (self.pointer(0), &["arg:ctx"]),
            'c' => (named(self, "xdp_md", 24), &[]),
            'b' => (named(self, "xdp_buff", 24), &[]),
            's' => (named(self, "__sk_buff", 192), &[]),
            'k' => (named(self, "sk_buff", 192), &[]),
            '1' => (named(self, "xdp_md", 24), &["arg:ctx"]),
            '2' => (named(self, "__sk_buff", 24), &["arg:ctx"]),
            '3' => (named(self, "xdp_buff", 24), &["arg:ctx"]),
            '4' => (int, &["arg:ctx"]),
            '5' => (self.pointer(0), &["arg:ctx", "arg:nonnull"]),
            '7' => (named(self, "nothing", 0), &[]),
            'q' => {
                let forward = self.blob.add("fwd", kind::FWD << 24, 0, &[]);
                (self.pointer(forward), &[])
            }
            'a' => {
                let array = self.blob.add("", kind::ARRAY << 24, 0, &[int, int, 4]);
                (self.pointer(array), &[])
            }
            '6' => {
                let inner = self.pointer(0);
                (self.pointer(inner), &[])
            }
            'K' => {
                let pair = pair(self);
                let constant = self.blob.add("", kind::CONST << 24, pair, &[]);
                (self.pointer(constant), &["arg:nonnull"])
            }
            _ => {
                let pair = pair(self);
                let tags: &[&str] = match letter {
                    'P' => &["arg:nonnull"],
                    'i' => &["arg:nullable"],
                    'x' => &["arg:wild"],
                    'y' => &["wild"],
                    _ => &[],
                };
                (self.pointer(pair), tags)
            }
        }
    }

    /// A function of this prototype.
    fn function(&mut self, proto: &str) -> u32 {
        let (linkage, letters) = match proto.strip_prefix('\'') {
            Some(rest) => (0, rest),
            None => (1, proto),
        };
        let mut letters = letters.chars();
        let (returned, _) = self.of(letters.next().unwrap());
        let params: Vec<_> = letters.map(|l| self.of(l)).collect();
        let types: Vec<u32> = params.iter().map(|p| p.0).collect();
        let proto = self.blob.proto(returned, &types);
        let f = self.blob.add("f", (kind::FUNC << 24) | linkage, proto, &[]);
        for (nr, (_, tags)) in params.iter().enumerate() {
            for tag in *tags {
                self.blob.add(tag, kind::DECL_TAG << 24, f, &[nr as u32]);
            }
        }
        f
    }
}

fn ours(prog_type: ProgType, insns: &[Insn], types: TypeInfo<'_>) -> Outcome {
    let desc = ProgramDesc {
        insns,
        prog_type,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        types,
    };
    let options = Options {
        log_level: 2,
        insn_budget: 100_000,
        spent: &|| None,
    };
    verify(&desc, &Maps::new(), &options)
}

/// Where functions of a program begin, with `f`'s type for all but the first.
fn functions(insns: &[Insn], main: u32, f: u32) -> Vec<FuncInfo> {
    let starts = bpfvisor_tests::oracle::functions(insns);
    let typed = starts.iter().enumerate().map(|(nr, &[insn, _])| FuncInfo {
        insn,
        type_id: if nr == 0 { main } else { f },
    });
    typed.collect()
}

/// Maps by descriptor instead of handle.
fn with_fds(insns: &[Insn], maps: &[kernel::Map]) -> Vec<Insn> {
    let mut out = insns.to_vec();
    for insn in out
        .iter_mut()
        .filter(|i| i.is_wide() && i.src == op::PSEUDO_MAP_FD)
    {
        insn.imm = maps[insn.imm as usize].as_raw_fd();
    }
    out
}

#[test]
fn verdicts_are_the_kernels() {
    kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = String::new();
    for (case, text) in cases() {
        let insns = assemble(&text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut types = Types::new();
        let f = types.function(case.proto);
        let blob = types.blob.bytes();
        let funcs = functions(&insns, types.main, f);
        let info = TypeInfo {
            btf: &blob,
            funcs: &funcs,
            lines: &[],
        };
        let here = ours(case.prog_type, &insns, info);
        let maps = on_kernel(&Maps::new()).unwrap();
        let insns = with_fds(&insns, &maps);
        let btf = Btf::load(&blob).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let pairs: Vec<[u32; 2]> = funcs.iter().map(|f| [f.insn, f.type_id]).collect();
        let spec = ProgSpec {
            btf: Some((btf.as_fd(), &pairs)),
            ..ProgSpec::new(case.prog_type, &insns).log_level(2)
        };
        let (there, log) = match Prog::load(&spec) {
            Ok(p) => (Ok(()), p.log().to_owned()),
            Err(r) => (Err(r.error.errno), r.log),
        };
        let verdict = here.verdict.map(drop).map_err(|r| r.errno);
        // Of static functions the kernel also says what does not matter to it.
        let silent = case.proto.starts_with('\'');
        if verdict != there || (!silent && told(&here.log) != told(&log)) {
            wrong += &format!(
                "\n== {}: {verdict:?} here, {there:?} there\n-- here\n{}-- there\n{log}",
                case.name, here.log
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the log says but for instructions and states.
fn told(log: &str) -> Vec<&str> {
    let plain = |l: &&str| {
        let steps = [
            " ",
            "(",
            "func#",
            "Live regs",
            "caller:",
            "callee:",
            "returning from",
            "to caller",
            "from ",
            "mark_precise",
            "verification time",
            "stack depth",
            // The kernel counts ids by itself.
            "Unreleased reference",
        ];
        let numbered = l.starts_with(|c: char| c.is_ascii_digit());
        !(numbered || l.is_empty() || steps.iter().any(|s| l.starts_with(s)))
    };
    // Some of the kernel's lines are not ended before the last one begins.
    let lines = log.lines().filter_map(|l| l.split("processed ").next());
    lines.filter(plain).collect()
}

/// Linux takes the constant 0 for an argument that `arg:nonnull` says is never null,
/// and the function reads from there without having asked. That is no proof.
#[test]
fn null_is_no_argument_that_is_never_null() {
    let mut types = Types::new();
    let f = types.function("nP");
    let blob = types.blob.bytes();
    let insns = assemble(&format!("{NULL}{READS}")).unwrap();
    let funcs = functions(&insns, types.main, f);
    let info = TypeInfo {
        btf: &blob,
        funcs: &funcs,
        lines: &[],
    };
    let refused = ours(ProgType::Xdp, &insns, info).verdict.unwrap_err();
    assert_eq!(refused.errno, libc::EINVAL);
    assert!(
        refused.reason.contains("expected to be non-NULL"),
        "{}",
        refused.reason
    );
}

/// A name, `func_info` and `line_info`.
type Records = (&'static str, Vec<[u32; 2]>, Vec<[u32; 4]>);

/// Records that do not fit.
#[test]
fn records_are_checked_as_by_the_kernel() {
    kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let insns = assemble("r1 = 1\ncall f\nr2 = 0 ll\nexit\nf: r0 = 0\nexit").unwrap();
    let mut types = Types::new();
    let f = types.function("nn");
    let (file, text) = (types.blob.string("/a/b.c"), types.blob.string("  x = 1;"));
    let (main, int) = (types.main, types.int);
    let blob = types.blob.bytes();
    let btf = Btf::load(&blob).unwrap();
    let line = |insn: u32| [insn, file, text, (7 << 10) | 3];
    let lost = blob.len() as u32;
    let good: Vec<[u32; 2]> = vec![[0, main], [5, f]];
    let lines = vec![line(0), line(1), line(5)];
    let cases: Vec<Records> = vec![
        ("good", good.clone(), lines.clone()),
        ("no lines", good.clone(), vec![]),
        ("no functions", vec![], lines.clone()),
        ("one function", vec![[0, main]], vec![]),
        ("three functions", vec![[0, main], [4, f], [5, f]], vec![]),
        ("first not 0", vec![[1, main], [5, f]], vec![]),
        ("twice", vec![[0, main], [0, f]], vec![]),
        ("elsewhere", vec![[0, main], [4, f]], vec![]),
        ("beyond", vec![[0, main], [9, f]], vec![]),
        ("no type", vec![[0, main], [5, 99]], vec![]),
        ("void", vec![[0, 0], [5, f]], vec![]),
        ("no function's type", vec![[0, int], [5, f]], vec![]),
        ("main is of another type", vec![[0, f], [5, f]], vec![]),
        ("line beyond", good.clone(), vec![line(0), line(5), line(7)]),
        (
            "line at a second half",
            good.clone(),
            vec![line(0), line(3), line(5)],
        ),
        (
            "lines out of order",
            good.clone(),
            vec![line(0), line(5), line(2)],
        ),
        ("line twice", good.clone(), vec![line(0), line(0), line(5)]),
        ("no line for main", good.clone(), vec![line(1), line(5)]),
        ("no line for f", good.clone(), vec![line(0), line(1)]),
        ("line between only", good.clone(), vec![line(0), line(6)]),
        ("no file", good.clone(), vec![[0, lost, text, 1], line(5)]),
        ("no text", good.clone(), vec![[0, file, lost, 1], line(5)]),
        ("other names", good.clone(), vec![[0, 0, 0, 0], line(5)]),
    ];
    let mut wrong = String::new();
    for (name, funcs, lines) in cases {
        let spec = ProgSpec {
            btf: Some((btf.as_fd(), &funcs)),
            lines: &lines,
            ..ProgSpec::new(ProgType::Xdp, &insns).log_level(2)
        };
        let (there, log) = match Prog::load(&spec) {
            Ok(p) => (Ok(()), p.log().to_owned()),
            Err(r) => (Err(r.error.errno), r.log),
        };
        let funcs: Vec<FuncInfo> = funcs
            .iter()
            .map(|&[insn, type_id]| FuncInfo { insn, type_id })
            .collect();
        let lines: Vec<LineInfo> = lines
            .iter()
            .map(|&[insn, file, text, line_col]| LineInfo {
                insn,
                file,
                text,
                line_col,
            })
            .collect();
        let types = TypeInfo {
            btf: &blob,
            funcs: &funcs,
            lines: &lines,
        };
        let here = ours(ProgType::Xdp, &insns, types);
        let verdict = here.verdict.map(drop).map_err(|r| r.errno);
        if verdict != there || told(&here.log) != told(&log) {
            wrong += &format!(
                "\n== {name}: {verdict:?} here, {there:?} there\n-- here\n{}-- there\n{log}",
                here.log
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
