//! From functions in sections to a program in one piece: the functions that it
//! calls are appended, calls and references mended, maps named.

use super::btf::Btf;
use super::core::{self, Answers};
use super::elf::{Elf, Kind, Symbol};
use super::ext::Ext;
use super::kconfig::Kconfig;
use super::maps::MapDef;
use crate::error::{Error, Result};
use bpf_core::insn::{Insn, op};
use bpf_core::program::{FuncInfo, LineInfo};
use std::collections::BTreeMap;

/// A function of the object.
#[derive(Clone, Copy)]
pub(super) struct Function<'d> {
    pub name: &'d str,
    pub section: usize,
    pub start: u64,
    pub len: u64,
    /// Seen from other objects, as far as the linker is concerned.
    pub global: bool,
}

/// Functions by section and offset.
pub(super) type Functions<'d> = BTreeMap<(usize, u64), Function<'d>>;

/// A program in one piece. Wide loads that name a map have its index in the
/// object's list as their immediate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Linked {
    pub insns: Vec<Insn>,
    /// Wide loads that name a map.
    pub map_loads: Vec<usize>,
    /// The type of each function, or none at all.
    pub funcs: Vec<FuncInfo>,
    /// Source lines, at least one for each function, or none at all.
    pub lines: Vec<LineInfo>,
    /// Calls of weak kernel functions, and what they want. No run may come by.
    pub missing: Vec<(usize, String)>,
}

/// All functions of executable sections.
pub(super) fn functions<'d>(elf: &Elf<'d>) -> Result<Functions<'d>> {
    let mut out = Functions::new();
    for symbol in elf.symbols.iter().filter(|s| s.kind == Kind::Function) {
        let Some(section) = symbol.section else {
            continue;
        };
        let Some(body) = elf.sections.get(section).filter(|s| s.exec) else {
            continue;
        };
        let end = symbol.value.checked_add(symbol.size);
        let fits = end.is_some_and(|end| end <= body.data.len() as u64);
        if !fits || symbol.size == 0 || symbol.value % 8 != 0 || symbol.size % 8 != 0 {
            return Err(Error::object(format!(
                "function {:?} does not lie in its section {:?}",
                symbol.name, body.name
            )));
        }
        out.insert((section, symbol.value), function(symbol, section));
    }
    Ok(out)
}

fn function<'d>(symbol: &Symbol<'d>, section: usize) -> Function<'d> {
    Function {
        name: symbol.name,
        section,
        start: symbol.value,
        len: symbol.size,
        global: symbol.global && !symbol.hidden,
    }
}

/// What the linker looks things up in.
pub(super) struct Linker<'a, 'd> {
    pub elf: &'a Elf<'d>,
    pub btf: &'a Btf,
    pub functions: &'a Functions<'d>,
    pub maps: &'a [MapDef],
    pub kconfig: &'a Kconfig,
    pub answers: &'a Answers,
    pub ext: &'a Ext,
}

/// Number of a helper that does not exist, for calls of what is not there.
const POISON: i32 = 2_002_000_000;

/// Longest program, as the kernel has it.
const LONGEST: usize = bpf_core::uapi::limits::COMPLEXITY_INSNS as usize;

impl<'a, 'd> Linker<'a, 'd> {
    /// Links the program that begins with `main`.
    pub fn link(&self, main: &Function<'d>) -> Result<Linked> {
        let mut job = Job {
            linker: self,
            out: Linked::default(),
            placed: BTreeMap::new(),
            pending: Vec::new(),
        };
        job.place(main)?;
        while let Some((function, at)) = job.pending.pop() {
            job.relocate(&function, at)?;
        }
        job.describe();
        Ok(job.out)
    }

    fn body(&self, f: &Function<'_>) -> impl Iterator<Item = Insn> + use<'a, 'd> {
        let section = &self.elf.sections[f.section];
        let range = f.start as usize..(f.start + f.len) as usize;
        let (slots, _) = section.data.get(range).unwrap_or_default().as_chunks::<8>();
        slots.iter().map(|s| Insn::from_bytes(*s))
    }

