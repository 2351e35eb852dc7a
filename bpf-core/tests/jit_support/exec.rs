//! Executable memory. The only file of these tests with `unsafe`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;

/// An executable mapping that holds code.
pub struct Executable {
    at: *mut c_void,
    len: usize,
}

impl Executable {
    /// Reserves an address for `len` bytes of code, writable at first.
    pub fn reserve(len: usize) -> Self {
        let len = len.next_multiple_of(4096);
        // SAFETY: an anonymous private mapping at an address of the kernel's choice
        // touches no memory that anything else uses.
        let at = unsafe {
            libc::mmap(
                null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED, "mmap of {len} bytes");
        Self { at, len }
    }

    /// The address at which the code will run.
    pub fn address(&self) -> u64 {
        self.at as u64
    }

    /// Puts the code in place and seals it, once or again.
    pub fn seal(&mut self, code: &[u8]) {
        assert!(code.len() <= self.len);
        // SAFETY: only the protection of this value's own mapping changes, and no
        // code in it is running, as running borrows the value.
        let rw = unsafe { libc::mprotect(self.at, self.len, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(rw, 0);
        // SAFETY: the mapping is `len` bytes long, writable, and this value's alone;
        // code does not overlap it since it is borrowed from elsewhere.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.at.cast::<u8>(), code.len());
            let rx = libc::PROT_READ | libc::PROT_EXEC;
            assert_eq!(libc::mprotect(self.at, self.len, rx), 0);
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and no code in it is running, as
        // running borrows the value.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

/// Calls compiled code through the trampoline.
///
/// The code must have been compiled for where it lies, and the addresses in
/// `args` must be valid for what the program does with them; the tests only run
/// programs that they wrote or generated so.
pub fn enter(trampoline: &Executable, env: u64, entry: u64, args: [u64; 4]) -> u64 {
    type Enter = extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;
    // SAFETY: the trampoline's code has exactly this signature.
    let f = unsafe { std::mem::transmute::<*mut c_void, Enter>(trampoline.at) };
    f(env, entry, args[0], args[1], args[2], args[3])
}

/// Reads a value of the environment behind a helper's sixth argument.
pub fn env_mut<'a, T>(env: u64) -> &'a mut T {
    // SAFETY: helpers are called with the address of the `T` that `enter` was given;
    // it outlives the run, and nothing else touches it meanwhile.
    unsafe { &mut *(env as *mut T) }
}

/// Zeroed memory at an address of our choice, so that made-up addresses of the
/// interpreter's world are real ones for compiled code.
pub struct FixedMemory {
    at: *mut u8,
    len: usize,
}

impl FixedMemory {
    /// Maps `len` bytes at `address`, which must be free.
    pub fn new(address: u64, len: usize) -> Self {
        // SAFETY: with MAP_FIXED_NOREPLACE the mapping fails rather than take the
        // place of anything.
        let at = unsafe {
            libc::mmap(
                address as *mut c_void,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        assert_eq!(at as u64, address, "mmap at {address:#x}");
        Self { at: at.cast(), len }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `len` bytes long and this value's own; compiled code
        // writes to it only while it runs, when no slice of it is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

impl Drop for FixedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

/// Runs a program that rbpf compiled.
pub fn rbpf_run(vm: &rbpf::EbpfVmNoData<'_>) -> u64 {
    // SAFETY: the tests only run programs that they wrote, which stay inside the
    // memory that they were given.
    unsafe { vm.execute_program_jit() }.expect("it is compiled")
}

/// Processor time that this thread has used, in nanoseconds.
pub fn cpu_nanos() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `t` and to nothing else.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    assert_eq!(r, 0);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
