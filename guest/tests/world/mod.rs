//! A runtime in an ordinary process: the shared slot and the code region are
//! mapped below 4 GiB, doorbells are noted down.
#![allow(
    dead_code,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
use bpf_core::asm;
use bpf_core::map::Geometry;
use bpf_core::uapi::{MapType, ProgType};
use bpfvisor_abi::boot::{BootInfo, boot_flags, port};
use bpfvisor_abi::layout::{BOOT_INFO, REGION, dynamic, queue_block};
use bpfvisor_abi::op::{LoadRecord, MapRecord, Packet, Run, RunResult, code, run_flags};
use bpfvisor_abi::ring::{Completion, ENTRIES, Submission, block, slot, stamp};
use bpfvisor_guest::Runtime;
use bpfvisor_guest::hal::{Machine, Shared};
use std::cell::Cell;
use std::sync::Mutex;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const SHARED_LEN: u64 = 16 << 20;
const CODE_LEN: u64 = 1 << 20;

/// A machine that is a process.
pub struct Process {
    code: u64,
    rung: Mutex<Vec<u16>>,
}

fn map_low(len: u64, prot: i32) -> u64 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a fresh mapping.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len as usize, prot, flags, -1, 0) };
    assert_ne!(p, libc::MAP_FAILED, "no memory below 4 GiB");
    p as u64
}

impl Machine for Process {
    fn out(&self, port: u16, _: u32) {
        self.rung.lock().unwrap().push(port);
    }
    fn ready(&self) {
        self.out(port::READY, 0);
    }
    fn tsc(&self) -> u64 {
        // SAFETY: reads the clock.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    fn write_code(&self, addr: u64, bytes: &[u8]) -> bool {
        let end = addr + bytes.len() as u64;
        assert!(addr >= self.code && end <= self.code + CODE_LEN);
        // SAFETY: in the code mapping.
        unsafe { std::ptr::copy(bytes.as_ptr(), addr as *mut u8, bytes.len()) };
        true
    }
    fn bmi2(&self) -> bool {
        std::is_x86_feature_detected!("bmi2")
    }
    fn code_region(&self) -> (u64, u64) {
        (self.code, CODE_LEN)
    }
    fn populate(&self, _: u64) {}
}

