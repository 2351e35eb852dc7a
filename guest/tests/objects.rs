//! When retired objects go.
use bpfvisor_guest::object::Grace;
use std::sync::Arc;

#[test]
fn what_is_retired_waits_for_the_requests_that_may_see_it() {
    let grace = Grace::new(2);
    let (first, second) = (Arc::new(1), Arc::new(2));
    grace.enter(0);
    grace.enter(1);
    grace.retire(0, Box::new(Arc::clone(&first)));
    assert_eq!(Arc::strong_count(&first), 2, "vCPU 1 may still see it");
    grace.leave(1);
    grace.enter(1);
    grace.retire(0, Box::new(Arc::clone(&second)));
    assert_eq!(
        (Arc::strong_count(&first), Arc::strong_count(&second)),
        (1, 2)
    );
}

#[test]
fn nothing_waits_for_idle_vcpus() {
    let grace = Grace::new(8);
    let object = Arc::new(1);
    grace.enter(3);
    grace.retire(3, Box::new(Arc::clone(&object)));
    assert_eq!(Arc::strong_count(&object), 1);
}
