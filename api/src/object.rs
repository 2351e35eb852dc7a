//! ELF objects, as clang writes them and libbpf understands them.
//!
//! The conventions are libbpf's: a section's name says the type of the programs
//! in it, `.maps` holds BTF-described maps, `maps` legacy ones, and global
//! variables live in array maps named after their section. Of CO-RE relocations
//! only questions about existence are answered anew (a type that a VM does not
//! have does not exist); the rest keeps what the compiler computed, since the
//! structures that a program shares with a VM are Linux's uapi and don't move.

pub(crate) mod btf;
mod core;
mod elf;
mod ext;
mod kconfig;
mod link;
mod load;
mod maps;
mod section;
#[cfg(test)]
mod tests;
mod values;

pub use load::{LoadOptions, Object, ObjectProgram};

use crate::error::{CallerError, Error, HostError, Result};
use bpf_core::uapi::ProgType;
use btf::Btf;
use elf::{Elf, Kind};
use link::{Linked, Linker};
use maps::MapDef;
use section::Meaning;
use std::path::Path;

/// An object file, read but not loaded: global variables can still be set.
#[derive(Clone, Debug)]
pub struct ObjectFile {
    name: String,
    license: String,
    maps: Vec<MapDef>,
    programs: Vec<ProgramDef>,
    globals: Vec<Global>,
    values: Vec<values::Value>,
    /// The `.BTF` section.
    btf: Vec<u8>,
}

/// A program of an object.
#[derive(Clone, Debug)]
struct ProgramDef {
    name: String,
    section: String,
    meaning: Option<Meaning>,
    /// In one piece, or why it can't be had.
    linked: Result<Linked>,
}

/// A global variable.
#[derive(Clone, Debug)]
struct Global {
    name: String,
    /// Index of its section's map.
    map: usize,
    offset: usize,
    size: usize,
}

/// What is known of a program before it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo<'a> {
    /// Name of the function.
    pub name: &'a str,
    /// Name of its section.
    pub section: &'a str,
    /// Type by the section's name, where that says any.
    pub prog_type: Option<ProgType>,
    /// Loaded unless others are asked for (no `?` before the section's name).
    pub autoload: bool,
}

