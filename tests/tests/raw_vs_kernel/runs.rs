//! Scripts about `BPF_PROG_TEST_RUN`: every argument of it, for every type of program
//! that can be run.

use crate::programs::{SOCKET_FILTER, XDP, ret};
use crate::script::{Attr, Script, addr, addr_mut};
use bpf_core::asm::assemble;
use bpf_core::uapi::Cmd;

const SCHED_CLS: u32 = 3;
const SCHED_ACT: u32 = 4;
const CGROUP_SKB: u32 = 8;
const LWT_IN: u32 = 10;
const LWT_OUT: u32 = 11;
const LWT_XMIT: u32 = 12;

/// Offsets in the attributes.
mod at {
    pub const RETVAL: usize = 4;
    pub const SIZE_IN: usize = 8;
    pub const SIZE_OUT: usize = 12;
    pub const DATA_IN: usize = 16;
    pub const DATA_OUT: usize = 24;
    pub const REPEAT: usize = 32;
    pub const DURATION: usize = 36;
    pub const CTX_SIZE_IN: usize = 40;
    pub const CTX_SIZE_OUT: usize = 44;
    pub const CTX_IN: usize = 48;
    pub const CTX_OUT: usize = 56;
    pub const FLAGS: usize = 64;
    pub const CPU: usize = 68;
    pub const BATCH: usize = 72;
}

const LIVE_FRAMES: u32 = 1 << 1;
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// An IPv4 packet in an Ethernet frame.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
    if len >= 34 {
        frame[12..34].copy_from_slice(&[
            8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
    }
    frame
}

/// A `struct xdp_md` by which all of a packet is linear: one that says nothing would
/// leave nothing of it.
fn linear(len: u32) -> [u8; 256] {
    let mut context = [0; 256];
    context[4..8].copy_from_slice(&len.to_ne_bytes());
    context
}

/// Runs, and notes all that comes out.
fn run(s: &mut Script<'_>, what: &str, mut attr: Attr, outs: &[&mut [u8]]) {
    let _ = s.call(what, Cmd::ProgTestRun, &mut attr);
    let words = [at::RETVAL, at::SIZE_OUT, at::CTX_SIZE_OUT];
    s.note("retval, sizes", words.map(|word| attr.word(word)));
    for out in outs {
        s.note("out", out.to_vec());
    }
}

/// Sizes and counts, one at a time.
pub fn arguments(s: &mut Script<'_>) {
    let types = [
        XDP,
        SOCKET_FILTER,
        SCHED_CLS,
        SCHED_ACT,
        LWT_IN,
        LWT_OUT,
        LWT_XMIT,
    ];
    let long = frame(3520);
    for prog_type in types.into_iter().chain([CGROUP_SKB]) {
        let program = s.program(prog_type, &ret(1));
        for len in [0u32, 1, 13, 14, 15, 33, 34, 60, 1514, 3520] {
            let mut data = [0u8; 64];
            let mut ctx = [0u8; 192];
            let base = Attr::new(80).u32(0, program).u32(at::SIZE_IN, len);
            let base = base.u64(at::DATA_IN, addr(&long));
            let base = base
                .u64(at::DATA_OUT, addr_mut(&mut data))
                .u32(at::SIZE_OUT, 64);
            let base = base.u64(at::CTX_OUT, addr_mut(&mut ctx));
            let size = if prog_type == XDP { 24 } else { 192 };
            let mut base = base.u32(at::CTX_SIZE_OUT, size);
            let given = linear(len);
            if prog_type == XDP {
                base = base.u64(at::CTX_IN, addr(&given)).u32(at::CTX_SIZE_IN, 24);
            }
            let what = format!("type {prog_type}, {len} bytes");
            run(s, &what, base, &[&mut data, &mut ctx]);
        }
        let base = || {
            let base = Attr::new(80).u32(0, program).u32(at::SIZE_IN, 64);
            base.u64(at::DATA_IN, addr(&long))
        };
        for (what, attr) in [
            ("repeat 0", base()),
            ("repeat 1", base().u32(at::REPEAT, 1)),
            ("repeat 1000", base().u32(at::REPEAT, 1000)),
            ("cpu 0", base().u32(at::CPU, 0)),
            ("batch 1", base().u32(at::BATCH, 1)),
            ("batch 1000", base().u32(at::BATCH, 1000)),
            ("checksum", base().u32(at::FLAGS, CHECKSUM_COMPLETE)),
            ("run on cpu", base().u32(at::FLAGS, 1)),
            ("flag 3", base().u32(at::FLAGS, 1 << 3)),
            ("all flags", base().u32(at::FLAGS, -1)),
            ("retval given", base().u32(at::RETVAL, 77)),
            ("duration given", base().u32(at::DURATION, 77)),
            ("short attributes", Attr(base().0[..40].to_vec())),
        ] {
            let mut attr = attr;
            let _ = s.call(
                &format!("type {prog_type}, {what}"),
                Cmd::ProgTestRun,
                &mut attr,
            );
            s.note("retval", attr.word(at::RETVAL));
        }
        if prog_type != XDP {
            let live = base().u32(at::FLAGS, LIVE_FRAMES);
            run(s, "live frames", live, &[]);
        }
    }
}

/// Each size of a context, in and out, with what the program wrote into it.
pub fn contexts(s: &mut Script<'_>) {
    let text = "r2 = *(u32 *)(r1 +8)\nr2 += 5\n*(u32 *)(r1 +8) = r2\n*(u32 *)(r1 +48) = r2\n\
                r0 = -1\nexit";
    let mark = s.program(SCHED_CLS, &assemble(text).unwrap());
    let xdp = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += 14\nr0 = 0\n\
               if r4 > r3 goto out\n*(u8 *)(r2 +3) = 9\nr0 = r3\nr0 -= r2\nout:\nexit";
    let xdp = s.program(XDP, &assemble(xdp).unwrap());
    let data = frame(64);
    let mut given = [0u8; 256];
    given[8..12].copy_from_slice(&7u32.to_ne_bytes());
    for program in [mark, xdp] {
        let given = if program == mark { given } else { linear(64) };
        for size_in in [0u32, 1, 8, 12, 23, 24, 25, 100, 191, 192, 193, 256] {
            if program == xdp && size_in < 8 {
                continue;
            }

            for size_out in [0u32, 1, 12, 24, 52, 191, 192, 200] {
                let (mut out, mut ctx) = ([0u8; 64], [0u8; 256]);
                let mut attr = Attr::new(80).u32(0, program).u32(at::SIZE_IN, 64);
                attr = attr.u64(at::DATA_IN, addr(&data));
                attr = attr
                    .u64(at::DATA_OUT, addr_mut(&mut out))
                    .u32(at::SIZE_OUT, 64);
                if size_in > 0 {
                    attr = attr
                        .u64(at::CTX_IN, addr(&given))
                        .u32(at::CTX_SIZE_IN, size_in);
                }
                if size_out > 0 {
                    let to = addr_mut(&mut ctx);
                    attr = attr.u64(at::CTX_OUT, to).u32(at::CTX_SIZE_OUT, size_out);
                }
                let what = format!("context of {size_in}, room for {size_out}");
                run(s, &what, attr, &[&mut out, &mut ctx]);
            }
        }
    }
}
