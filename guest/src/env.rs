//! What one run of a program shares with its helpers.
#![allow(unsafe_code)]
use crate::Runtime;
use crate::program::Prog;
use crate::run::Bridge;
use bpf_core::env::RunEnv;
use bpf_core::uapi::sk_buff;
use core::cell::{Cell, UnsafeCell};
use core::ptr::NonNull;

/// The environment of a run. Compiled code knows where it lies, reads and writes
/// its first part, and passes it to every helper. Everything that changes is in
/// cells, because a helper and the callback that it called both hold it.
#[repr(C)]
pub struct Env<'a> {
    run: UnsafeCell<RunEnv>,
    /// The context structure of the program's type.
    pub ctx: Ctx,
    /// The runtime.
    pub rt: &'a Runtime,
    /// The program that was started.
    pub prog: &'a Prog,
    /// The vCPU it runs on.
    pub vcpu: u32,
    /// Address of the packet buffer.
    pub hard_start: Cell<u64>,
    /// One past its end.
    pub hard_end: Cell<u64>,
    /// Address of the link-layer header ([`crate::run`]'s packet types with an
    /// `__sk_buff`).
    pub mac: Cell<u64>,
    /// Address of the network header.
    pub network: Cell<u64>,
    /// Where helpers call back to while the program is interpreted.
    pub bridge: Cell<Option<NonNull<Bridge>>>,
    /// Whether the packet's flow hash was computed.
    pub hashed: Cell<bool>,
    /// How many checksums beyond the first are known to be right
    /// (`skb->csum_level`), if that one is.
    pub csum_level: Cell<Option<u8>>,
    /// Where the packet is to go if the verdict is to redirect it.
    pub redirect: Cell<Redirect>,
    /// Whether outer headers were put around the packet (`skb->encapsulation`).
    pub encapsulated: Cell<bool>,
}

impl<'a> Env<'a> {
    /// An environment for runs of one program.
    pub fn new(rt: &'a Runtime, prog: &'a Prog, vcpu: u32) -> Self {
        Self {
            run: UnsafeCell::default(),
            ctx: Ctx::default(),
            rt,
            prog,
            vcpu,
            hard_start: Cell::new(0),
            hard_end: Cell::new(0),
            mac: Cell::new(0),
            network: Cell::new(0),
            bridge: Cell::new(None),
            hashed: Cell::new(false),
            csum_level: Cell::new(None),
            redirect: Cell::default(),
            encapsulated: Cell::new(false),
        }
    }

    /// Begins a run.
    #[inline]
    pub fn reset(&self) {
        self.redirect.set(Redirect::default());
        // SAFETY: compiled code touches it only while a program runs, which is
        // not now; no reference to the contents is ever made.
        unsafe { (*self.run.get()).tail_calls = 0 }
    }

    /// Its address, as compiled code holds it.
    #[inline]
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }

    /// The environment that a helper was given.
    #[inline]
    pub fn at<'b>(address: u64) -> &'b Env<'b> {
        // SAFETY: helpers are called by compiled code and the interpreter, which
        // pass on the address of the `Env` that the run was entered with; it
        // outlives the run, and is only changed through cells.
        unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
    }
}

/// A target that `bpf_redirect` and its kin chose: fields as in
/// [`Packet`](bpfvisor_abi::op::Packet).
#[derive(Clone, Copy, Default)]
pub struct Redirect {
    /// Interface, or key in the map.
    pub target: u32,
    /// Handle of the map.
    pub via: u32,
    /// [`bpfvisor_abi::op::redirect`] bits.
    pub how: u16,
}

/// A context structure: `struct xdp_md` or `struct __sk_buff`, by words.
#[repr(C, align(8))]
pub struct Ctx {
    words: [Cell<u32>; sk_buff::SIZE as usize / 4],
}

impl Default for Ctx {
    fn default() -> Self {
        Self {
            words: [const { Cell::new(0) }; _],
        }
    }
}

impl Ctx {
    /// The field at byte offset `field`.
    #[inline(always)]
    pub fn get(&self, field: u32) -> u32 {
        self.words.get(field as usize / 4).map_or(0, Cell::get)
    }

    /// Changes it.
    #[inline(always)]
    pub fn set(&self, field: u32, value: u32) {
        if let Some(w) = self.words.get(field as usize / 4) {
            w.set(value);
        }
    }

    /// All fields zero.
    pub fn clear(&self) {
        for w in &self.words {
            w.set(0);
        }
    }

    /// Its address: what R1 is at entry.
    #[inline]
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }
}
