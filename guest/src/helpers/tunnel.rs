//! Tunnel keys: a program may say how a packet is to be encapsulated; there is no
//! tunnel here that would do it.
use super::Args;
use crate::env::Env;
use crate::memory::bytes;
use bpf_core::uapi::errno;

/// `BPF_F_TUNINFO_IPV6`, `BPF_F_ZERO_CSUM_TX`, `BPF_F_DONT_FRAGMENT`,
/// `BPF_F_SEQ_NUMBER`, `BPF_F_NO_TUNNEL_KEY`.
const KNOWN: u64 = 0x1f;
const IPV6: u64 = 1;
/// Sizes of `struct bpf_tunnel_key`: whole, up to `local_ipv6`, `tunnel_label`,
/// `tunnel_ext`, and up to the second word of the address.
const SIZES: [u64; 5] = [44, 28, 24, 22, 8];

/// `bpf_skb_set_tunnel_key(skb, key, size, flags)`.
pub fn set_key(_: &Env<'_>, [_, key, size, flags, _]: Args) -> Result<(), i32> {
    if flags & !KNOWN != 0 || !SIZES.contains(&size) {
        return Err(errno::EINVAL);
    }
    // tunnel_ext, and the label of an IPv4 key.
    let key = bytes(key, size);
    let set = |r: core::ops::Range<usize>| key.get(r).is_some_and(|b| b.iter().any(|&b| b != 0));
    if set(22..24) || (flags & IPV6 == 0 && set(24..28)) {
        return Err(errno::EINVAL);
    }
    Ok(())
}
