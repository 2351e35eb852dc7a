#![allow(clippy::unwrap_used)]

//! What the verifier has in tables, asked of the running kernel: who may call which
//! helper with what, and which fields of a context may be read and written.
//! `SEED` and `COUNT` (variations per helper) choose other arguments.

use bpf_core::disasm::helper_name;
use bpf_core::helper::{self, Arg};
use bpf_core::uapi::ProgType;
use bpfvisor_tests::cases::{Kernel, line, ours};
use bpfvisor_tests::generate::Rng;

/// Program types, with an attach type where they need one.
const TYPES: &[(&str, u32)] = &[
    ("socket_filter", 0),
    ("sched_cls", 0),
    ("sched_act", 0),
    ("xdp", 0),
    ("xdp", 33),
    ("cgroup_skb", 0),
    ("cgroup_skb", 1),
    ("lwt_in", 0),
    ("lwt_out", 0),
    ("lwt_xmit", 0),
    ("lwt_seg6local", 0),
    ("sk_skb", 0),
    ("sk_msg", 0),
    ("sk_lookup", 36),
    ("sk_reuseport", 0),
    ("flow_dissector", 0),
    ("sock_ops", 0),
    ("cgroup_sock", 0),
    ("cgroup_sock", 12),
    ("cgroup_sock", 13),
    ("cgroup_sock_addr", 8),
    ("cgroup_sock_addr", 9),
    ("cgroup_sock_addr", 10),
    ("cgroup_sock_addr", 11),
    ("cgroup_sock_addr", 14),
    ("cgroup_sock_addr", 15),
    ("cgroup_sock_addr", 19),
    ("cgroup_sock_addr", 30),
    ("cgroup_sockopt", 21),
    ("cgroup_sockopt", 22),
    ("cgroup_device", 0),
    ("cgroup_sysctl", 0),
    ("netfilter", 45),
    ("kprobe", 0),
    ("tracepoint", 0),
    ("raw_tracepoint", 0),
    ("perf_event", 0),
];

fn type_of(name: &str) -> ProgType {
    ProgType::from_name(name).unwrap_or(ProgType::Flat)
}

/// Where the verdicts on a program differ, says so.
fn differ(kernel: &mut Kernel, text: &str) -> Option<String> {
    let case = line(text).unwrap();
    let ours = ours(&case);
    let theirs = kernel.judge(&case).unwrap()?;
    // Of two faults each may name its own; where the kernel's verifier finds itself
    // inconsistent it says EFAULT.
    let fine = (ours.verdict == "accept") == (theirs.verdict == "accept");
    if fine {
        return None;
    }
    let why = kernel.explain(&case).ok().flatten();
    Some(format!("{text}\n  kernel {why:?}\n  ours {ours:?}"))
}

fn assert_none(wrong: &[String], asked: usize) {
    assert!(asked > 0);
    let some = wrong.iter().take(10).cloned().collect::<Vec<_>>();
    let (n, some) = (wrong.len(), some.join("\n"));
    assert!(wrong.is_empty(), "{n} of {asked} differ:\n{some}");
}

#[test]
fn fields_of_contexts() {
    let mut kernel = Kernel::new().expect("the kernel's bpf(), as root");
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (name, attach) in TYPES {
        // Some may only return 1, some only 0.
        let ret = u32::from(matches!(attach, 19 | 30));
        for off in (0..232).chain([2048, 8184, 8192]) {
            for size in [8, 16, 32, 64] {
                let at = format!("*(u{size} *)(r1 +{off})");
                for access in [format!("r2 = {at}"), format!("r2 = 0; {at} = r2")] {
                    asked += 1;
                    let text = format!("{name}@{attach} field | {access}; ret {ret}");
                    wrong.extend(differ(&mut kernel, &text));
                }
            }
        }
    }
    assert_none(&wrong, asked);
}

#[test]
fn fields_of_sockets() {
    let mut kernel = Kernel::new().expect("the kernel's bpf(), as root");
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for get in ["", "sk_fullsock", "tcp_sock", "get_listener_sock"] {
        let get = match get {
            "" => "r0 = r1".to_owned(),
            name => format!("call bpf_{name}; if r0 == 0 goto out"),
        };
        for off in -2..120 {
            for size in [8, 16, 32, 64] {
                asked += 1;
                let text = format!(
                    "sched_cls socket | r1 = *(u64 *)(r1 +168); if r1 == 0 goto out; {get}; r2 = *(u{size} *)(r0 +{off}); out: ret"
                );
                wrong.extend(differ(&mut kernel, &text.replace("+-", "-")));
            }
        }
    }
    assert_none(&wrong, asked);
}

/// 64 bytes of stack, the context in R6, any number in R7.
const BEGIN: &str = "r6 = r1; *(u64 *)(r10 -8) = 0; *(u64 *)(r10 -16) = 0; *(u64 *)(r10 -24) = 0; \
                     *(u64 *)(r10 -32) = 0; *(u64 *)(r10 -40) = 0; *(u64 *)(r10 -48) = 0; \
                     *(u64 *)(r10 -56) = 0; *(u64 *)(r10 -64) = 0; r7 = *(u32 *)(r10 -200); ";

