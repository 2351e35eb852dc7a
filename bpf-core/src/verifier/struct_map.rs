//! Reading the kernel's `struct bpf_map` through a map pointer.
//!
//! There is no such structure here. What a program may read of it and what
//! bpfvisor knows of the map is put into the program as a constant, one for each
//! load. Offsets are those of the structure in Linux 6.18, which is no interface:
//! programs that are made for several kernels find them by BTF.
use super::engine::Verifier;
use super::memory::Access;
use super::reg::{Kind, Reg, opaque};
use super::reject::{Res, bail, unsupported};
use crate::program::MapDesc;
use crate::uapi::errno::{EACCES, EINVAL};

/// `sha`: of an exclusive map, else zeros.
const SHA: i32 = 32;
const OPS: i32 = 40;
/// Size of the structure.
const SIZE: i32 = 296;

/// Where fields begin and end.
const FIELDS: &[(i32, i32)] = &[
    (32, 36),
    (40, 48),
    (48, 56),
    (56, 64),
    (64, 68),
    (68, 72),
    (72, 76),
    (76, 80),
    (80, 88),
    (88, 92),
    (92, 96),
];

impl Verifier<'_> {
    /// A read of `size` bytes at `off` of the structure behind a map pointer.
    pub fn map_field(&mut self, base: &Reg, off: i32, size: i32, what: Access) -> Res<Reg> {
        let pc = self.pc;
        if base.num.as_const() != Some(0) {
            bail!(EACCES, "variable bpf_map access is not allowed");
        }
        let end = off + size;
        if off >= SIZE {
            unsupported!("bytes behind struct bpf_map, at {off}");
        }
        if (36..OPS).contains(&off) {
            bail!(EINVAL, "struct bpf_map doesn't have field at offset {off}");
        }
        if (OPS..56).contains(&off) && (size != 8 || off % 8 != 0) {
            bail!(
                EACCES,
                "cannot access a part of the pointer in struct bpf_map at {off} size {size}"
            );
        }
        if (SHA..96).contains(&off) && !FIELDS.iter().any(|&(b, e)| b <= off && end <= e) {
            bail!(
                EACCES,
                "access beyond or between the members of struct bpf_map with off {off} size {size}"
            );
        }
        if (off, size) == (OPS, 8) {
            self.aux[pc].constant.see(Some(1));
            return Ok(Reg::pointer_to(Kind::Opaque, opaque::MAP_OPS));
        }
        let signed = matches!(what, Access::Load { signed: true });
        let known = field(self.map_of(base), base.uid != 0, off, size);
        let Some(v) = known.filter(|_| !signed) else {
            unsupported!("{size} bytes of the kernel's struct bpf_map at {off}");
        };
        self.aux[pc].constant.see(Some(v));
        if self.aux[pc].constant.get().is_none() {
            unsupported!("one load from the descriptions of several maps");
        }
        Ok(Reg::UNKNOWN)
    }
}

/// The value of (part of) a field that we know, `inner` maps being like their
/// template.
fn field(m: &MapDesc, inner: bool, off: i32, size: i32) -> Option<u32> {
    if off + size <= SHA || (off >= SHA && off + size <= SHA + 4) {
        // Neither `sha` nor `excl` is set here.
        return Some(0);
    }
    let value = match off & !3 {
        64 => m.map_type as u32,
        68 => m.key_size,
        72 => m.value_size,
        76 if !inner => m.max_entries,
        88 if !inner => m.flags,
        _ => return None,
    };
    let all = value >> (off as u32 % 4 * 8);
    match size {
        1 => Some(all & 0xff),
        2 => Some(all & 0xffff),
        4 => Some(all),
        _ => None,
    }
}