    /// What a symbol without a definition stands for.
    fn undefined(&self, symbol: &Symbol<'_>) -> String {
        let name = symbol.name;
        if self.btf.names_in(".ksyms", name) {
            format!("{name:?} of the kernel (__ksym), which a VM does not have")
        } else {
            format!(
                "{name:?}, which the object only declares: link the objects that belong together \
                 first (bpftool gen object)"
            )
        }
    }

    /// The map defined at a place in a section.
    fn map_at(&self, section: usize, offset: u64) -> Option<(usize, &MapDef)> {
        self.maps
            .iter()
            .enumerate()
            .find(|(_, m)| m.section == section && (m.data.is_some() || m.offset == offset))
    }
}

struct Job<'l, 'a, 'd> {
    linker: &'l Linker<'a, 'd>,
    out: Linked,
    /// Where each function begins in the program.
    placed: BTreeMap<(usize, u64), usize>,
    /// Functions placed, but not yet looked through.
    pending: Vec<(Function<'d>, usize)>,
}

impl<'d> Job<'_, '_, 'd> {
    /// Where a function begins; appends it first if need be.
    fn place(&mut self, f: &Function<'d>) -> Result<usize> {
        let key = (f.section, f.start);
        if let Some(&at) = self.placed.get(&key) {
            return Ok(at);
        }
        let at = self.out.insns.len();
        if at + (f.len / 8) as usize > LONGEST {
            return Err(Error::object(format!(
                "program too long: more than {LONGEST} instructions"
            )));
        }
        self.out.insns.extend(self.linker.body(f));
        let asked = (f.section, f.start)..(f.section, f.start + f.len);
        for (&(_, offset), &answer) in self.linker.answers.range(asked) {
            let slot = at + ((offset - f.start) / 8) as usize;
            core::put(&mut self.out.insns[slot..], answer);
        }
        self.placed.insert(key, at);
        self.pending.push((*f, at));
        Ok(at)
    }

    /// What the compiler says of the functions, where they are now. Linux takes
    /// types of all functions or none, and lines likewise.
    fn describe(&mut self) {
        let ext = self.linker.ext;
        let (mut typed, mut lined) = (true, true);
        for (&(section, start), &at) in &self.placed {
            let here = |offset: u64| at as u32 + ((offset - start) / 8) as u32;
            match ext.funcs.get(&(section, start)) {
                Some(f) => self.out.funcs.push(FuncInfo {
                    insn: here(start),
                    ..*f
                }),
                None => typed = false,
            }
            lined &= ext.lines.contains_key(&(section, start));
            let len = self
                .linker
                .functions
                .get(&(section, start))
                .map_or(0, |f| f.len);
            let lines = ext.lines.range((section, start)..(section, start + len));
            self.out
                .lines
                .extend(lines.map(|(&(_, offset), l)| LineInfo {
                    insn: here(offset),
                    ..*l
                }));
        }
        self.out.funcs.sort_by_key(|f| f.insn);
        self.out.lines.sort_by_key(|l| l.insn);
        if !typed {
            self.out.funcs.clear();
        }
        if !lined {
            self.out.lines.clear();
        }
    }

