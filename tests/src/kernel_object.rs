//! An ELF object in the running kernel, loaded by aya: a loader that shares
//! nothing with ours.

use crate::kernel;
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Errors here only fail tests: a text is enough.
pub type Result<T> = std::result::Result<T, String>;

/// A loaded object.
pub struct KernelObject {
    ebpf: RefCell<Ebpf>,
}

fn text(e: impl std::fmt::Debug) -> String {
    format!("{e:?}")
}

impl KernelObject {
    /// Creates the object's maps in the kernel.
    ///
    /// # Errors
    /// Says what aya says.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, &[])
    }

    /// [`KernelObject::load`], with initial values of global variables.
    ///
    /// # Errors
    /// Says what aya says.
    pub fn load_with(path: &Path, globals: &[(&str, &[u8])]) -> Result<Self> {
        kernel::require().map_err(text)?;
        let mut loader = EbpfLoader::new();
        for &(name, value) in globals {
            loader.override_global(name, value, true);
        }
        let ebpf = loader.load_file(path).map_err(text)?;
        Ok(Self {
            ebpf: RefCell::new(ebpf),
        })
    }

    /// Loads one of its programs.
    ///
    /// # Errors
    /// No such program, not of a type known here, or rejected.
    pub fn program(&self, name: &str) -> Result<KernelProgram> {
        let mut ebpf = self.ebpf.borrow_mut();
        let program = ebpf
            .program_mut(name)
            .ok_or_else(|| format!("no program {name}"))?;
        macro_rules! load {
            ($($kind:ident),*) => {
                match program {
                    $(Program::$kind(p) => {
                        p.load().map_err(text)?;
                        let fd = p.fd().map_err(text)?.as_fd();
                        fd.try_clone_to_owned().map_err(text)?
                    })*
                    other => return Err(format!("{name} has type {:?}", other.prog_type())),
                }
            };
        }
        let fd = load!(Xdp, SocketFilter, SchedClassifier);
        Ok(KernelProgram {
            program: kernel::Prog::from_fd(fd),
        })
    }

    /// Loads one of its XDP programs, with a log of level 1.
    ///
    /// # Errors
    /// No such program, or it is no XDP program. What the kernel says is inside.
    pub fn load_program(&self, name: &str) -> Result<std::result::Result<KernelProgram, Refused>> {
        let mut ebpf = self.ebpf.borrow_mut();
        let Some(Program::Xdp(program)) = ebpf.program_mut(name) else {
            return Err(format!("no XDP program {name}"));
        };
        match program.load() {
            Err(ProgramError::LoadError {
                io_error,
                verifier_log,
            }) => Ok(Err(Refused {
                errno: io_error.raw_os_error().unwrap_or(0),
                log: verifier_log.to_string(),
            })),
            done => {
                done.map_err(text)?;
                let fd = program.fd().map_err(text)?.as_fd();
                Ok(Ok(KernelProgram {
                    program: kernel::Prog::from_fd(fd.try_clone_to_owned().map_err(text)?),
                }))
            }
        }
    }

    /// All elements of one of its maps.
    ///
    /// # Errors
    /// No such map, or the kernel's error.
    pub fn entries(&self, name: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(self
            .map(name)?
            .entries()
            .map_err(text)?
            .into_iter()
            .collect())
    }

    /// One of its maps.
    ///
    /// # Errors
    /// No such map, or the kernel's error.
    pub fn map(&self, name: &str) -> Result<kernel::Map> {
        use aya::maps::Map::*;
        let ebpf = self.ebpf.borrow();
        let map = ebpf.map(name).ok_or_else(|| format!("no map {name}"))?;
        let (Array(d) | HashMap(d) | LpmTrie(d) | LruHashMap(d) | PerCpuArray(d)
        | PerCpuHashMap(d) | DevMap(d) | ProgramArray(d) | RingBuf(d)) = map
        else {
            return Err(format!("map {name} is of a type not known here"));
        };
        let fd: OwnedFd = d.fd().as_fd().try_clone_to_owned().map_err(text)?;
        let info = d.info().map_err(text)?;
        let per_cpu = matches!(map, PerCpuArray(_) | PerCpuHashMap(_));
        let value = match info.value_size() as usize {
            size if per_cpu => size.next_multiple_of(8) * kernel::possible_cpus(),
            size => size,
        };
        Ok(kernel::Map::from_fd(fd, info.key_size() as usize, value))
    }
}

/// What the kernel says of a program that it does not take.
#[derive(Debug)]
pub struct Refused {
    /// Positive.
    pub errno: i32,
    /// The verifier's log.
    pub log: String,
}

/// A program of an object, in the kernel.
pub struct KernelProgram {
    program: kernel::Prog,
}

impl KernelProgram {
    /// One `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, packet: &[u8]) -> kernel::Result<kernel::RunOutput> {
        self.program.run(&kernel::RunSpec::data(packet))
    }

    /// Its descriptor, as program arrays take it.
    pub fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.program.as_raw_fd()
    }

    /// Mean nanoseconds of one of `repeat` runs, as the kernel measures them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn nanos(&self, packet: &[u8], repeat: u32) -> kernel::Result<f64> {
        let spec = kernel::RunSpec {
            repeat,
            ..kernel::RunSpec::data(packet)
        };
        Ok(self.program.run(&spec)?.duration.as_nanos() as f64)
    }
}
