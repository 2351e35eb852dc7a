//! Whether an access lies inside its object, at both ends of the range.
use super::engine::Verifier;
use super::memory::Named;
use super::reg::{Kind, MAX_VAR_OFF};
use super::reject::{Res, bail};
use crate::program::MapDesc;
use crate::uapi::errno::{EACCES, EINVAL};
use crate::uapi::{MapType, map_flags};

impl Verifier<'_> {
    /// Offset plus the register's range must lie in `0..limit`.
    pub fn region(&self, r: Named<'_>, off: i32, size: i32, limit: i32, zero_ok: bool) -> Res<()> {
        let (nr, num) = (r.nr, &r.reg.num);
        let (off, limit) = (i64::from(off), i64::from(limit));
        let low = num.smin().saturating_add(off);
        if num.smin() < 0 && (low < 0 || low > i64::from(i32::MAX) || num.smin() == i64::MIN) {
            bail!(
                EACCES,
                "R{nr} min value is negative, either use unsigned index or do a if (index >=0) check."
            );
        }
        if inside(low, size, limit, zero_ok).is_err() {
            bail!(
                EACCES,
                "{}\nR{nr} min value is outside of the allowed memory range",
                outside(r, low, size, limit)
            );
        }
        if num.umax() >= MAX_VAR_OFF as u64 {
            bail!(
                EACCES,
                "R{nr} unbounded memory access, make sure to bounds check any such access"
            );
        }
        let high = num.umax() as i64 + off;
        if inside(high, size, limit, zero_ok).is_err() {
            bail!(
                EACCES,
                "{}\nR{nr} max value is outside of the allowed memory range",
                outside(r, high, size, limit)
            );
        }
        Ok(())
    }

    /// As [`Verifier::region`], for packets: the limit is what compares proved.
    pub fn packet_region(&self, r: Named<'_>, off: i32, size: i32, zero_ok: bool) -> Res<()> {
        if r.reg.num.smin() < 0 {
            bail!(
                EACCES,
                "R{} min value is negative, either use unsigned index or do a if (index >=0) check.",
                r.nr
            );
        }
        if r.reg.extra < 0 {
            bail!(EINVAL, "R{} offset is outside of the packet", r.nr);
        }
        if inside(i64::from(off), size, i64::from(r.reg.extra), zero_ok).is_err() {
            bail!(
                EACCES,
                "{}\nR{} offset is outside of the packet",
                outside(r, i64::from(off), size, i64::from(r.reg.extra)),
                r.nr
            );
        }
        Ok(())
    }

    /// Whether programs may read or write this map's values.
    pub fn map_may(&self, r: Named<'_>, off: i32, size: i32, write: bool) -> Res<()> {
        let m = self.map_of(r.reg);
        let val = m.value_size;
        if write && read_only(m) {
            bail!(
                EACCES,
                "write into map forbidden, value_size={val} off={off} size={size}"
            );
        }
        if !write && m.flags & map_flags::WRONLY_PROG != 0 {
            bail!(
                EACCES,
                "read from map forbidden, value_size={val} off={off} size={size}"
            );
        }
        Ok(())
    }

    /// A map value's bounds and protected fields.
    pub fn map_region(&self, r: Named<'_>, off: i32, size: i32, zero_ok: bool) -> Res<()> {
        let m = self.map_of(r.reg);
        let (value_size, lock) = (m.value_size as i32, m.spin_lock_off);
        self.region(r, off, size, value_size, zero_ok)?;
        if let Some(l) = lock {
            let low = r.reg.num.smin() + i64::from(off);
            let high = r.reg.num.umax() as i64 + i64::from(off) + i64::from(size);
            if low < i64::from(l) + 4 && i64::from(l) < high {
                bail!(
                    EACCES,
                    "bpf_spin_lock cannot be accessed directly by load/store"
                );
            }
        }
        Ok(())
    }
}

/// Programs may not write its values. Values of device maps are the kernel's
/// pointers there.
pub(crate) fn read_only(m: &MapDesc) -> bool {
    m.flags & map_flags::RDONLY_PROG != 0
        || matches!(m.map_type, MapType::Devmap | MapType::DevmapHash)
}

fn inside(off: i64, size: i32, limit: i64, zero_ok: bool) -> Result<(), ()> {
    let size_ok = size > 0 || (size == 0 && zero_ok);
    if off >= 0 && size_ok && off + i64::from(size) <= limit {
        Ok(())
    } else {
        Err(())
    }
}

fn outside(r: Named<'_>, off: i64, size: i32, limit: i64) -> alloc::string::String {
    use alloc::format;
    match r.reg.kind {
        Kind::MapValue => {
            format!("invalid access to map value, value_size={limit} off={off} size={size}")
        }
        Kind::MapKey => {
            format!("invalid access to map key, key_size={limit} off={off} size={size}")
        }
        Kind::Packet | Kind::PacketMeta => format!(
            "invalid access to packet, off={off} size={size}, R{}(id={},off={off},r={limit})",
            r.nr, r.reg.id
        ),
        _ => format!("invalid access to memory, mem_size={limit} off={off} size={size}"),
    }
}