/// Values of arguments, `%` being the register.
const VALUES: &[&str] = &[
    "% = r6",
    "% = r10; % += -64",
    "% = r10; % += -400",
    "% = r10; % += -8",
    "% = r10; % += -61",
    "% = r10",
    "% = map[id:0]",
    "% = map[id:1]",
    "% = map[id:2]",
    "% = map[id:5]",
    "% = map[id:9]",
    "% = map[id:12]",
    "% = map[id:16]",
    "% = map[id:3][0]+0",
    "% = map[id:3][0]+1",
    "% = map[id:3][0]+60",
    "% = map[id:7][0]+0",
    "% = map[id:8][0]+0",
    "% = map[id:14][0]+0",
    "% = 0",
    "% = 1",
    "% = 8",
    "% = 64",
    "% = 65",
    "% = -1",
    "% = r7",
    "% = r7; % &= 63",
    "% = r7; % &= 31; % += 1",
    "% = r8",
    "% = subprog[f]",
    "% = 0x40000000",
];

/// The map that a helper wants.
fn map_for(helper: u32) -> u32 {
    match helper {
        12 => 2,
        22 | 25 | 55 => 12,
        51 => 16,
        87..=89 => 9,
        130 | 131 | 134 => 5,
        195 => 11,
        _ => 1,
    }
}

fn usual(helper: u32, arg: Arg) -> String {
    match arg {
        Arg::Anything | Arg::MapValueOrNull | Arg::BtfSockOrNull | Arg::SocketOrNull => "% = 0",
        Arg::Ctx | Arg::CtxOrNull => "% = r6",
        Arg::MapPtr => return format!("% = map[id:{}]", map_for(helper)),
        Arg::Size | Arg::SizeOrZero => "% = 64",
        Arg::AllocSize => "% = 8",
        Arg::Func => "% = subprog[f]",
        Arg::ConstStr => "% = map[id:7][0]+0",
        Arg::Timer | Arg::Kptr => "% = map[id:3][0]+0",
        Arg::Sock | Arg::BtfSock | Arg::HeldSock | Arg::Task | Arg::Cgroup => "% = r8",
        Arg::SpinLock | Arg::AllocMem | Arg::PercpuVariable => "% = r8",
        _ => "% = r10; % += -64",
    }
    .to_owned()
}

/// Leaves in R8 what an argument asks for.
fn special(of: &str, args: &[Arg]) -> &'static str {
    let any = |wanted: &[Arg]| args.iter().any(|a| wanted.contains(a));
    if any(&[Arg::Sock, Arg::BtfSock, Arg::HeldSock]) {
        return match of {
            "xdp" => {
                "r1 = r6; r2 = r10; r2 += -64; r3 = 12; r4 = 0; r5 = 0; \
                 call bpf_skc_lookup_tcp; if r0 == 0 goto out; r8 = r0; "
            }
            "sk_lookup" | "cgroup_sockopt" => "r8 = *(u64 *)(r6 +0); if r8 == 0 goto out; ",
            "sk_msg" => "r8 = *(u64 *)(r6 +72); ",
            "sock_ops" => "r8 = *(u64 *)(r6 +184); if r8 == 0 goto out; ",
            "cgroup_sock_addr" => "r8 = *(u64 *)(r6 +64); ",
            "sched_cls" | "sched_act" | "cgroup_skb" | "sk_skb" | "socket_filter" => {
                "r8 = *(u64 *)(r6 +168); if r8 == 0 goto out; "
            }
            _ => "r8 = 5; ",
        };
    }
    if any(&[Arg::Task]) {
        return "call bpf_get_current_task_btf; r8 = r0; ";
    }
    if any(&[Arg::AllocMem]) {
        return "r1 = map[id:5]; r2 = 8; r3 = 0; call bpf_ringbuf_reserve; \
                if r0 == 0 goto out; r8 = r0; ";
    }
    "r8 = 5; "
}

fn call(of: (&str, u32), helper: u32, args: &[String], needs: &[Arg]) -> String {
    let (name, attach) = of;
    let mut text = format!("{name}@{attach} call | {BEGIN}{}", special(name, needs));
    for (n, arg) in args.iter().enumerate() {
        text += &arg.replace('%', &format!("r{}", n + 1));
        text += "; ";
    }
    text += &format!("call {}; out: ret 1", helper_name(helper).unwrap_or("?"));
    if args.iter().any(|a| a.contains("subprog")) {
        text += "; f: ret";
    }
    text
}

#[test]
fn arguments_of_helpers() {
    let number = |name: &str, or| std::env::var(name).map_or(or, |v| v.parse().unwrap_or(or));
    let (seed, count) = (number("SEED", 1), number("COUNT", 2));
    let mut rng = Rng::new(seed);
    let mut kernel = Kernel::new().expect("the kernel's bpf(), as root");
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for of in TYPES {
        for id in 1..=211 {
            // Dynptrs have no prototype here: `unsupported`.
            let Some(proto) = helper::proto(id, type_of(of.0)) else {
                continue;
            };
            let plain: Vec<_> = proto.args.iter().map(|a| usual(id, *a)).collect();
            for nr in 0..count + 2 {
                let mut args = plain.clone();
                match nr {
                    0 => {}
                    1 => drop(args.pop()),
                    _ if args.is_empty() => continue,
                    _ => {
                        let at = rng.below(args.len() as u64) as usize;
                        args[at] = VALUES[rng.below(VALUES.len() as u64) as usize].to_owned();
                    }
                }
                asked += 1;
                wrong.extend(differ(&mut kernel, &call(*of, id, &args, proto.args)));
            }
        }
    }
    assert_none(&wrong, asked);
}
