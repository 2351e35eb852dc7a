//! Shared memory, accessed without ever believing it.
//!
//! This is the one file of the maps with `unsafe` in it. Everything above it
//! works with offsets; here they are checked against the region's length, and
//! every access is an atomic one, so that another side that writes at the same
//! time (a vCPU, the host, a hostile guest) can change what is read but never
//! cause undefined behaviour.
//!
//! Loads are acquire, stores release. On x86-64 both are plain moves; what is
//! bought is that the order in the source is the order in memory, on which the
//! versioned reads rest: no store passes an earlier store, no load an earlier
//! load.
#![allow(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi16};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Alignment that a region's start must have; its length counts in such units,
/// too (a rest at the end is not used).
pub const ALIGN: usize = 64;

/// A piece of shared memory.
///
/// Offsets are bounded by the caller's [`Geometry`](super::Geometry); one that
/// lies outside (or is misaligned for its width) is a bug of the caller, caught
/// in debug builds. In release builds a load outside gives 0, a store outside
/// does nothing, and a misaligned offset means the word that it lies in.
#[derive(Clone)]
pub struct Region {
    ptr: NonNull<u8>,
    len: u64,
    /// Keeps the mapping alive, where it can go away.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// A line of zeros.
#[repr(align(64))]
struct Nothing([AtomicU64; 8]);

// SAFETY: the memory is only touched through atomics, which any thread may use;
// it stays valid by the contract of the constructors.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

macro_rules! word {
    ($t:ty, $atomic:ty, $load:ident, $store:ident) => {
        /// Loads the word at `off` (acquire).
        #[inline(always)]
        pub fn $load(&self, off: u64) -> $t {
            match self.at(off, size_of::<$t>()) {
                // SAFETY: `at` checked bounds and alignment; by the contract of
                // the constructors the memory is valid and only accessed
                // atomically from Rust.
                Some(p) => unsafe { <$atomic>::from_ptr(p.cast()) }.load(Ordering::Acquire),
                None => 0,
            }
        }

        /// Stores the word at `off` (release).
        #[inline(always)]
        pub fn $store(&self, off: u64, v: $t) {
            if let Some(p) = self.at(off, size_of::<$t>()) {
                // SAFETY: as for loads.
                unsafe { <$atomic>::from_ptr(p.cast()) }.store(v, Ordering::Release);
            }
        }
    };
}

macro_rules! read_modify_write {
    ($t:ty, $atomic:ty, $cas:ident, $add:ident, $swap:ident) => {
        /// Compare and exchange (sequentially consistent); `Err` is what was found.
        #[inline(always)]
        pub fn $cas(&self, off: u64, old: $t, new: $t) -> Result<$t, $t> {
            match self.at(off, size_of::<$t>()) {
                // SAFETY: as for loads.
                Some(p) => unsafe { <$atomic>::from_ptr(p.cast()) }.compare_exchange(
                    old,
                    new,
                    Ordering::SeqCst,
                    Ordering::Acquire,
                ),
                None => Err(old.wrapping_add(1)),
            }
        }

        /// Adds and gives what was there (sequentially consistent, wrapping).
        #[inline(always)]
        pub fn $add(&self, off: u64, v: $t) -> $t {
            match self.at(off, size_of::<$t>()) {
                // SAFETY: as for loads.
                Some(p) => unsafe { <$atomic>::from_ptr(p.cast()) }.fetch_add(v, Ordering::SeqCst),
                None => 0,
            }
        }

        /// Exchanges (sequentially consistent).
        #[inline(always)]
        pub fn $swap(&self, off: u64, v: $t) -> $t {
            match self.at(off, size_of::<$t>()) {
                // SAFETY: as for loads.
                Some(p) => unsafe { <$atomic>::from_ptr(p.cast()) }.swap(v, Ordering::SeqCst),
                None => 0,
            }
        }
    };
}

/// A length in whole units of [`ALIGN`].
const fn whole(len: u64) -> u64 {
    len & !(ALIGN as u64 - 1)
}

impl Region {
    /// Memory that stays for ever, as the guest's shared slot does for the guest.
    ///
    /// # Safety
    /// `ptr` is aligned to [`ALIGN`]; the `len` bytes from it are mapped readable
    /// and writable for as long as this region or a clone of it is used, and no
    /// Rust reference (but to atomics) to any of them is used in that time.
    pub unsafe fn new(ptr: NonNull<u8>, len: u64) -> Region {
        let len = whole(len);
        let _owner = None;
        Region { ptr, len, _owner }
    }

