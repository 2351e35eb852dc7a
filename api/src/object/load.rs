//! Creating an object's maps and loading its programs.

use super::maps::MapDef;
use super::section::{self, Meaning};
use super::values::{Target, Value};
use super::{Global, ObjectFile, ProgramDef, find_global};
use crate::error::{Error, Result};
use crate::{Btf, Map, MapSpec, Program, ProgramSpec, Vm};
use bpf_core::uapi::{MapType, ProgType, errno};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What to load of an object, and how.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Names of the programs to load, and with them only the maps they need;
    /// empty: every program that is not marked `?`, and every map.
    pub programs: Vec<String>,
    /// `log_level` of the verifier.
    pub log_level: u32,
    /// For flat programs: shortest and longest memory.
    pub flat: (u32, u32),
    /// Type of programs whose section's name says none.
    pub prog_type: Option<ProgType>,
    /// Where maps with a pinning attribute are shared by name, see
    /// [`Vm::pin`]; `/sys/fs/bpf` unless told.
    pub pin_root: Option<String>,
}

/// An object in a VM: its maps and loaded programs.
#[derive(Debug)]
pub struct Object {
    maps: Vec<(String, Map)>,
    programs: Vec<ObjectProgram>,
    globals: Vec<(Global, Option<Map>)>,
}

/// A loaded program of an object.
#[derive(Clone, Debug)]
pub struct ObjectProgram {
    /// Name of the function.
    pub name: String,
    /// Name of its section.
    pub section: String,
    /// The program.
    pub program: Program,
}

impl Vm {
    /// Loads an object file: creates its maps, loads its programs.
    ///
    /// # Errors
    /// Those of [`ObjectFile::open`] and [`ObjectFile::load`].
    pub fn load_object(&self, path: impl AsRef<Path>) -> Result<Object> {
        ObjectFile::open(path)?.load(self, &LoadOptions::default())
    }
}

impl ObjectFile {
    /// Creates the maps and loads the programs.
    ///
    /// # Errors
    /// EINVAL for a program that the object does not have, EOPNOTSUPP for program
    /// types and map types that mean nothing here, and those of
    /// [`Vm::create_map`] and [`Vm::load`].
    pub fn load(&self, vm: &Vm, options: &LoadOptions) -> Result<Object> {
        let chosen = self.choose(options)?;
        let needed = self.needed(&chosen, options)?;
        let mut maps: Vec<Option<Map>> = vec![None; self.maps.len()];
        for &i in &needed {
            let map = self.share_or_create(vm, &self.maps[i], options);
            maps[i] = Some(map.map_err(|e| in_map(&self.maps[i].name, e))?);
        }
        self.set_values(&maps, &[])?;
        let btf = match self.btf.is_empty() {
            true => None,
            false => Some(vm.keep_btf(&self.btf)?),
        };
        let mut programs = Vec::new();
        for &i in &chosen {
            programs.push((
                i,
                self.load_program(vm, &self.programs[i], (&maps, btf.as_ref()), options)?,
            ));
        }
        self.set_values(&maps, &programs)?;
        Ok(self.loaded(maps, programs))
    }

    /// Indices of the programs to load.
    fn choose(&self, options: &LoadOptions) -> Result<BTreeSet<usize>> {
        if options.programs.is_empty() {
            let all = self.programs.iter().enumerate();
            let wanted = all.filter(|(_, p)| section::autoload(&p.section));
            return Ok(wanted.map(|(i, _)| i).collect());
        }
        let mut chosen = BTreeSet::new();
        for name in &options.programs {
            chosen.insert(self.find_program(name)?);
        }
        // Tail-call targets come along.
        loop {
            let targets = self.tail_targets(&chosen);
            let Some(more) = targets.into_iter().find(|i| !chosen.contains(i)) else {
                return Ok(chosen);
            };
            chosen.insert(more);
        }
    }

    fn find_program(&self, name: &str) -> Result<usize> {
        let found = self.programs.iter().position(|p| p.name == name);
        let by_section = || self.programs.iter().position(|p| p.section == name);
        found.or_else(by_section).ok_or_else(|| {
            let names: Vec<&str> = self.programs.iter().map(|p| p.name.as_str()).collect();
            Error::argument(match names.as_slice() {
                [] => format!("no program {name:?}: the object has no programs at all"),
                _ => format!("no program {name:?}; the object has: {}", names.join(", ")),
            })
        })
    }

    /// Programs that stand in the program arrays of these programs.
    fn tail_targets(&self, chosen: &BTreeSet<usize>) -> Vec<usize> {
        let values = self.values.iter();
        values
            .filter_map(|v| match v.target {
                Target::Program(p) if self.uses(chosen, v.map) => Some(p),
                _ => None,
            })
            .collect()
    }

