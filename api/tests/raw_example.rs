//! The example of the 2014 interface counts right. Needs a usable /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../examples/map_counting.rs"]
mod map_counting;

use map_counting::{count, frame};

#[test]
fn packets_are_counted_by_protocol() {
    let vm = bpfvisor::Vm::builder().memory(64 << 20).boot();
    let vm = vm.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"));
    let frames: Vec<_> = [6, 17, 6, 1, 6].map(frame).into();
    let counts = count(&vm, &frames).unwrap();
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [(1, 1), (6, 3), (17, 1)]
    );
}
