use super::*;

#[test]
fn each_culprit_has_its_errno() {
    let cases: [(Error, i32); 9] = [
        (HostError::NoKvm.into(), ENODEV),
        (HostError::KvmPermission.into(), EACCES),
        (CallerError::BadFd { insn: 3, fd: 9 }.into(), EBADF),
        (CallerError::NotAMap { insn: 3, fd: 9 }.into(), EINVAL),
        (CallerError::OtherVm { insn: 3, fd: 9 }.into(), EXDEV),
        (CallerError::TooManyMaps.into(), E2BIG),
        (
            CallerError::Refused {
                op: "lookup",
                errno: ENOENT,
            }
            .into(),
            ENOENT,
        ),
        (Error::Timeout(Duration::from_secs(1)), ETIMEDOUT),
        (Error::protocol("x"), EPROTO),
    ];
    for (error, errno) in cases {
        assert_eq!(error.errno(), errno, "{error}");
    }
}

#[test]
fn messages_name_instruction_and_fd() {
    let text = Error::from(CallerError::BadFd { insn: 3, fd: 9 }).to_string();
    assert!(
        text.contains("instruction 3") && text.contains("fd 9"),
        "{text}"
    );
}

#[test]
fn a_missing_kvm_says_what_to_do() {
    assert!(HostError::NoKvm.to_string().contains("modprobe"));
    assert!(HostError::KvmPermission.to_string().contains("usermod"));
}