/// The host's view of one runtime.
pub struct World {
    pub rt: Runtime,
    pub shared: Shared,
    machine: &'static Process,
    next: Cell<u32>,
    free: Cell<u64>,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// A world whose boot record was changed.
    pub fn with(change: impl FnOnce(&mut BootInfo)) -> Self {
        use libc::{PROT_EXEC, PROT_READ, PROT_WRITE};
        let base = map_low(SHARED_LEN, PROT_READ | PROT_WRITE);
        let code = map_low(CODE_LEN, PROT_READ | PROT_WRITE | PROT_EXEC);
        let machine: &'static Process = Box::leak(Box::new(Process {
            code,
            rung: Mutex::new(Vec::new()),
        }));
        // SAFETY: mapped above, never unmapped.
        let shared = unsafe { Shared::new(base, SHARED_LEN) };
        let mut boot = BootInfo {
            version: bpfvisor_abi::PROTOCOL_VERSION,
            vcpus: 2,
            idle_polls: 10,
            shared_len: SHARED_LEN,
            seed: [11, 12],
            mono_base_ns: 1_000_000_000,
            tsc_base: machine.tsc(),
            tsc_mult: 1,
            boot_offset_ns: 5_000_000_000,
            tai_offset_ns: 37_000_000_000,
            ..BootInfo::default()
        };
        change(&mut boot);
        shared.write(BOOT_INFO, boot).unwrap();
        let rt = Runtime::new(machine, shared);
        rt.ready(0);
        let free = Cell::new(dynamic(2));
        Self {
            rt,
            shared,
            machine,
            next: Cell::new(0),
            free,
        }
    }

    /// One that compiles programs, and one that interprets them.
    pub fn both() -> [Self; 2] {
        [
            Self::new(),
            Self::with(|b| b.flags |= boot_flags::INTERPRET),
        ]
    }

    /// The same without verifier.
    pub fn both_unverified() -> [Self; 2] {
        let off = boot_flags::VERIFIER_OFF;
        [
            Self::with(|b| b.flags = off),
            Self::with(|b| b.flags = off | boot_flags::INTERPRET),
        ]
    }

    /// Doorbells since the last look.
    pub fn rung(&self) -> Vec<u16> {
        std::mem::take(&mut self.machine.rung.lock().unwrap())
    }

    /// Space in the shared slot.
    pub fn alloc(&self, len: u64) -> u64 {
        let at = self.free.get().next_multiple_of(4096);
        self.free.set(at + len);
        assert!(self.free.get() <= SHARED_LEN);
        at
    }

    /// How much of the shared slot is in use, for [`World::reset`].
    pub fn mark(&self) -> u64 {
        self.free.get()
    }

    /// Takes back what was allocated since.
    pub fn reset(&self, mark: u64) {
        self.free.set(mark);
    }

    pub fn put(&self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len() as u64);
        self.shared.copy_in(at, bytes).unwrap();
        at
    }

    pub fn get(&self, off: u64, len: usize) -> Vec<u8> {
        let mut v = vec![0; len];
        self.shared.copy_out(off, &mut v).unwrap();
        v
    }

    pub fn put_record<T: IntoBytes + Immutable>(&self, t: &T) -> u64 {
        self.put(t.as_bytes())
    }

    pub fn read<T: FromBytes>(&self, off: u64) -> T {
        self.shared.read(off).unwrap()
    }

    /// One request, answered.
    pub fn call(&self, op: u32, arg: [u64; 7]) -> Completion {
        let n = self.next.get();
        self.next.set(n.wrapping_add(1));
        let q = queue_block(0);
        let sub = Submission {
            seq: stamp(n),
            op,
            arg,
        };
        self.shared
            .write(q + block::SUBMISSIONS + slot(n), sub)
            .unwrap();
        self.shared.write(q + block::STOP, 1u32).unwrap();
        self.rt.serve(0);
        let c: Completion = self.read(q + block::COMPLETIONS + slot(n));
        assert_eq!(c.seq, stamp(n), "unanswered; {ENTRIES} slots");
        c
    }

    /// Creates a map; panics unless that works.
    pub fn map(&self, map_type: MapType, key: u32, value: u32, entries: u32) -> u32 {
        self.map_with(map_type, key, value, entries, |_| ())
    }

    pub fn map_with(
        &self,
        map_type: MapType,
        key: u32,
        value: u32,
        entries: u32,
        change: impl FnOnce(&mut MapRecord),
    ) -> u32 {
        let mut rec = MapRecord {
            map_type: map_type as u32,
            key_size: key,
            value_size: value,
            max_entries: entries,
            spin_lock_off: u32::MAX,
            timer_off: u32::MAX,
            seed: 7,
            ..MapRecord::default()
        };
        change(&mut rec);
        let geo = Geometry::new(map_type, key, value, entries, rec.flags, 2, 0).unwrap();
        rec.storage_len = geo.storage_len;
        rec.storage = self.alloc(geo.storage_len);
        let c = self.call(code::MAP_CREATE, [self.put_record(&rec), 0, 0, 0, 0, 0, 0]);
        assert_eq!(c.status, 0);
        c.val[0] as u32
    }

    pub fn update(&self, map: u32, key: &[u8], value: &[u8]) -> i32 {
        let (k, v) = (self.put(key), self.put(value));
        self.call(code::MAP_UPDATE, [map.into(), k, v, 0, 0, 0, 0])
            .status
    }

    pub fn lookup(&self, map: u32, key: &[u8], len: usize) -> Result<Vec<u8>, i32> {
        let (k, v) = (self.put(key), self.alloc(len as u64));
        match self
            .call(code::MAP_LOOKUP, [map.into(), k, v, 0, 0, 0, 0])
            .status
        {
            0 => Ok(self.get(v, len)),
            e => Err(e),
        }
    }

    /// Loads a program given as text; the record as it was answered.
    pub fn try_load(
        &self,
        prog_type: ProgType,
        text: &str,
        change: impl FnOnce(&mut LoadRecord),
    ) -> (i32, LoadRecord) {
        let insns = asm::assemble(text).unwrap_or_else(|e| panic!("{e}"));
        let bytes: Vec<u8> = insns.iter().flat_map(|i| i.to_bytes()).collect();
        self.send(prog_type, &bytes, change)
    }

    /// Loads a program given as bytes: its handle, or a negative errno.
    pub fn try_load_bytes(
        &self,
        prog_type: ProgType,
        insns: &[u8],
        change: impl FnOnce(&mut LoadRecord),
    ) -> Result<u32, i32> {
        match self.send(prog_type, insns, change) {
            (0, rec) => Ok(rec.handle),
            (status, _) => Err(status),
        }
    }

    fn send(
        &self,
        prog_type: ProgType,
        insns: &[u8],
        change: impl FnOnce(&mut LoadRecord),
    ) -> (i32, LoadRecord) {
        let mut rec = LoadRecord::new_zeroed();
        rec.prog_type = prog_type as u32;
        rec.insns = self.put(insns);
        rec.insn_cnt = (insns.len() / 8) as u32;
        rec.license[..3].copy_from_slice(b"GPL");
        rec.flat_max = 4096;
        change(&mut rec);
        let at = self.put_record(&rec);
        let c = self.call(code::PROG_LOAD, [at, 0, 0, 0, 0, 0, 0]);
        (c.status, self.read(at))
    }

    pub fn unload(&self, prog: u32) {
        let c = self.call(code::PROG_UNLOAD, [prog.into(), 0, 0, 0, 0, 0, 0]);
        assert_eq!(c.status, 0);
    }

    pub fn load(&self, prog_type: ProgType, text: &str) -> u32 {
        let (status, rec) = self.try_load(prog_type, text, |_| ());
        let why = String::from_utf8_lossy(&rec.message[..rec.message_len as usize]);
        assert_eq!(status, 0, "{why} (instruction {})", rec.bad_insn);
        rec.handle
    }

    /// A buffer with 256 bytes of headroom and 320 of tailroom around the data.
    pub fn packet(&self, data: &[u8]) -> Packet {
        let cap = 256 + data.len() as u64 + 320;
        let off = self.alloc(cap);
        self.shared.copy_in(off + 256, data).unwrap();
        Packet {
            off: off as u32,
            cap: cap as u32,
            data: 256,
            len: data.len() as u32,
            ..Packet::default()
        }
    }

    /// Runs once: R0 and the data after.
    pub fn run(&self, prog: u32, data: &[u8]) -> Result<(u64, Vec<u8>), i32> {
        let (r, out) = self.run_packet(prog, self.packet(data), 1)?;
        Ok((r.r0, out))
    }

    pub fn run_packet(
        &self,
        prog: u32,
        packet: Packet,
        repeat: u32,
    ) -> Result<(RunResult, Vec<u8>), i32> {
        let run = Run {
            prog,
            repeat,
            flags: run_flags::TIMED,
            packet,
            ..Run::default()
        };
        let c = self.call(code::RUN, zerocopy::transmute!(run));
        if c.status != 0 {
            return Err(c.status);
        }
        let r: RunResult = zerocopy::transmute!(c.val);
        Ok((r, self.get(u64::from(packet.off + r.data), r.len as usize)))
    }

    /// R0 of a flat program without memory.
    pub fn r0(&self, text: &str) -> u64 {
        let prog = self.load(ProgType::Flat, text);
        self.run(prog, &[]).unwrap().0
    }
}

/// Rounds a length up as regions are.
pub fn regions(len: u64) -> u64 {
    len.next_multiple_of(REGION)
}