    /// Memory that stays for as long as `owner` lives, such as a host mapping.
    ///
    /// # Safety
    /// As for [`Region::new`], but only while `owner` lives.
    pub unsafe fn with_owner(
        ptr: NonNull<u8>,
        len: u64,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Region {
        let len = whole(len);
        let _owner = Some(owner);
        Region { ptr, len, _owner }
    }

    /// Zeroed memory of its own (in whole lines), shared by the clones. For
    /// tests and for maps outside a virtual machine.
    pub fn zeroed(len: u64) -> Region {
        let lines = (len as usize).div_ceil(ALIGN).max(1);
        let mem: Vec<Nothing> = (0..lines)
            .map(|_| Nothing([const { AtomicU64::new(0) }; 8]))
            .collect();
        let owner = Arc::new(mem);
        let ptr = NonNull::from(owner.as_slice()).cast();
        Region {
            ptr,
            len: (lines * ALIGN) as u64,
            _owner: Some(owner),
        }
    }

    /// Zeroed memory holding `bytes` at its start.
    pub fn from_slice(bytes: &[u8]) -> Region {
        let r = Region::zeroed(bytes.len() as u64);
        r.copy_in(0, bytes);
        r
    }

    /// `len` bytes from `off` on as a region of their own; `None` where they do
    /// not lie in this one, or `off` is not a multiple of [`ALIGN`].
    pub fn sub(&self, off: u64, len: u64) -> Option<Region> {
        if off.checked_add(len)? > self.len || !off.is_multiple_of(ALIGN as u64) {
            return None;
        }
        // SAFETY: in range of the same memory, by the check above.
        let ptr = unsafe { self.ptr.add(off as usize) };
        Some(Region {
            ptr,
            len: whole(len),
            _owner: self._owner.clone(),
        })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no memory at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the byte at `off`, for programs' value pointers. Not a
    /// promise that `off` is in range.
    #[inline(always)]
    pub fn addr(&self, off: u64) -> u64 {
        self.ptr.as_ptr().addr() as u64 + off
    }

    /// The offset of an address; `None` where it is not in the region.
    #[inline(always)]
    pub fn offset_of(&self, addr: u64) -> Option<u64> {
        let off = addr.checked_sub(self.addr(0))?;
        (off < self.len).then_some(off)
    }

    /// Where the word of `size` bytes (1, 2, 4, 8 or a [`Line`]) that `off` lies
    /// in begins. The region's length is a multiple of all these.
    #[inline(always)]
    fn at(&self, off: u64, size: usize) -> Option<*mut u8> {
        let start = off & !(size as u64 - 1);
        debug_assert!(start == off, "access at {off} is misaligned for {size}");
        debug_assert!(
            start < self.len,
            "access at {off} of {size} beyond {}",
            self.len
        );
        // SAFETY: in range, by the check.
        (start < self.len).then(|| unsafe { self.ptr.as_ptr().add(start as usize) })
    }

    /// Where `size` bytes begin, at a multiple of 8.
    #[inline(always)]
    fn range(&self, off: u64, size: usize) -> Option<*mut u8> {
        let size = size as u64;
        let ok = size <= self.len && off <= self.len - size && off & 7 == 0;
        debug_assert!(ok, "access at {off} of {size} beyond {}", self.len);
        // SAFETY: in range, by the check.
        ok.then(|| unsafe { self.ptr.as_ptr().add(off as usize) })
    }

    /// The cache line at `off`, a multiple of 64.
    #[inline(always)]
    pub fn line(&self, off: u64) -> Line<'_> {
        static NOTHING: Nothing = Nothing([const { AtomicU64::new(0) }; 8]);
        let ptr = match self.at(off, ALIGN) {
            Some(p) => p,
            None => NOTHING.0.as_ptr() as *mut u8,
        };
        Line {
            ptr,
            _region: PhantomData,
        }
    }

    word!(u8, AtomicU8, load_u8, store_u8);
    word!(u16, AtomicU16, load_u16, store_u16);
    word!(u32, AtomicU32, load_u32, store_u32);
    word!(u64, AtomicU64, load_u64, store_u64);
    read_modify_write!(u32, AtomicU32, cas_u32, fetch_add_u32, swap_u32);
    read_modify_write!(u64, AtomicU64, cas_u64, fetch_add_u64, swap_u64);

    /// Copies out, in order; `off` is a multiple of 8. Aligned words are not torn.
    #[inline]
    pub fn copy_out(&self, off: u64, out: &mut [u8]) {
        let Some(mut p) = self.range(off, out.len()) else {
            return;
        };
        let (words, tail) = out.as_chunks_mut::<8>();
        for w in words {
            // SAFETY: `range` checked that all of `out` fits behind `off`, and
            // that `off` is aligned; `p` is at most its end.
            unsafe {
                *w = AtomicU64::from_ptr(p.cast())
                    .load(Ordering::Acquire)
                    .to_le_bytes();
                p = p.add(8);
            }
        }
        let (half, tail) = tail.as_chunks_mut::<4>();
        for w in half {
            // SAFETY: as above.
            unsafe {
                *w = AtomicU32::from_ptr(p.cast())
                    .load(Ordering::Acquire)
                    .to_le_bytes();
                p = p.add(4);
            }
        }
        for b in tail {
            // SAFETY: as above.
            unsafe {
                *b = AtomicU8::from_ptr(p).load(Ordering::Acquire);
                p = p.add(1);
            }
        }
    }

    /// Copies in, in order; `off` is a multiple of 8. Aligned words are not torn.
    #[inline]
    pub fn copy_in(&self, off: u64, bytes: &[u8]) {
        let Some(mut p) = self.range(off, bytes.len()) else {
            return;
        };
        let (words, tail) = bytes.as_chunks::<8>();
        for w in words {
            // SAFETY: as in `copy_out`.
            unsafe {
                AtomicU64::from_ptr(p.cast()).store(u64::from_le_bytes(*w), Ordering::Release);
                p = p.add(8);
            }
        }
        let (half, tail) = tail.as_chunks::<4>();
        for w in half {
            // SAFETY: as above.
            unsafe {
                AtomicU32::from_ptr(p.cast()).store(u32::from_le_bytes(*w), Ordering::Release);
                p = p.add(4);
            }
        }
        for b in tail {
            // SAFETY: as above.
            unsafe {
                AtomicU8::from_ptr(p).store(*b, Ordering::Release);
                p = p.add(1);
            }
        }
    }

    /// Stores `len` zero bytes from `off`, a multiple of 8, on.
    pub fn zero(&self, off: u64, len: u64) {
        for i in 0..len / 8 {
            self.store_u64(off + i * 8, 0);
        }
        for i in len / 8 * 8..len {
            self.store_u8(off + i, 0);
        }
    }

    /// Whether the bytes at `off`, a multiple of 8, are these.
    #[inline]
    pub fn equals(&self, off: u64, bytes: &[u8]) -> bool {
        let (words, tail) = bytes.as_chunks::<8>();
        let tail_off = off + words.len() as u64 * 8;
        let mut at = (off..).step_by(8);
        words
            .iter()
            .zip(&mut at)
            .all(|(w, o)| self.load_u64(o) == u64::from_le_bytes(*w))
            && tail
                .iter()
                .zip(tail_off..)
                .all(|(b, o)| self.load_u8(o) == *b)
    }

    /// Takes the `u32` lock at `off` (0 free, 1 taken), trying for a bounded time.
    /// A `struct bpf_spin_lock` is such a lock.
    #[inline]
    pub fn lock(&self, off: u64) -> bool {
        for _ in 0..SPINS {
            if self.load_u32(off) == 0 && self.cas_u32(off, 0, 1).is_ok() {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Releases the lock at `off`.
    #[inline]
    pub fn unlock(&self, off: u64) {
        self.store_u32(off, 0);
    }

    /// All bytes, for tests and dumps.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut v = vec![0; self.len as usize];
        self.copy_out(0, &mut v);
        v
    }
}

/// How often a lock is tried before `EBUSY`: long enough for a vCPU that was
/// preempted with the lock held to come back, short enough to end.
pub const SPINS: u32 = 1 << 22;

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({:p}, {})", self.ptr, self.len)
    }
}

/// One cache line of a region, checked once. Numbers of words wrap within it.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    ptr: *mut u8,
    _region: PhantomData<&'a Region>,
}

impl Line<'_> {
    // SAFETY (of the whole block): `ptr` is aligned to 64 and begins 64 bytes
    // that are valid as long as the region is borrowed; every number of a word
    // is reduced to one that lies in them.

    /// Loads the 32-bit word `i`.
    #[inline(always)]
    pub fn load_u32(self, i: u32) -> u32 {
        // SAFETY: see the top of the block.
        unsafe { AtomicU32::from_ptr(self.ptr.cast::<u32>().add(i as usize & 15)) }
            .load(Ordering::Acquire)
    }

    /// Which of eight 16-bit words from the 64-bit word `i` on are `v`: bit `2 *
    /// n` for word `n`.
    #[inline(always)]
    pub fn lanes_equal(self, i: u32, v: u16) -> u32 {
        // SAFETY: see the top of the block; every x86-64 has SSE2.
        let mask = unsafe {
            let at = |i: u32| AtomicU64::from_ptr(self.ptr.cast::<u64>().add(i as usize & 7));
            let (lo, hi) = (
                at(i).load(Ordering::Acquire),
                at(i + 1).load(Ordering::Acquire),
            );
            let words = _mm_set_epi64x(hi as i64, lo as i64);
            _mm_movemask_epi8(_mm_cmpeq_epi16(words, _mm_set1_epi16(v as i16)))
        };
        mask as u32 & 0x5555
    }
}
