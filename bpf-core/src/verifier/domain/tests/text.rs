//! The text form, against lines seen in the kernel's log.

use crate::verifier::domain::*;
use std::string::ToString;

#[test]
fn numbers_read_as_in_the_kernel_log() {
    let byte = Scalar::UNKNOWN.zero_extend(8);
    assert_eq!(
        byte.to_string(),
        "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))"
    );
    let word = Scalar::UNKNOWN.zero_extend(32);
    assert_eq!(
        word.to_string(),
        "scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))"
    );
    assert_eq!(Scalar::UNKNOWN.to_string(), "scalar()");
    assert_eq!(Scalar::constant(7).to_string(), "7");
    assert_eq!(Scalar::constant(-7i64 as u64).to_string(), "-7");
    assert_eq!(Scalar::constant(0x12345).to_string(), "0x12345");
    let small = Scalar::from_srange(-5, 3);
    assert_eq!(small.to_string(), "scalar(smin=smin32=-5,smax=smax32=3)");
    let errno = Scalar::UNKNOWN.sign_extend(32, Width::W64);
    assert_eq!(
        errno.to_string(),
        "scalar(smin=0xffffffff80000000,smax=0x7fffffff)"
    );
}
