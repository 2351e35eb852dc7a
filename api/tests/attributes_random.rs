//! The interface of 2014 at random: lists of attributes against a parser of the test's
//! own, and programs in which fixups make room against the same programs that load
//! their maps themselves. Needs a usable /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::asm::assemble;
use bpfvisor::raw::{bpf_attrs, map_attr, prog_attr};
use bpfvisor::uapi::{Cmd, MapType, ProgType, errno};
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use std::fmt::Write;
use std::os::fd::AsRawFd;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

/// xorshift64*: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// An attribute as its header has it, and what follows.
#[derive(Clone)]
struct Attribute {
    len: u16,
    kind: u16,
    contents: Vec<u8>,
}

fn attribute(kind: u16, contents: Vec<u8>) -> Attribute {
    Attribute {
        len: contents.len() as u16 + 4,
        kind,
        contents,
    }
}

fn bytes(list: &[Attribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in list {
        out.extend(one.len.to_ne_bytes());
        out.extend(one.kind.to_ne_bytes());
        out.extend(&one.contents);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// Spoils a list in one of the ways in which lists are wrong.
fn spoil(random: &mut Random, list: &mut Vec<Attribute>) {
    let at = random.below(list.len());
    let copy = list[at].clone();
    match random.below(8) {
        0 => list[at].kind = random.below(6) as u16,
        1 => list[at].kind |= 1 << random.below(16),
        2 => list[at].len = random.below(24) as u16,
        3 => list[at].len ^= 1 << random.below(16),
        4 => list.insert(random.below(list.len() + 1), copy),
        5 if list.len() > 1 => drop(list.remove(at)),
        6 => {
            list[at].contents.resize(random.below(40), 1);
            list[at].len = list[at].contents.len() as u16 + 4;
        }
        _ => list.swap(at, 0),
    }
}

/// What an attribute may be: number, name, unit and most bytes of its contents.
type Kind = (u16, &'static str, usize, usize);

/// A command: its number, a type, a good list, kinds of attributes, those it needs.
type Command<'a> = (Cmd, u32, &'a [Attribute], &'a [Kind], &'a [u16]);

/// What is wrong with a list first: errno, and words that the message has.
fn first_fault(list: &[u8], kinds: &[Kind], needed: &[u16]) -> Option<(i32, String)> {
    let invalid = |text: String| Some((errno::EINVAL, text));
    let mut seen = Vec::new();
    let mut at = 0;
    while let Some(rest) = list.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.len() < 4 {
            return invalid(format!("truncated: {} bytes at byte {at}", rest.len()));
        }
        let half = |i: usize| u16::from_ne_bytes([rest[i], rest[i + 1]]);
        let (len, number) = (usize::from(half(0)), half(2));
        if len < 4 {
            return invalid(format!(
                "at byte {at} has length {len}, less than its header"
            ));
        }
        if len > rest.len() {
            return invalid(format!("at byte {at} is truncated"));
        }
        let Some((_, name, unit, most)) = kinds.iter().find(|k| k.0 == number) else {
            return invalid(format!("unknown type {number} at byte {at}"));
        };
        let place = format!("{name} at byte {at}");
        match len - 4 {
            contents if contents > *most => {
                return Some((errno::E2BIG, format!("{place} is oversized")));
            }
            contents if contents == 0 || contents % unit != 0 => {
                return invalid(format!("{place} is misaligned"));
            }
            _ if seen.contains(&number) => {
                return invalid(format!("{place} is there a second time"));
            }
            _ => seen.push(number),
        }
        at += len.div_ceil(4) * 4;
    }
    let missing = needed.iter().find(|n| !seen.contains(n))?;
    let name = kinds.iter().find(|k| k.0 == *missing)?.1;
    invalid(format!("{name} is missing"))
}

/// Whether a message is one about lists, and not about what they say.
fn about_lists(message: &str) -> bool {
    [
        "truncated",
        "header",
        "unknown type",
        "oversized",
        "misaligned",
        "second time",
        "missing",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[test]
fn every_list_is_taken_or_refused_for_its_first_fault() {
    let vm = vm();
    let words = |kind, word: u32| attribute(kind, word.to_ne_bytes().to_vec());
    let map = vec![
        words(map_attr::KEY_SIZE, 4),
        words(map_attr::VALUE_SIZE, 8),
        words(map_attr::MAX_ENTRIES, 4),
    ];
    let map_kinds = [
        (1, "KEY_SIZE", 4, 4),
        (2, "VALUE_SIZE", 4, 4),
        (3, "MAX_ENTRIES", 4, 4),
    ];
    let named = vm.create_map(MapSpec::array("m", 8, 1)).unwrap();
    let text = assemble("r1 = 0 ll\nr0 = 2\nexit").unwrap();
    let text: Vec<u8> = text.iter().flat_map(|i| i.to_bytes()).collect();
    let fixup = [0u32.to_ne_bytes(), named.as_raw_fd().to_ne_bytes()].concat();
    let program = vec![
        attribute(prog_attr::TEXT, text),
        attribute(prog_attr::LICENSE, b"GPL\0".to_vec()),
        attribute(prog_attr::MAP_FIXUP, fixup),
    ];
    let program_kinds = [
        (1, "TEXT", 8, 65535),
        (2, "LICENSE", 1, 128),
        (3, "MAP_FIXUP", 8, 65535),
    ];
    let hash = MapType::Hash as u32;
    let xdp = ProgType::Xdp as u32;
    let sides: [Command<'_>; 2] = [
        (Cmd::MapCreate, hash, &map, &map_kinds, &[1, 2, 3]),
        (Cmd::ProgLoad, xdp, &program, &program_kinds, &[1]),
    ];
    let mut random = Random(0x2014);
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..6000 {
        let (cmd, object_type, good, kinds, needed) = &sides[round % 2];
        let mut list = good.to_vec();
        for _ in 0..random.below(4) {
            spoil(&mut random, &mut list);
        }
        let mut list = bytes(&list);
        if random.below(4) == 0 {
            list.truncate(random.below(list.len() + 1));
        }
        let expected = first_fault(&list, kinds, needed);
        match (
            bpf_attrs(&vm, *cmd as u32, *object_type, &list, 0),
            expected,
        ) {
            (Ok(fd), None) => {
                close(fd);
                *seen.entry("taken".to_string()).or_insert(0) += 1;
            }
            (Err(e), None) => assert!(!about_lists(&e.message), "{list:?}: {e}"),
            (Ok(_), Some(fault)) => panic!("{list:?}: taken in spite of {fault:?}"),
            (Err(e), Some((number, words))) => {
                assert_eq!(e.errno, number, "{list:?}: {e}, expected {words}");
                assert!(
                    e.message.contains(&words),
                    "{list:?}: {e}, expected {words}"
                );
                let kind = words.rsplit(' ').next().unwrap_or_default().to_string();
                *seen.entry(kind).or_insert(0) += 1;
            }
        }
    }
    for kind in [
        "taken",
        "missing",
        "misaligned",
        "oversized",
        "time",
        "header",
        "truncated",
    ] {
        assert!(seen.get(kind).is_some_and(|n| *n > 20), "{kind}: {seen:?}");
    }
}

/// Closes a descriptor that a command has made.
#[allow(unsafe_code)]
fn close(fd: i64) {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the command has made it just now, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
}

/// A line of a program; `Call` and `Mov` are what a fixup will name.
enum Line {
    Text(String),
    Call(&'static str),
    Mov,
}

/// A program, by lines.
#[derive(Default)]
struct Source(Vec<Line>);

impl Source {
    fn text(&mut self, text: impl Into<String>) {
        self.0.push(Line::Text(text.into()));
    }

    /// R2 and R3 to a key and a value on the stack, and the call of a map function.
    fn map_function(&mut self, random: &mut Random, label: &str) {
        let (key, value) = (random.below(4), random.below(1000));
        self.text(format!(
            "*(u32 *)(r10 -4) = {key}\n*(u64 *)(r10 -16) = {value}"
        ));
        self.text("r2 = r10\nr2 += -4");
        let by_mov = random.below(3) == 0;
        if by_mov {
            self.0.push(Line::Mov);
        }
        let (name, after) = match random.below(3) {
            0 => ("bpf_map_delete_elem#3", "r8 += r0".to_string()),
            1 => {
                self.text("r3 = r10\nr3 += -16\nr4 = 0");
                ("bpf_map_update_elem#2", "r8 += r0".to_string())
            }
            _ => (
                "bpf_map_lookup_elem#1",
                format!("if r0 == 0 goto {label}\nr1 = *(u64 *)(r0 +0)\nr8 += r1\n{label}:"),
            ),
        };
        match by_mov {
            true => self.text(format!("call {name}")),
            false => self.0.push(Line::Call(name)),
        }
        self.text(after);
    }

    /// One block: something with the map, and then on, out of the way or around.
    fn block(&mut self, random: &mut Random, i: usize, blocks: usize) {
        self.text(format!("b{i}:\nr8 *= 3\nr8 += {i}"));
        // The first calls it: else it would be unreachable.
        match random.below(5).max(usize::from(i == 0) * 5) {
            0 | 5 => self.text("r1 = r8\ncall sub\nr8 += r0"),
            1 => self.text("r1 = 3\nr2 = subprog[turn]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr8 += r0"),
            2 => {
                self.text(format!("r9 = {}\nl{i}:", 1 + random.below(4)));
                self.map_function(random, &format!("f{i}"));
                self.text(format!("r9 += -1\nif r9 != 0 goto l{i}"));
            }
            _ => self.map_function(random, &format!("f{i}")),
        }
        let to = i + 1 + random.below(blocks - i);
        self.text(format!("r6 = *(u8 *)(r7 +{})", random.below(14)));
        let number = random.below(256);
        match random.below(6) {
            0 => self.text(format!("if r6 > {number} goto b{to}")),
            1 => self.text(format!("if w6 s< {number} goto b{to}")),
            2 => self.text(format!("if r6 & {number} goto b{to}")),
            3 => self.text(format!("if r6 > {number} goto g{i}\ngoto b{to}\ng{i}:")),
            4 => self.text(format!("if r6 > {number} goto g{i}\ngotol b{to}\ng{i}:")),
            _ => {}
        }
    }

    fn new(random: &mut Random) -> Self {
        let mut source = Self::default();
        let blocks = 1 + random.below(10);
        source.text("r7 = *(u32 *)(r1 +0)\nr2 = *(u32 *)(r1 +4)\nr8 = r7\nr8 += 14\nr0 = 0");
        source.text("if r8 > r2 goto short\nr8 = 1");
        source.text("r1 = 2\nr2 = subprog[turn]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr8 += r0");
        for i in 0..blocks {
            source.block(random, i, blocks);
        }
        source.text(format!("b{blocks}:\nr0 = r8\nshort:\nexit\nsub:\nr8 = r1"));
        source.map_function(random, "fsub");
        source.text("r0 = r8\nexit\nturn:\nr8 = r1");
        source.map_function(random, "fturn");
        source.text("r0 = 0\nexit");
        source
    }

    /// As text, with the instructions that fixups name: in the way of 2014, or with the
    /// loads written out.
    fn render(&self, old: bool) -> (String, Vec<u32>) {
        let (mut text, mut lines, mut at) = (String::new(), Vec::new(), 0);
        for line in &self.0 {
            let line = match (line, old) {
                (Line::Text(text), _) => text.clone(),
                (Line::Call(name), true) => format!("call {name}"),
                (Line::Mov, true) => "r1 = 77".into(),
                (Line::Call(name), false) => format!("r1 = 0 ll\ncall {name}"),
                (Line::Mov, false) => "r1 = 0 ll".into(),
            };
            writeln!(text, "{line}").unwrap();
            lines.push(at);
            at += line.lines().map(slots).sum::<u32>();
        }
        let places = self.0.iter().zip(lines);
        let named = places.filter(|(line, _)| !matches!(line, Line::Text(_)));
        (text, named.map(|(_, at)| at).collect())
    }
}

/// Slots that a line of text takes.
fn slots(line: &str) -> u32 {
    match line {
        _ if line.ends_with(':') => 0,
        _ if line.ends_with(" ll") || line.contains("subprog[") => 2,
        _ => 1,
    }
}

fn load(map: &Map, (text, named): &(String, Vec<u32>)) -> Program {
    let insns = assemble(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let spec = ProgramSpec::xdp(insns).license("GPL");
    let spec = named.iter().fold(spec, |spec, at| spec.fixup(*at, map));
    let program = map.vm().load(spec);
    program.unwrap_or_else(|e| panic!("{e}\n{text}\n{named:?}"))
}

/// All elements, in order.
fn contents(map: &Map) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<_> = map.iter().map(|e| e.unwrap()).collect();
    all.sort();
    all
}

#[test]
fn programs_do_the_same_after_room_was_made_in_them() {
    let vm = vm();
    let mut random = Random(0x1e71_2014);
    let (mut calls, mut answers) = (0, std::collections::BTreeSet::new());
    for _ in 0..150 {
        let source = Source::new(&mut random);
        let make = || vm.create_map(MapSpec::hash("m", 4, 8, 8)).unwrap();
        let (old, new) = (
            (make(), source.render(true)),
            (make(), source.render(false)),
        );
        calls += old.1.1.len();
        let programs = (load(&old.0, &old.1), load(&new.0, &new.1));
        for _ in 0..12 {
            let packet: Vec<u8> = (0..14).map(|_| random.below(256) as u8).collect();
            let answer = programs.0.run(&packet).unwrap().r0;
            assert_eq!(answer, programs.1.run(&packet).unwrap().r0, "{}", old.1.0);
            assert_eq!(contents(&old.0), contents(&new.0), "{}", old.1.0);
            answers.insert(answer);
        }
    }
    assert!(
        calls > 500 && answers.len() > 200,
        "{calls} fixups, {} answers",
        answers.len()
    );
}
