#![allow(clippy::unwrap_used, clippy::panic)]

//! Test runs, contexts and helpers do what the running kernel's do, compiled and
//! interpreted: errno, return value, packet, context and what the program saw.
//! Needs root and /dev/kvm.

#[path = "helpers_vs_kernel/contexts.rs"]
mod contexts;
#[path = "helpers_vs_kernel/duel.rs"]
mod duel;
#[path = "helpers_vs_kernel/legacy.rs"]
mod legacy;
#[path = "helpers_vs_kernel/maps.rs"]
mod maps;
#[path = "helpers_vs_kernel/marks.rs"]
mod marks;
#[path = "helpers_vs_kernel/packets.rs"]
mod packets;
#[path = "helpers_vs_kernel/redirect.rs"]
mod redirect;
#[path = "helpers_vs_kernel/skb.rs"]
mod skb;
#[path = "helpers_vs_kernel/text.rs"]
mod text;
#[path = "helpers_vs_kernel/types.rs"]
mod types;
#[path = "helpers_vs_kernel/xdp.rs"]
mod xdp;
