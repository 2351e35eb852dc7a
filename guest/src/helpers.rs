//! The functions that programs call, by the numbers of `linux/bpf.h`.
//!
//! A helper is a safe function of the run's environment and R1 to R5. What it
//! answers becomes R0: a number, or a negative errno.
mod adjust_room;
mod checksum;
mod format;
mod identity;
mod iterate;
mod lock;
mod map_elem;
mod packet_load;
mod redirect;
mod ring;
mod skb_bytes;
mod skb_hash;
mod skb_room;
mod string;
mod time;
mod trace;
mod vlan;
mod xdp;

use crate::env::Env;
use bpf_core::env::{HelperFn, runtime_fn};

/// R1 to R5.
type Args = [u64; 5];

/// What a helper may answer.
trait Reply {
    /// As R0.
    fn r0(self) -> u64;
}

impl Reply for u64 {
    #[inline(always)]
    fn r0(self) -> u64 {
        self
    }
}

impl Reply for Result<u64, i32> {
    #[inline(always)]
    fn r0(self) -> u64 {
        self.unwrap_or_else(|errno| i64::from(-errno) as u64)
    }
}

impl Reply for Result<(), i32> {
    #[inline(always)]
    fn r0(self) -> u64 {
        self.map(|()| 0).r0()
    }
}

/// Makes the table: number, function.
macro_rules! table {
    ($($id:expr => $body:path,)*) => {
        /// The helper with this number.
        pub fn function(id: u32) -> Option<HelperFn> {
            match id {
                $(id if id == $id => {
                    extern "C" fn shim(a: u64, b: u64, c: u64, d: u64, e: u64, env: u64) -> u64 {
                        $body(Env::at(env), [a, b, c, d, e]).r0()
                    }
                    Some(shim)
                })*
                _ => None,
            }
        }
    };
}

/// Address of the helper with this number, for compiled code.
pub fn address(id: u32) -> Option<u64> {
    function(id).map(|f| (f as *const ()).expose_provenance() as u64)
}

table! {
    1 => map_elem::lookup,
    2 => map_elem::update,
    3 => map_elem::delete,
    5 => time::ktime,
    6 => trace::printk,
    7 => identity::random,
    8 => identity::cpu,
    9 => skb_bytes::store,
    10 => checksum::l3_replace,
    11 => checksum::l4_replace,
    18 => vlan::push,
    19 => vlan::pop,
    23 => redirect::redirect,
    25 => ring::perf_event_output,
    26 => skb_bytes::load,
    28 => checksum::diff,
    31 => skb_room::change_proto,
    32 => skb_room::change_type,
    34 => skb_hash::recalc,
    38 => skb_room::change_tail,
    39 => skb_room::pull_data,
    40 => checksum::update,
    41 => skb_hash::invalidate,
    42 => identity::numa_node,
    43 => skb_room::change_head,
    44 => xdp::adjust_head,
    48 => skb_hash::set,
    50 => adjust_room::adjust_room,
    51 => redirect::redirect_map,
    54 => xdp::adjust_meta,
    65 => xdp::adjust_tail,
    68 => skb_bytes::load_relative,
    87 => map_elem::push,
    88 => map_elem::pop,
    89 => map_elem::peek,
    93 => lock::lock,
    94 => lock::unlock,
    105 => string::to_long,
    106 => string::to_unsigned_long,
    118 => time::jiffies,
    125 => time::boottime,
    130 => ring::output,
    131 => ring::reserve,
    132 => ring::submit,
    133 => ring::discard,
    134 => ring::query,
    135 => checksum::level,
    152 => redirect::neighbour,
    155 => redirect::peer,
    160 => time::coarse,
    164 => iterate::for_each_map_elem,
    165 => string::snprintf,
    177 => trace::vprintk,
    181 => iterate::bpf_loop,
    182 => string::compare,
    188 => xdp::buff_len,
    189 => xdp::load,
    190 => xdp::store,
    195 => map_elem::lookup_percpu,
    208 => time::tai,
    runtime_fn::PACKET_LOAD => packet_load::load,
}
