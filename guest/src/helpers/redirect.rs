//! Redirection: programs choose, the host carries it out (there are no interfaces
//! here). The last choice holds, as in Linux's `struct bpf_redirect_info`.
use super::Args;
use crate::env::{Env, Redirect};
use crate::memory;
use bpf_core::uapi::{MapType, ProgType, tc_action, xdp_action};
use bpfvisor_abi::op::redirect::{CHOSEN, NEIGHBOUR, PEER};

/// `BPF_F_INGRESS` of `bpf_redirect`.
const INGRESS: u64 = 1;
/// Bits of `bpf_redirect_map`'s flags that say what to return for no entry.
const ACTION: u64 = 3;
/// `BPF_F_BROADCAST` and `BPF_F_EXCLUDE_INGRESS`.
const BROADCAST: u64 = 8;
const EXCLUDE_INGRESS: u64 = 16;
/// Size of `struct bpf_redir_neigh`.
const NEIGHBOUR_SIZE: u64 = 20;

fn choose(env: &Env<'_>, target: u64, via: u32, how: u64) {
    let (target, how) = (target as u32, CHOSEN | how as u16);
    env.redirect.set(Redirect { target, via, how });
}

/// `bpf_redirect(ifindex, flags)`.
pub fn redirect(env: &Env<'_>, [ifindex, flags, ..]: Args) -> u64 {
    let (known, yes, no) = match env.prog.prog_type {
        ProgType::Xdp => (0, xdp_action::REDIRECT, xdp_action::ABORTED),
        _ => (INGRESS, tc_action::REDIRECT, tc_action::SHOT),
    };
    if flags & !known != 0 {
        return no.into();
    }
    choose(env, ifindex, 0, flags);
    yes.into()
}

/// `bpf_redirect_peer(ifindex, flags)`.
pub fn peer(env: &Env<'_>, [ifindex, flags, ..]: Args) -> u64 {
    if flags != 0 {
        return tc_action::SHOT.into();
    }
    choose(env, ifindex, 0, PEER.into());
    tc_action::REDIRECT.into()
}

/// `bpf_redirect_neigh(ifindex, params, size, flags)`: the neighbour that is
/// given in `params` is for the host to find.
pub fn neighbour(env: &Env<'_>, [ifindex, _, size, flags, _]: Args) -> u64 {
    if flags != 0 || (size != 0 && size < NEIGHBOUR_SIZE) {
        return tc_action::SHOT.into();
    }
    choose(env, ifindex, 0, NEIGHBOUR.into());
    tc_action::REDIRECT.into()
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
    let all = flags & BROADCAST != 0;
    let key = key as u32;
    if !all && m.map.lookup(env.vcpu, &key.to_ne_bytes()).is_none() {
        env.redirect.set(Redirect::default());
        return flags & ACTION;
    }
    let how = if all { flags & !ACTION } else { 0 };
    choose(env, key.into(), m.handle(), how);
    xdp_action::REDIRECT.into()
}
