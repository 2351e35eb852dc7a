//! The maps that a program names.
use super::Reject;
use super::engine::Verifier;
use super::reg::MAX_VAR_OFF;
use super::reject::{Res, bail, unsupported};
use crate::insn::op;
use crate::program::MapDesc;
use crate::uapi::errno::{E2BIG, EBADF, EINVAL, ENOTSUPP, EPROTO};
use crate::uapi::{MapType, ProgType, limits};

impl Verifier<'_> {
    /// Resolves the handles in wide loads.
    pub fn resolve_maps(&mut self) -> Res<()> {
        let insns = self.desc.insns;
        let mut at = 0;
        while let Some(i) = insns.get(at) {
            if i.is_wide() && matches!(i.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE) {
                let off = insns.get(at + 1).map_or(0, |n| n.imm as u32);
                let value = i.src == op::PSEUDO_MAP_VALUE;
                let nr = self
                    .resolve(i.imm as u32, value.then_some(off))
                    .map_err(|r| r.at(at))?;
                self.aux[at].map = Some(nr);
            } else if i.is_wide() && matches!(i.src, op::PSEUDO_MAP_IDX | op::PSEUDO_MAP_IDX_VALUE)
            {
                return Err(
                    Reject::new(EPROTO, "fd_idx without fd_array is invalid".into()).at(at),
                );
            }
            at += if i.is_wide() { 2 } else { 1 };
        }
        Ok(())
    }

    fn resolve(&mut self, handle: u32, value_off: Option<u32>) -> Res<usize> {
        let Some(map) = self.table.map(handle) else {
            bail!(
                EBADF,
                "fd {} is not pointing to valid bpf_map",
                handle as i32
            );
        };
        if let Some(off) = value_off {
            direct_value(&map, off)?;
        }
        if map.spin_lock_off.is_some() && self.desc.prog_type == ProgType::SocketFilter {
            bail!(EINVAL, "socket filter progs cannot use bpf_spin_lock yet");
        }
        if map.spin_lock_off.is_some() && is_tracing(self.desc.prog_type) {
            bail!(EINVAL, "tracing progs cannot use bpf_spin_lock yet");
        }
        if let Some(nr) = self.maps.iter().position(|m| m.handle == handle) {
            return Ok(nr);
        }
        if self.maps.len() >= limits::USED_MAPS {
            bail!(
                E2BIG,
                "The total number of maps per program has reached the limit of {}",
                limits::USED_MAPS
            );
        }
        self.used_maps.push(handle);
        self.maps.push(map);
        Ok(self.maps.len() - 1)
    }
}

/// `is_tracing_prog_type`.
fn is_tracing(t: ProgType) -> bool {
    use ProgType::*;
    matches!(
        t,
        Kprobe | Tracepoint | PerfEvent | RawTracepoint | RawTracepointWritable
    )
}

fn direct_value(map: &MapDesc, off: u32) -> Res<()> {
    if i64::from(off) >= MAX_VAR_OFF {
        bail!(EINVAL, "direct value offset of {off} is not allowed");
    }
    match map.map_type {
        MapType::Array => {}
        MapType::Arena | MapType::InsnArray => {
            unsupported!("values of {} maps", map.map_type.name())
        }
        _ => bail!(EINVAL, "no direct value access support for this map type"),
    }
    let errno = if map.max_entries != 1 {
        ENOTSUPP
    } else {
        EINVAL
    };
    if map.max_entries != 1 || off >= map.value_size {
        bail!(
            errno,
            "invalid access to map value pointer, value_size={} off={off}",
            map.value_size
        );
    }
    Ok(())
}