impl ObjectFile {
    /// Reads an object file.
    ///
    /// # Errors
    /// [`Error::Host`] where it can't be read, [`Error::Caller`] (EINVAL) where it
    /// is damaged or no BPF object.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| HostError::Os {
            what: format!("cannot read {}", path.display()),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        Self::parse(&name.unwrap_or_default(), &bytes).map_err(|e| match e {
            Error::Caller(CallerError::Object(text)) => {
                Error::object(format!("{}: {text}", path.display()))
            }
            other => other,
        })
    }

    /// Reads an object from memory. `name` begins the names of its global data
    /// maps.
    ///
    /// # Errors
    /// EINVAL where it is damaged or no BPF object.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let elf = Elf::parse(bytes)?;
        let btf = match elf.section(".BTF") {
            Some(s) => Btf::parse(s.data)?,
            None => Btf::default(),
        };
        let mut maps = maps::collect(&elf, &btf)?;
        let kconfig = kconfig::collect(&elf, &btf, &mut maps)?;
        let functions = link::functions(&elf)?;
        let ext = ext::Ext::read(&elf, &btf)?;
        let linker = Linker {
            elf: &elf,
            btf: &btf,
            functions: &functions,
            maps: &maps,
            kconfig: &kconfig,
            answers: &core::answers(&ext.questions, &btf),
            ext: &ext,
        };
        let programs = programs(&linker);
        Ok(Self {
            name: name.into(),
            license: license(&elf),
            values: values::collect(&elf, &maps, &programs)?,
            globals: globals(&elf, &maps),
            btf: btf::as_loaded(&elf, &functions),
            programs,
            maps,
        })
    }

    /// Its programs, in the order of the file.
    pub fn programs(&self) -> impl Iterator<Item = ProgramInfo<'_>> {
        self.programs.iter().map(|p| ProgramInfo {
            name: &p.name,
            section: &p.section,
            prog_type: p.meaning.map(|m| m.prog_type),
            autoload: section::autoload(&p.section),
        })
    }

    /// Names of its maps; global data is named after its section.
    pub fn maps(&self) -> impl Iterator<Item = &str> {
        self.maps.iter().map(|m| m.name.as_str())
    }

    /// Sets how many entries a map is made with, as libbpf's
    /// `bpf_map__set_max_entries`: objects leave 0 where only the loader can know
    /// it. Sizes of ring buffers are rounded up as in definitions.
    ///
    /// # Errors
    /// EINVAL where there is no such map, or it holds global data, whose size is
    /// that of its section.
    ///
    /// # Examples
    /// ```no_run
    /// use bpfvisor::{Vm, object::{LoadOptions, ObjectFile}};
    /// let vm = Vm::builder().boot()?;
    /// let mut file = ObjectFile::open("balancer.o")?;
    /// file.set_max_entries("backends", 64)?;
    /// let object = file.load(&vm, &LoadOptions::default())?;
    /// # Ok::<(), bpfvisor::Error>(())
    /// ```
    pub fn set_max_entries(&mut self, map: &str, entries: u32) -> Result<()> {
        let Some(def) = self.maps.iter_mut().find(|m| m.name == map) else {
            let names: Vec<&str> = self.maps().collect();
            return Err(Error::argument(format!(
                "no map {map:?}; there are: {}",
                names.join(", ")
            )));
        };
        if def.data.is_some() {
            return Err(Error::argument(format!(
                "map {map:?} holds global data: its size is that of the section"
            )));
        }
        def.max_entries = entries;
        maps::adjust(def);
        Ok(())
    }

    /// Its license string.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// Bytes that a global variable has.
    ///
    /// # Errors
    /// EINVAL where there is no such variable.
    pub fn global_size(&self, name: &str) -> Result<usize> {
        Ok(find_global(&self.globals, name)?.size)
    }

    /// Sets the initial value of a global variable.
    ///
    /// # Errors
    /// EINVAL where there is no such variable, or `bytes` is not of its size.
    pub fn set_global(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let global = find_global(&self.globals, name)?;
        if bytes.len() != global.size {
            return Err(Error::argument(format!(
                "global variable {name:?} has {} bytes, not {}",
                global.size,
                bytes.len()
            )));
        }
        let data = self.maps[global.map].data.as_mut();
        let place = data.and_then(|d| d.get_mut(global.offset..global.offset + global.size));
        match place {
            Some(place) => place.copy_from_slice(bytes),
            None => return Err(Error::object(format!("global variable {name:?}: damaged"))),
        }
        Ok(())
    }
}

fn find_global<'a>(globals: &'a [Global], name: &str) -> Result<&'a Global> {
    globals.iter().find(|g| g.name == name).ok_or_else(|| {
        let names: Vec<&str> = globals.iter().map(|g| g.name.as_str()).collect();
        Error::argument(format!(
            "no global variable {name:?}; there are: {}",
            names.join(", ")
        ))
    })
}

/// Every function with global linkage outside `.text`.
fn programs(linker: &Linker<'_, '_>) -> Vec<ProgramDef> {
    let elf = linker.elf;
    let is_program = |f: &&link::Function<'_>| {
        let symbol_global = elf
            .symbols
            .iter()
            .any(|s| s.name == f.name && s.section == Some(f.section) && s.global);
        symbol_global && !elf.sections[f.section].name.starts_with(".text")
    };
    linker
        .functions
        .values()
        .filter(is_program)
        .map(|f| ProgramDef {
            name: f.name.into(),
            section: elf.sections[f.section].name.into(),
            meaning: section::meaning(elf.sections[f.section].name),
            linked: linker.link(f),
        })
        .collect()
}

fn license(elf: &Elf<'_>) -> String {
    let bytes = elf.section("license").map_or(&[][..], |s| s.data);
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

fn globals(elf: &Elf<'_>, maps: &[MapDef]) -> Vec<Global> {
    let variables = elf
        .symbols
        .iter()
        .filter(|s| s.kind == Kind::Data && !s.name.is_empty());
    variables
        .filter_map(|s| {
            let section = s.section?;
            let map = maps
                .iter()
                .position(|m| m.section == section && m.data.is_some())?;
            let len = maps[map].data.as_ref()?.len() as u64;
            let inside = s.value.checked_add(s.size)? <= len;
            inside.then(|| Global {
                name: s.name.into(),
                map,
                offset: s.value as usize,
                size: s.size as usize,
            })
        })
        .collect()
}
