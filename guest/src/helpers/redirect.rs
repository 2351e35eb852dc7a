//! Redirection: only the verdict; there are no interfaces here.
use super::Args;
use crate::env::Env;
use crate::memory;
use bpf_core::uapi::{MapType, ProgType, xdp_action};

const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;
/// `BPF_F_INGRESS` of `bpf_redirect`.
const INGRESS: u64 = 1;
/// Bits of `bpf_redirect_map`'s flags that say what to return for no entry.
const ACTION: u64 = 3;
/// `BPF_F_BROADCAST` and `BPF_F_EXCLUDE_INGRESS`.
const BROADCAST: u64 = 8;
const EXCLUDE_INGRESS: u64 = 16;

/// `bpf_redirect(ifindex, flags)`.
pub fn redirect(env: &Env<'_>, [_ifindex, flags, ..]: Args) -> u64 {
    match (env.prog.prog_type, flags) {
        (ProgType::Xdp, 0) => xdp_action::REDIRECT.into(),
        (ProgType::Xdp, _) => xdp_action::ABORTED.into(),
        (_, flags) if flags & !INGRESS != 0 => TC_ACT_SHOT,
        _ => TC_ACT_REDIRECT,
    }
}

/// `bpf_redirect_map(map, key, flags)`.
pub fn redirect_map(env: &Env<'_>, [map, key, flags, ..]: Args) -> u64 {
    let m = memory::map(map);
    let device = matches!(m.map_type(), MapType::Devmap | MapType::DevmapHash);
    let known = if device {
        ACTION | BROADCAST | EXCLUDE_INGRESS
    } else {
        ACTION
    };
    if flags & !known != 0 {
        return xdp_action::ABORTED.into();
    }
    let found = m
        .map
        .lookup(env.vcpu, &(key as u32).to_ne_bytes())
        .is_some();
    if found || flags & BROADCAST != 0 {
        xdp_action::REDIRECT.into()
    } else {
        flags & ACTION
    }
}
