//! The example that exchanges programs loses no packet. Needs a usable /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../examples/reload.rs"]
mod reload;

#[test]
fn no_packet_is_lost() {
    let (sent, answered, versions) = reload::run().unwrap();
    assert!(
        sent > 0 && versions > 1,
        "{sent} packets, {versions} versions"
    );
    assert_eq!(answered, sent);
}