    /// Whether any of the programs names that map.
    fn uses(&self, chosen: &BTreeSet<usize>, map: usize) -> bool {
        chosen.iter().any(|&i| match &self.programs[i].linked {
            Ok(l) => l
                .map_loads
                .iter()
                .any(|&at| l.insns[at].imm as usize == map),
            Err(_) => false,
        })
    }

    /// Indices of the maps to create, in an order in which they can be.
    fn needed(&self, chosen: &BTreeSet<usize>, options: &LoadOptions) -> Result<BTreeSet<usize>> {
        for &i in chosen {
            self.programs[i].linked.as_ref().map_err(Error::clone)?;
        }
        let all = 0..self.maps.len();
        if options.programs.is_empty() {
            return Ok(all.collect());
        }
        let mut needed: BTreeSet<usize> = all.filter(|&i| self.uses(chosen, i)).collect();
        for v in &self.values {
            if let (true, Target::Map(inner)) = (needed.contains(&v.map), v.target) {
                needed.insert(inner);
            }
        }
        Ok(needed)
    }

    /// The map that is pinned by this name already, or a new one, pinned where
    /// the object wants that.
    fn share_or_create(&self, vm: &Vm, def: &MapDef, options: &LoadOptions) -> Result<Map> {
        let Some(pin) = &def.pin else {
            return self.create(vm, def);
        };
        let root = options.pin_root.as_deref().unwrap_or("/sys/fs/bpf");
        let path = format!("{root}/{pin}");
        match vm.pinned_map(&path) {
            Ok(map) => same_definition(def, map, &path),
            Err(e) if e.errno() == errno::ENOENT => {
                let map = self.create(vm, def)?;
                match vm.pin(&path, &map) {
                    // Somebody else was faster.
                    Err(e) if e.errno() == errno::EEXIST => {
                        same_definition(def, vm.pinned_map(&path)?, &path)
                    }
                    done => done.map(|()| map),
                }
            }
            Err(e) => Err(e),
        }
    }

    fn create(&self, vm: &Vm, def: &MapDef) -> Result<Map> {
        let name = self.map_name(def);
        let map_type = MapType::from_u32(def.map_type).ok_or_else(|| {
            Error::unsupported(format!(
                "map {name:?}: there is no map type {}",
                def.map_type
            ))
        })?;
        let mut spec = MapSpec::new(
            &name,
            map_type,
            def.key_size,
            def.value_size,
            def.max_entries,
        )
        .flags(def.flags)
        .extra(def.extra);
        spec.spin_lock_off = def.spin_lock_off;
        if let Some(inner) = &def.inner {
            spec.inner = Some(self.create(vm, inner)?);
        }
        let map = vm.create_map(spec)?;
        if let Some(data) = &def.data {
            if data.iter().any(|&b| b != 0) {
                map.insert(&0u32.to_ne_bytes(), data)?;
                map.core().begin();
            }
            if def.is_constant() {
                map.freeze()?;
            }
        }
        Ok(map)
    }

    /// libbpf's naming: global data gets the object's name in front.
    fn map_name(&self, def: &MapDef) -> String {
        let full = if def.data.is_some() {
            let room = 15usize.saturating_sub(def.name.len());
            let prefix: String = self.name.chars().take(room).collect();
            format!("{prefix}{}", def.name)
        } else {
            def.name.clone()
        };
        kernel_name(&full)
    }

    /// Fills in initial values; those that name programs when these are there.
    fn set_values(&self, maps: &[Option<Map>], programs: &[(usize, Program)]) -> Result<()> {
        for Value { map, key, target } in &self.values {
            let Some(outer) = &maps[*map] else { continue };
            let fd = match target {
                Target::Map(inner) if programs.is_empty() => {
                    maps[*inner].as_ref().map(|m| m.as_raw_fd())
                }
                Target::Program(p) => programs
                    .iter()
                    .find(|(i, _)| i == p)
                    .map(|(_, prog)| prog.as_raw_fd()),
                Target::Map(_) => None,
            };
            if let Some(fd) = fd {
                outer.insert(&key.to_ne_bytes(), &fd.to_ne_bytes())?;
            }
        }
        Ok(())
    }

    fn load_program(
        &self,
        vm: &Vm,
        def: &ProgramDef,
        (maps, btf): (&[Option<Map>], Option<&Btf>),
        options: &LoadOptions,
    ) -> Result<Program> {
        let meaning = meaning(def, options)?;
        let linked = def.linked.as_ref().map_err(Error::clone)?;
        let mut insns = linked.insns.clone();
        for &at in &linked.map_loads {
            let map = maps.get(insns[at].imm as usize).and_then(Option::as_ref);
            let fd = map.map(|m| m.as_raw_fd());
            insns[at].imm = fd.ok_or_else(|| Error::object("a map is missing"))?;
        }
        let spec = ProgramSpec::new(meaning.prog_type, insns)
            .name(&kernel_name(&def.name))
            .license(&self.license)
            .attach_type(meaning.attach_type)
            .flags(meaning.flags)
            .log_level(options.log_level)
            .flat_memory(options.flat.0, options.flat.1);
        let spec = match btf {
            Some(btf) => spec.types(btf, linked.funcs.clone(), linked.lines.clone()),
            None => spec,
        };
        vm.load(spec).map_err(|e| explain(e, def, &linked.missing))
    }

