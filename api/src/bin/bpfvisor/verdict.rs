//! Return values in words.

use bpfvisor::Redirect;
use bpfvisor::uapi::ProgType;
use serde_json::{Value, json};

/// What a return value means for a program type.
pub fn name(prog_type: ProgType, retval: u32) -> String {
    let table: &[&str] = match prog_type {
        ProgType::Xdp => &[
            "XDP_ABORTED",
            "XDP_DROP",
            "XDP_PASS",
            "XDP_TX",
            "XDP_REDIRECT",
        ],
        ProgType::SchedCls | ProgType::SchedAct => &[
            "TC_ACT_OK",
            "TC_ACT_RECLASSIFY",
            "TC_ACT_SHOT",
            "TC_ACT_PIPE",
            "TC_ACT_STOLEN",
            "TC_ACT_QUEUED",
            "TC_ACT_REPEAT",
            "TC_ACT_REDIRECT",
            "TC_ACT_TRAP",
        ],
        ProgType::SocketFilter => {
            return match retval {
                0 => "drop".into(),
                n => format!("keep {n} bytes"),
            };
        }
        ProgType::CgroupSkb => &["drop", "pass", "drop (CN)", "pass (CN)"],
        ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit => {
            return match retval {
                0 => "BPF_OK".into(),
                2 => "BPF_DROP".into(),
                7 => "BPF_REDIRECT".into(),
                128 => "BPF_LWT_REROUTE".into(),
                n => format!("{n} (invalid)"),
            };
        }
        _ => &[],
    };
    match (table.get(retval as usize), prog_type, retval) {
        (Some(name), ..) => (*name).into(),
        (None, ProgType::SchedCls | ProgType::SchedAct, u32::MAX) => "TC_ACT_UNSPEC".into(),
        (None, ProgType::Xdp, _) => format!("{retval} (invalid: as XDP_ABORTED)"),
        _ => format!("{retval}"),
    }
}

/// The target of a redirection for machines.
pub fn target(redirect: &Redirect) -> Value {
    match redirect {
        Redirect::Interface { index, ingress } => json!({"ifindex": index, "ingress": ingress}),
        Redirect::Peer { index } => json!({"ifindex": index, "peer": true}),
        Redirect::Neighbour { index } => json!({"ifindex": index, "neighbour": true}),
        Redirect::Entry { map, key } => json!({"map_id": map, "key": key}),
        Redirect::Broadcast {
            map,
            exclude_ingress,
        } => json!({"map_id": map, "broadcast": true, "exclude_ingress": exclude_ingress}),
        other => json!(other.to_string()),
    }
}

/// How many bytes of a packet go on their way: `None` for none of it.
pub fn passed(prog_type: ProgType, retval: u32, len: usize) -> Option<usize> {
    match prog_type {
        // Pass, transmit and redirect all send the packet on.
        ProgType::Xdp => (2..=4).contains(&retval).then_some(len),
        ProgType::SocketFilter => (retval > 0).then(|| len.min(retval as usize)),
        ProgType::SchedCls | ProgType::SchedAct => {
            (!matches!(retval, 2 | 4 | 5 | 8)).then_some(len)
        }
        ProgType::CgroupSkb => (retval & 1 != 0).then_some(len),
        ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit => (retval != 2).then_some(len),
        _ => Some(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_type() {
        assert_eq!(name(ProgType::Xdp, 2), "XDP_PASS");
        assert_eq!(name(ProgType::SchedCls, 2), "TC_ACT_SHOT");
        assert_eq!(name(ProgType::SchedCls, u32::MAX), "TC_ACT_UNSPEC");
        assert_eq!(name(ProgType::SocketFilter, 0), "drop");
        assert_eq!(name(ProgType::SocketFilter, 42), "keep 42 bytes");
        assert!(name(ProgType::Xdp, 77).contains("invalid"));
    }

    #[test]
    fn a_socket_filter_cuts_packets() {
        assert_eq!(passed(ProgType::SocketFilter, 42, 100), Some(42));
        assert_eq!(passed(ProgType::SocketFilter, 0, 100), None);
        assert_eq!(passed(ProgType::Xdp, 1, 100), None);
        assert_eq!(passed(ProgType::Xdp, 3, 100), Some(100));
        assert_eq!(passed(ProgType::SchedCls, 2, 100), None);
        assert_eq!(passed(ProgType::SchedCls, u32::MAX, 100), Some(100));
    }
}
