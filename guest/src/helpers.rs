//! The functions that programs call, by the numbers of `linux/bpf.h`.
//!
//! A helper is a safe function of the run's environment and R1 to R5. What it
//! answers becomes R0: a number, or a negative errno.
mod absent;
mod adjust_room;
mod checksum;
mod format;
mod identity;
mod iterate;
mod lock;
mod map_elem;
mod mark;
mod packet_load;
mod redirect;
mod ring;
mod skb_bytes;
mod skb_hash;
mod skb_room;
mod string;
mod time;
mod trace;
mod tunnel;
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
    4 => absent::no_memory,
    5 => time::ktime,
    6 => trace::printk,
    7 => identity::random,
    8 => identity::cpu,
    9 => skb_bytes::store,
    10 => checksum::l3_replace,
    11 => checksum::l4_replace,
    13 => absent::invalid,
    14 => absent::invalid,
    15 => absent::invalid,
    16 => absent::no_text,
    17 => absent::none,
    18 => vlan::push,
    19 => vlan::pop,
    20 => absent::tunnel_key,
    21 => tunnel::set_key,
    22 => absent::old_counter,
    23 => redirect::redirect,
    24 => absent::none,
    25 => ring::perf_event_output,
    26 => skb_bytes::load,
    27 => absent::not_run,
    28 => checksum::diff,
    29 => absent::tunnel_options,
    30 => absent::invalid,
    31 => skb_room::change_proto,
    32 => skb_room::change_type,
    34 => skb_hash::recalc,
    35 => absent::none,
    38 => skb_room::change_tail,
    39 => skb_room::pull_data,
    40 => checksum::update,
    41 => skb_hash::invalidate,
    42 => identity::numa_node,
    43 => skb_room::change_head,
    44 => xdp::adjust_head,
    45 => absent::no_memory,
    46 => absent::none,
    47 => absent::socket_uid,
    48 => skb_hash::set,
    49 => absent::not_run,
    50 => adjust_room::adjust_room,
    51 => redirect::redirect_map,
    52 => absent::not_run,
    53 => absent::not_run,
    54 => xdp::adjust_meta,
    55 => absent::counter,
    56 => absent::not_run,
    57 => absent::not_run,
    59 => absent::not_run,
    60 => absent::not_run,
    61 => absent::not_run,
    62 => absent::not_run,
    63 => absent::not_run,
    64 => absent::not_run,
    65 => xdp::adjust_tail,
    66 => absent::xfrm_state,
    67 => absent::not_run,
    68 => skb_bytes::load_relative,
    69 => absent::route,
    70 => absent::not_run,
    71 => absent::not_run,
    72 => absent::not_run,
    73 => absent::not_run,
    74 => absent::not_run,
    75 => absent::not_run,
    76 => absent::not_run,
    79 => absent::none,
    80 => absent::none,
    82 => absent::not_run,
    83 => absent::none,
    84 => absent::none,
    85 => absent::none,
    86 => absent::none,
    87 => map_elem::push,
    88 => map_elem::pop,
    89 => map_elem::peek,
    90 => absent::not_run,
    91 => absent::not_run,
    93 => lock::lock,
    94 => lock::unlock,
    95 => absent::none,
    96 => absent::none,
    97 => mark::congestion,
    98 => absent::none,
    99 => absent::none,
    100 => absent::invalid,
    101 => absent::not_run,
    102 => absent::not_run,
    103 => absent::not_run,
    104 => absent::not_run,
    105 => string::to_long,
    106 => string::to_unsigned_long,
    109 => absent::no_process,
    110 => absent::invalid,
    112 => absent::no_memory,
    113 => absent::no_memory,
    114 => absent::no_memory,
    115 => absent::no_memory,
    117 => absent::no_process,
    118 => time::jiffies,
    119 => absent::not_run,
    120 => absent::no_task,
    122 => absent::netns_cookie,
    123 => absent::none,
    124 => absent::not_run,
    125 => time::boottime,
    128 => absent::none,
    129 => absent::none,
    130 => ring::output,
    131 => ring::reserve,
    132 => ring::submit,
    133 => ring::discard,
    134 => ring::query,
    135 => checksum::level,
    136 => absent::none,
    137 => absent::none,
    138 => absent::none,
    139 => absent::none,
    140 => absent::none,
    141 => absent::not_run,
    142 => absent::not_run,
    143 => absent::not_run,
    144 => absent::not_run,
    149 => absent::invalid,
    151 => absent::none,
    152 => redirect::neighbour,
    155 => redirect::peer,
    158 => absent::none,
    160 => time::coarse,
    163 => absent::mtu,
    164 => iterate::for_each_map_elem,
    165 => string::snprintf,
    173 => absent::not_run,
    174 => absent::not_run,
    175 => absent::none,
    176 => absent::no_hardware,
    177 => trace::vprintk,
    178 => absent::none,
    181 => iterate::bpf_loop,
    182 => string::compare,
    186 => absent::not_run,
    187 => absent::not_run,
    188 => xdp::buff_len,
    189 => xdp::load,
    190 => xdp::store,
    192 => mark::time,
    195 => map_elem::lookup_percpu,
    196 => absent::none,
    204 => absent::not_run,
    205 => absent::not_run,
    206 => absent::not_run,
    207 => absent::not_run,
    208 => time::tai,
    runtime_fn::PACKET_LOAD => packet_load::load,
}
