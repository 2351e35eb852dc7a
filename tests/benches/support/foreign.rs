//! Code of other compilers in this process: rbpf's, and clang's native code of
//! the same C sources.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::process::Command;

/// The sources compiled by `clang-19 -O2 -DNATIVE`, loaded for good.
pub struct Native(*mut c_void);

impl Native {
    /// Compiles and loads all of `resources/bench` that has a native form; `None`
    /// where there is no clang-19.
    pub fn build(root: &Path) -> Option<Self> {
        let library =
            std::env::temp_dir().join(format!("bpfvisor-bench-{}.so", std::process::id()));
        let sources = std::fs::read_dir(root.join("resources/bench")).ok()?;
        let sources = sources.flatten().map(|e| e.path()).filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".c") && !name.starts_with("hash_")
        });
        let flags = [
            "-O2",
            "-DNATIVE",
            "-shared",
            "-fPIC",
            "-Wl,-Bsymbolic",
            "-o",
        ];
        let mut clang = Command::new("clang-19");
        clang.args(flags).arg(&library).args(sources);
        let built = clang.status().ok()?.success();
        assert!(built, "clang-19 does not compile resources/bench");
        let path = CString::new(library.to_string_lossy().as_bytes()).ok()?;
        // SAFETY: a zero-terminated path of a library without initialisers.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let _ = std::fs::remove_file(&library);
        (!handle.is_null()).then_some(Self(handle))
    }

    fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).ok()?;
        // SAFETY: the library stays loaded; the name is zero-terminated.
        let at = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!at.is_null()).then_some(at)
    }

    /// A program's function.
    pub fn function(&self, name: &str) -> Option<impl Fn() -> u32> {
        let at = self.symbol(&format!("bench_{name}"))?;
        // SAFETY: `BENCH` in bench.h defines every `bench_*` with this signature.
        let function = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> u32>(at) };
        Some(move || function())
    }

    /// Fills a variable, whose size is that of the same variable in the object.
    pub fn fill(&self, name: &str, bytes: &[u8]) {
        if let Some(at) = self.symbol(name) {
            // SAFETY: the caller took the length from the object of the same
            // source, where the variable has the same type; nothing runs now.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len()) }
        }
    }
}

/// Runs a program that rbpf compiled.
pub fn rbpf_run(vm: &rbpf::EbpfVmNoData<'_>) -> u64 {
    // SAFETY: the programs are those of resources/bench, whose accesses stay in
    // the data sections and maps whose addresses they were given.
    unsafe { vm.execute_program_jit() }.unwrap_or(u64::MAX)
}

/// A map for rbpf's programs, found by its address in R1.
pub enum HostMap {
    Array(Vec<u64>),
    Hash(HashMap<u32, u64, BuildHasherDefault<Multiply>>),
}

impl HostMap {
    fn slot(&mut self, key: u32) -> Option<&mut u64> {
        match self {
            Self::Array(values) => values.get_mut(key as usize),
            Self::Hash(table) => table.get_mut(&key),
        }
    }
}

/// Helper 1 for rbpf.
pub fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: the programs pass the address of a live `HostMap` that nothing else
    // uses meanwhile, and that of a key on their stack.
    let slot = unsafe { (*(map as *mut HostMap)).slot((key as *const u32).read_unaligned()) };
    slot.map_or(0, |value| std::ptr::from_mut(value) as u64)
}

/// Helper 2 for rbpf, for keys that are there.
pub fn update(map: u64, key: u64, value: u64, _: u64, _: u64) -> u64 {
    // SAFETY: as in `lookup`; the value is on the stack too.
    let (slot, value) = unsafe {
        let slot = (*(map as *mut HostMap)).slot((key as *const u32).read_unaligned());
        (slot, (value as *const u64).read_unaligned())
    };
    slot.map_or(u64::MAX, |slot| {
        *slot = value;
        0
    })
}

/// A hash for keys that nobody chose to collide.
#[derive(Default)]
pub struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u32(b.into()));
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}