    fn loaded(&self, maps: Vec<Option<Map>>, programs: Vec<(usize, Program)>) -> Object {
        let globals = self.globals.iter().cloned();
        let globals = globals.map(|g| {
            let map = maps[g.map].clone();
            (g, map)
        });
        Object {
            globals: globals.collect(),
            programs: programs
                .into_iter()
                .map(|(i, program)| ObjectProgram {
                    name: self.programs[i].name.clone(),
                    section: self.programs[i].section.clone(),
                    program,
                })
                .collect(),
            maps: self
                .maps
                .iter()
                .zip(maps)
                .filter_map(|(def, map)| Some((def.name.clone(), map?)))
                .collect(),
        }
    }
}

/// What kind of program it is: by its section, else as the caller says.
fn meaning(def: &ProgramDef, options: &LoadOptions) -> Result<Meaning> {
    let told = options.prog_type.map(Meaning::only_type);
    def.meaning.or(told).ok_or_else(|| {
        Error::unsupported(format!(
            "program {:?}: section name {:?} says no program type (expected xdp, tc, socket, \
             flat, …, as libbpf has it; or say the type)",
            def.name, def.section
        ))
    })
}

/// Says what a program needs that a VM does not have.
fn explain(e: Error, def: &ProgramDef, missing: &[(usize, String)]) -> Error {
    let Error::Program(mut r) = e else { return e };
    let at_fault = missing.iter().find(|m| r.insn == Some(m.0 as u32));
    if let Some((_, wanted)) = at_fault {
        r.reason = format!("it needs {wanted}");
        r.unsupported = true;
    } else if r.unsupported && r.insn.is_none() {
        r.reason = format!("{} (section {:?}) is not supported", r.reason, def.section);
    }
    Error::Program(r)
}

/// A pinned map must be what the object defines.
fn same_definition(def: &MapDef, map: Map, path: &str) -> Result<Map> {
    let found = [
        map.map_type() as u32,
        map.key_size() as u32,
        map.value_size() as u32,
        map.max_entries(),
        map.flags(),
    ];
    let wanted = [
        def.map_type,
        def.key_size,
        def.value_size,
        def.max_entries,
        def.flags,
    ];
    if found == wanted {
        return Ok(map);
    }
    Err(Error::argument(format!(
        "map {:?}: another map is pinned at {path}: type, key, value, max_entries, flags are \
         {found:?}, expected {wanted:?}",
        def.name
    )))
}

fn in_map(name: &str, e: Error) -> Error {
    match e {
        Error::Caller(crate::CallerError::Argument(text)) if !text.contains(name) => {
            Error::argument(format!("map {name:?}: {text}"))
        }
        other => other,
    }
}

/// At most 15 letters, digits, `_` and `.`.
fn kernel_name(name: &str) -> String {
    let good = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(good).take(15).collect()
}

impl Object {
    /// The program of this name, or the first in the section of this name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        let by_name = self.programs.iter().find(|p| p.name == name);
        let by_section = || self.programs.iter().find(|p| p.section == name);
        by_name.or_else(by_section).map(|p| &p.program)
    }

    /// Its programs.
    pub fn programs(&self) -> &[ObjectProgram] {
        &self.programs
    }

    /// The map of this name; global data is named after its section.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.iter().find(|(n, _)| n == name).map(|(_, m)| m)
    }

    /// Its maps, by name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.maps.iter().map(|(n, m)| (n.as_str(), m))
    }

    /// Names of the global variables that programs can change, in the order of
    /// the file.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let there = self.globals.iter().filter(|(_, map)| {
            let frozen = |m: &Map| m.flags() & bpf_core::uapi::map_flags::RDONLY_PROG != 0;
            map.as_ref().is_some_and(|m| !frozen(m))
        });
        there.map(|(g, _)| g.name.as_str())
    }

    /// The value of a global variable now.
    ///
    /// # Errors
    /// EINVAL where there is no such variable.
    pub fn global(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.globals.iter().find(|(g, _)| g.name == name);
        let Some((global, Some(map))) = found else {
            let known: Vec<Global> = self.globals.iter().map(|(g, _)| g.clone()).collect();
            find_global(&known, name)?;
            return Err(Error::argument(format!(
                "global variable {name:?} is of no loaded program"
            )));
        };
        let section = map.get(&0u32.to_ne_bytes())?.unwrap_or_default();
        let bytes = section.get(global.offset..global.offset + global.size);
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::object(format!("global variable {name:?} lies outside its map")))
    }
}
