//! The four functions that compiled Rust calls for memory. Short blocks are
//! moved in registers, long ones by the string instructions, which are fast on
//! every processor with ERMS.
#![allow(unsafe_code)]
use core::arch::asm;

/// Below this a string instruction's start-up costs more than it saves.
const SHORT: usize = 64;

/// Copies forward.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise: both ranges are accessible, and disjoint.
    unsafe {
        match n {
            0..16 => copy_tiny(dst, src, n),
            16..=SHORT => copy_short(dst, src, n),
            _ => asm!("rep movsb", inout("rcx") n => _, inout("rdi") dst => _,
                      inout("rsi") src => _, options(nostack, preserves_flags)),
        }
    }
    dst
}

/// Up to 15 bytes, by two possibly overlapping moves.
///
/// # Safety
/// As `memmove`: both are read before either is written.
#[inline(always)]
unsafe fn copy_tiny(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: every access lies in [0, n) of its range.
    unsafe {
        if n >= 8 {
            let (a, b) = (read::<u64>(src), read::<u64>(src.add(n - 8)));
            write(dst, a);
            write(dst.add(n - 8), b);
        } else if n >= 4 {
            let (a, b) = (read::<u32>(src), read::<u32>(src.add(n - 4)));
            write(dst, a);
            write(dst.add(n - 4), b);
        } else if n >= 2 {
            let (a, b) = (read::<u16>(src), read::<u16>(src.add(n - 2)));
            write(dst, a);
            write(dst.add(n - 2), b);
        } else if n == 1 {
            dst.write_volatile(src.read_volatile());
        }
    }
}

/// 16 to 64 bytes, by up to four possibly overlapping moves.
///
/// # Safety
/// As `memmove`.
#[inline(always)]
unsafe fn copy_short(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: n >= 16, and n > 32 where the middle moves are made, so every
    // access lies in [0, n) of its range; all are read before any is written.
    unsafe {
        let (a, d) = (read::<u128>(src), read::<u128>(src.add(n - 16)));
        if n > 32 {
            let (b, c) = (read::<u128>(src.add(16)), read::<u128>(src.add(n - 32)));
            write(dst.add(16), b);
            write(dst.add(n - 32), c);
        }
        write(dst, a);
        write(dst.add(n - 16), d);
    }
}

/// # Safety
/// `p` must be readable for a `T` of plain data.
#[inline(always)]
unsafe fn read<T: Copy>(p: *const u8) -> T {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<T>().read_unaligned() }
}

/// # Safety
/// `p` must be writable for a `T`.
#[inline(always)]
unsafe fn write<T>(p: *mut u8, v: T) {
    // SAFETY: the caller's promise.
    unsafe { p.cast::<T>().write_unaligned(v) }
}

/// Copies as if through a buffer.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise. Forward copying is right unless `dst` lies
    // inside [src, src + n); then the copy runs backward, and the direction flag
    // is put back before any other code runs.
    unsafe {
        if n < 16 {
            copy_tiny(dst, src, n);
        } else if n <= SHORT {
            copy_short(dst, src, n);
        } else if (dst as usize).wrapping_sub(src as usize) >= n {
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") dst => _,
                 inout("rsi") src => _, options(nostack, preserves_flags));
        } else {
            asm!("std", "rep movsb", "cld", inout("rcx") n => _,
                 inout("rdi") dst.add(n - 1) => _, inout("rsi") src.add(n - 1) => _,
                 options(nostack));
        }
    }
    dst
}

/// Fills.
///
/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(dst: *mut u8, byte: i32, n: usize) -> *mut u8 {
    let word = u64::from(byte as u8) * 0x0101_0101_0101_0101;
    // SAFETY: the caller's promise; for 8..=SHORT bytes each store begins at
    // most at n - 8.
    unsafe {
        if n < 8 {
            for i in 0..n {
                dst.add(i).write_volatile(byte as u8);
            }
        } else if n <= SHORT {
            let mut i = 0;
            while i + 8 <= n {
                dst.add(i).cast::<u64>().write_volatile(word);
                i += 8;
            }
            write(dst.add(n - 8), word);
        } else {
            asm!("rep stosb", inout("rcx") n => _, inout("rdi") dst => _, in("al") byte as u8,
                 options(nostack, preserves_flags));
        }
    }
    dst
}

/// Compares as unsigned bytes.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    // SAFETY: the caller's promise; every access lies in [0, n).
    unsafe {
        while i + 8 <= n {
            let (x, y) = (read::<u64>(a.add(i)), read::<u64>(b.add(i)));
            if x != y {
                return if x.swap_bytes() < y.swap_bytes() {
                    -1
                } else {
                    1
                };
            }
            i += 8;
        }
        while i < n {
            let (x, y) = (a.add(i).read_volatile(), b.add(i).read_volatile());
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            i += 1;
        }
    }
    0
}

/// Compares for equality.
///
/// # Safety
/// As [`memcmp`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(a, b, n) }
}
