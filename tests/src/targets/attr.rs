//! The bytes of `bpf()`: every command with any `union bpf_attr`, over memory
//! that holds any bytes too, and the attribute lists of 2014. Needs /dev/kvm.

use bpfvisor::raw::{self, Session, Space};
use bpfvisor::uapi::{MapType, errno};
use bpfvisor::{MapSpec, Vm};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the caller's memory lies.
const BASE: u64 = 0x1000;
const LEN: usize = 4096;
/// Longest attributes.
const ATTR: usize = 168;

fn vm() -> Option<&'static Vm> {
    static VM: OnceLock<Option<Vm>> = OnceLock::new();
    VM.get_or_init(|| {
        let vm = Vm::builder().memory(64 << 20).heap(64 << 20);
        let vm = vm.timeout(Duration::from_millis(200)).boot().ok()?;
        // Something for descriptors to name.
        for spec in [MapSpec::hash("h", 4, 8, 16), MapSpec::array("a", 8, 4)] {
            std::mem::forget(vm.create_map(spec).ok()?);
        }
        Some(vm)
    })
    .as_ref()
}

/// Takes descriptors out of the world again.
fn close(vm: &Vm, answer: Result<i64, raw::Refused>, makes_fd: bool) -> bool {
    assert!(vm.is_alive(), "a client took the VM down: {:?}", vm.fault());
    match answer {
        Ok(fd) if makes_fd && fd > 2 => {
            adopt(fd as i32);
            true
        }
        Ok(_) => true,
        Err(refused) => {
            let e = refused.errno;
            assert!(
                e > 0 && e < 4096 && !refused.message.is_empty(),
                "{refused}"
            );
            ![errno::EINVAL, errno::EFAULT, errno::EBADF].contains(&e)
        }
    }
}

/// The descriptor was made for this caller, who closes it.
#[allow(unsafe_code)]
fn adopt(fd: i32) {
    // SAFETY: a new descriptor that the command answered, owned by nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

pub(super) fn run(data: &[u8]) -> bool {
    let (Some(vm), Some((cmd, rest))) = (vm(), data.split_first()) else {
        return false;
    };
    let (attr, memory) = rest.split_at(rest.len().min(ATTR));
    let space = Space::new(BASE, LEN);
    let len = memory.len().min(LEN);
    let _ = raw::UserMemory::write(&space, BASE, &memory[..len]);
    let session = Session::new(vm, space);
    let mut attr = attr.to_vec();
    // Sizes that only take long: a million entries.
    let small = |at: usize, attr: &mut [u8], most: u32| {
        if let Some(field) = attr.get_mut(at..at + 4) {
            let mut word = [0; 4];
            word.copy_from_slice(field);
            let word = u32::from_ne_bytes(word);
            field.copy_from_slice(&(word % most).to_ne_bytes());
        }
    };
    let cmd = u32::from(*cmd) % 40;
    match cmd {
        0 => small(12, &mut attr, 1 << 12),
        // A test run's `repeat`.
        10 => small(8 + 24, &mut attr, 1 << 10),
        _ => {}
    }
    let makes_fd = matches!(cmd, 0 | 5 | 18);
    close(vm, raw::bpf(&session, cmd, &mut attr), makes_fd)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let words = |cmd: u8, words: &[u32]| {
        let mut seed = vec![cmd];
        seed.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        seed.resize(1 + ATTR, 0);
        seed.extend([7; 256]);
        seed
    };
    let base = BASE as u32;
    let mut all = vec![
        words(0, &[1, 4, 8, 16, 0]),
        words(0, &[2, 4, 8, 16, 0]),
        words(0, &[27, 0, 0, 4096, 0]),
        words(0, &[11, 8, 8, 16, 1]),
        // A program of two instructions lies at the base, its license behind.
        words(5, &[6, 2, base, 0, base + 16, 0, 1, 128, base + 512, 0]),
    ];
    for cmd in [1, 2, 3, 4, 21] {
        all.push(words(cmd, &[3, 0, base, 0, base + 64, 0, 0, 0]));
    }
    for cmd in [10, 15, 22, 24, 25, 26, 27, 18, 32] {
        all.push(words(cmd, &[3, 0, base, 0, base + 64, 0, base + 128, 0, 4]));
    }
    let load = 1 + ATTR;
    all[4][load..load + 16]
        .copy_from_slice(&[0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    all[4][load + 16..load + 20].copy_from_slice(b"GPL\0");
    all
}

pub(super) fn run_list(data: &[u8]) -> bool {
    let (Some(vm), Some((which, list))) = (vm(), data.split_first()) else {
        return false;
    };
    let cmd = if which & 1 == 0 { 0 } else { 5 };
    let kind = u32::from(which >> 1) % 34;
    // Each word of a list may be a number of entries.
    let limit = (kind != MapType::Ringbuf as u32) && list.len() < 64;
    if cmd == 0 && !limit {
        return false;
    }
    close(vm, raw::bpf_attrs(vm, cmd, kind, list, 0), true)
}

pub(super) fn list_seeds() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, bytes: &[u8]| {
        let mut out = Vec::new();
        out.extend((4 + bytes.len() as u16).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let number = |kind, n: u32| attribute(kind, &n.to_ne_bytes());
    use raw::{map_attr, prog_attr};
    let map: Vec<u8> = [
        vec![2],
        number(map_attr::KEY_SIZE, 4),
        number(map_attr::VALUE_SIZE, 8),
        number(map_attr::MAX_ENTRIES, 16),
    ]
    .concat();
    let program = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let load: Vec<u8> = [
        vec![1],
        attribute(prog_attr::TEXT, &program),
        attribute(prog_attr::LICENSE, b"GPL\0"),
    ]
    .concat();
    vec![map, load]
}
