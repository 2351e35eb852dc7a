//! The example of a service with a plugin: `api/examples/plugin_service.rs`. Needs a
//! usable /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../../api/examples/plugin_service.rs"]
mod plugin_service;

use plugin_service::{CAREFUL, CURIOUS, Filter, SLOW, ask, serve};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

#[test]
fn no_plugin_stops_the_service() {
    let filter = Filter::new(&CAREFUL);
    let filter = filter.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build().unwrap();
    let all = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answer = async |request| ask(address, request).await.unwrap();
        tokio::spawn(serve(socket, filter.clone()));
        let (reported, mut reports) = mpsc::unbounded_channel();
        let log = filter.clone();
        tokio::spawn(async move {
            let keep = |bytes: &[u8]| drop(reported.send(bytes.to_vec()));
            log.reports(keep).await
        });
        assert_eq!(answer("SELECT 1").await, "yes");
        assert_eq!(answer("DROP all").await, "no");
        assert_eq!(reports.recv().await.unwrap(), b"DROP all");
        assert_eq!(answer("short").await, "no");
        let refused = filter.exchange(&CURIOUS).unwrap_err().to_string();
        assert!(refused.contains("rejected at instruction 0"), "{refused}");
        assert_eq!(answer("DROP all").await, "no");
        filter.exchange(&SLOW).unwrap();
        let other = tokio::spawn(ask(address, "SELECT 2"));
        assert_eq!(answer("SELECT 3").await, "no");
        assert_eq!(other.await.unwrap().unwrap(), "no");
        filter.exchange(&CAREFUL).unwrap();
        assert_eq!(answer("SELECT 4").await, "yes");
        reports.recv().await.unwrap();
        assert!(reports.is_empty());
    };
    let limit = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(limit, all).await.unwrap() });
}