    /// Mends the calls and loads of a function that begins at `at`.
    fn relocate(&mut self, f: &Function<'d>, at: usize) -> Result<()> {
        let relocs = &self.linker.elf.sections[f.section].relocs;
        let mut second = false;
        for i in 0..(f.len / 8) as usize {
            if std::mem::take(&mut second) {
                continue;
            }
            let insn = self.out.insns[at + i];
            second = insn.is_wide();
            let offset = f.start + i as u64 * 8;
            let symbol = relocs
                .get(&offset)
                .map(|r| &self.linker.elf.symbols[r.symbol]);
            let here = Here {
                function: f,
                slot: at + i,
                offset,
            };
            match symbol {
                _ if is_call(&insn) => self.call(&here, symbol)?,
                Some(symbol) if insn.is_wide() => self.load(&here, symbol)?,
                Some(symbol) => {
                    return Err(
                        here.refuse(format!("an unexpected reference to {:?}", symbol.name))
                    );
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A call of another function.
    fn call(&mut self, here: &Here<'_, 'd>, symbol: Option<&Symbol<'d>>) -> Result<()> {
        let imm = i64::from(self.out.insns[here.slot].imm);
        let (section, base) = match symbol {
            None => (here.function.section, here.offset),
            Some(s) if s.section.is_none() && s.weak => {
                let call = Insn::new(op::JMP | op::CALL, 0, 0, 0, POISON);
                self.out.insns[here.slot] = call;
                let wanted = self.linker.undefined(s);
                self.out.missing.push((here.slot, wanted));
                return Ok(());
            }
            Some(s) => (self.defined(here, s)?, s.value),
        };
        let target = (imm + 1)
            .checked_mul(8)
            .and_then(|distance| base.checked_add_signed(distance));
        self.refer(here, section, target)
    }

    /// Makes the instruction refer to the function at `target`.
    fn refer(&mut self, here: &Here<'_, 'd>, section: usize, target: Option<u64>) -> Result<()> {
        let callee = target.and_then(|t| self.linker.functions.get(&(section, t)));
        let Some(callee) = callee else {
            return Err(here.refuse("it calls something that is not the start of a function"));
        };
        let to = self.place(callee)?;
        self.out.insns[here.slot].imm = (to as i64 - here.slot as i64 - 1) as i32;
        Ok(())
    }

    /// A wide load of the address of a map, of global data or of a function.
    fn load(&mut self, here: &Here<'_, 'd>, symbol: &Symbol<'d>) -> Result<()> {
        let slot = here.slot;
        if slot + 1 >= self.out.insns.len() {
            return Err(here.refuse("a wide load is cut off"));
        }
        if let (None, Some(&at)) = (symbol.section, self.linker.kconfig.offsets.get(symbol.name)) {
            self.load_map(slot, self.linker.kconfig.map, Some(at as i32));
            return Ok(());
        }
        if symbol.section.is_none() && symbol.weak {
            self.out.insns[slot].imm = 0; // an extern that does not exist here
            self.out.insns[slot + 1].imm = 0;
            return Ok(());
        }
        let section = self.defined(here, symbol)?;
        let addend = i64::from(self.out.insns[slot].imm);
        let target = symbol.value.checked_add_signed(addend);
        if self.linker.elf.sections[section].exec {
            self.out.insns[slot].src = op::PSEUDO_FUNC;
            return self.refer(here, section, target);
        }
        let found = target.and_then(|t| Some((self.linker.map_at(section, t)?, t)));
        let Some(((index, map), target)) = found else {
            return Err(here.refuse(format!(
                "it refers to {:?} in section {:?}, where no map or global data is",
                symbol.name, self.linker.elf.sections[section].name
            )));
        };
        let value = map.data.is_some().then_some(target as i32);
        self.load_map(slot, index, value);
        Ok(())
    }

    /// Makes the wide load in `slot` load a map, or an address in its value.
    fn load_map(&mut self, slot: usize, map: usize, value: Option<i32>) {
        let insns = &mut self.out.insns[slot..];
        insns[0].imm = map as i32;
        insns[0].src = match value {
            Some(_) => op::PSEUDO_MAP_VALUE,
            None => op::PSEUDO_MAP_FD,
        };
        insns[1].imm = value.unwrap_or(0);
        self.out.map_loads.push(slot);
    }

    /// The section that defines a symbol.
    fn defined(&self, here: &Here<'_, '_>, symbol: &Symbol<'_>) -> Result<usize> {
        symbol.section.ok_or_else(|| {
            let wanted = self.linker.undefined(symbol);
            Error::unsupported(format!("{here}: it needs {wanted}"))
        })
    }
}

fn is_call(insn: &Insn) -> bool {
    insn.opcode == op::JMP | op::CALL && matches!(insn.src, op::PSEUDO_CALL | op::PSEUDO_KFUNC_CALL)
}

/// An instruction, for messages.
struct Here<'a, 'd> {
    function: &'a Function<'d>,
    slot: usize,
    /// Offset in its section.
    offset: u64,
}

impl Here<'_, '_> {
    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::object(format!("{self}: {what}"))
    }
}

impl std::fmt::Display for Here<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let insn = (self.offset - self.function.start) / 8;
        write!(f, "function {:?}, instruction {insn}", self.function.name)
    }
}
