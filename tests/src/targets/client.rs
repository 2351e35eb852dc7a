//! The client's end of the daemon's socket: something listens there and answers
//! anything, with descriptors of any kind beside it.

use super::socket::{self, hear, patience, say, step, steps, varint};
use bpfvisor::{MapSpec, ProgramSpec, Vm, Which};
use bpfvisor_vmm::daemon::listen;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SocketFlags, accept_with};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Bytes of the memory that the other side gives.
const MEMORY: u64 = 8 << 20;
/// Where in it maps are said to lie, and how much there is told by the script.
const STORAGE: u64 = 4 << 20;

/// Kinds of steps, by their remainder: what lies in the storage, or an answer with
/// so many eventfds, with memory and so many, or with none.
const STORE: u8 = 0;
const BELL: u8 = 1;
const MEMORY_AND_BELLS: u8 = 2;
const KINDS: u8 = 8;
const PLAIN: u8 = 3;

/// The other side: one connection for each script.
struct Daemon {
    path: PathBuf,
    scripts: SyncSender<Vec<u8>>,
}

impl Daemon {
    fn start() -> Option<Self> {
        let path = socket::place("client");
        let listener = listen(&path, 0o600).ok()?;
        let (scripts, given) = sync_channel(1);
        std::thread::spawn(move || answer_all(&listener, &given));
        Some(Self { path, scripts })
    }
}

fn memory() -> Option<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("fuzz", flags).ok()?;
    ftruncate(&fd, MEMORY).ok()?;
    fcntl_add_seals(&fd, SealFlags::SHRINK).ok()?;
    Some(fd.into())
}

fn answer_all(listener: &OwnedFd, scripts: &Receiver<Vec<u8>>) {
    while let Ok(script) = scripts.recv() {
        let socket = accept_with(listener, SocketFlags::CLOEXEC);
        let socket = socket.ok().filter(|s| patience(s).is_some());
        if let (Some(socket), Some(memory)) = (socket, memory()) {
            let _ = answer(&socket, &memory, &script);
        }
    }
}

/// Each request is answered by the script's next step, whatever it was.
fn answer(socket: &OwnedFd, memory: &File, script: &[u8]) -> Option<()> {
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?;
    let mut buffer = vec![0; 64 << 10];
    for (kind, bytes) in steps(script) {
        let few = usize::from(kind / KINDS % 8);
        let mut fds: Vec<BorrowedFd<'_>> = match kind % KINDS {
            STORE => {
                memory.write_all_at(bytes, STORAGE).ok()?;
                continue;
            }
            MEMORY_AND_BELLS => vec![memory.as_fd()],
            BELL => Vec::new(),
            _ => Vec::new(),
        };
        if matches!(kind % KINDS, BELL | MEMORY_AND_BELLS) {
            fds.resize(fds.len() + few, bell.as_fd());
        }
        hear(socket, &mut buffer)?;
        say(socket, bytes, &fds).then_some(())?;
    }
    None
}

pub(super) fn run(data: &[u8]) -> bool {
    static DAEMON: Mutex<Option<Daemon>> = Mutex::new(None);
    let mut daemon = DAEMON.lock().unwrap_or_else(PoisonError::into_inner);
    if daemon.is_none() {
        *daemon = Daemon::start();
    }
    let Some(daemon) = daemon.as_ref() else {
        return false;
    };
    if daemon.scripts.send(data.to_vec()).is_err() {
        return false;
    }
    match Vm::connect(&daemon.path) {
        Ok(vm) => use_it(&vm),
        Err(e) => {
            assert!(e.errno() > 0 && !e.to_string().is_empty());
            false
        }
    }
}

/// Whatever asks the daemon, and reads what it says is a map. Calls into the VM
/// would wait for an answer that nobody gives.
fn use_it(vm: &Vm) -> bool {
    let mut good = false;
    let mut told = |answer: Result<(), bpfvisor::Error>| match answer {
        Ok(()) => good = true,
        Err(e) => assert!(e.errno() > 0 && e.errno() < 4096, "{e}"),
    };
    told(vm.maps().map(drop));
    told(vm.programs().map(drop));
    for which in [Which::Id(1), Which::Pinned("x"), Which::Name("map")] {
        told(vm.open_map(which).and_then(|map| read(&map)));
    }
    told(vm.open_program(Which::Id(1)).map(drop));
    let made = vm.create_map(MapSpec::array("array", 8, 4));
    told(made.and_then(|map| read(&map)));
    let made = vm.create_map(MapSpec::ringbuf("ring", 4096));
    told(made.and_then(|map| map.ring_buffer()).map(|mut ring| {
        for _ in 0..64 {
            if ring.try_next().is_none() {
                break;
            }
        }
    }));
    let exit = bpfvisor::insn::Insn::new(0x95, 0, 0, 0, 0);
    told(vm.load(ProgramSpec::xdp([exit])).map(drop));
    good
}

fn read(map: &bpfvisor::Map) -> Result<(), bpfvisor::Error> {
    map.get(&vec![0; map.key_size()])?;
    for element in map.iter().take(100) {
        element?;
    }
    Ok(())
}

/// An object: kind, id 1, a handle, its storage, what it was made from.
fn object(kind: u8, storage: (u64, u64), note: &[u8]) -> Vec<u8> {
    let numbers = [1, 0x1_0001, storage.0, storage.1, note.len() as u64];
    let numbers: Vec<u8> = numbers.into_iter().flat_map(varint).collect();
    [&[kind][..], &numbers, note, &[0, 9, 1, 1, b'x']].concat()
}

fn map(map_type: u32, key: u32, value: u32, entries: u32, len: u64) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let record = bpfvisor_vmm::MapRecord {
        map_type,
        key_size: key,
        value_size: value,
        max_entries: entries,
        storage: STORAGE,
        storage_len: len,
        spin_lock_off: u32::MAX,
        timer_off: u32::MAX,
        name: *b"map\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ..Default::default()
    };
    object(1, (STORAGE, len), record.as_bytes())
}

fn welcome() -> Vec<u8> {
    // Pair, clients, vCPUs; memory, heap; time for a call, spins, polls; two flags.
    let numbers = [1, 1, 1, MEMORY, 4 << 20, 1_000_000, 2, 2, 0, 0];
    let numbers = numbers.into_iter().flat_map(varint);
    [0].into_iter().chain(numbers).collect()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    use zerocopy::{FromZeros, IntoBytes};
    let mut record = bpfvisor_vmm::LoadRecord::new_zeroed();
    record.prog_type = 6;
    let program = object(0, (0, 0), record.as_bytes());
    let maps = [
        map(1, 4, 12, 9, 8192),
        map(2, 4, 8, 20, 8192),
        map(9, 8, 8, 10, 8192),
        map(11, 8, 8, 10, 8192),
        map(27, 0, 0, 4096, 16384),
    ];
    let seed = |map: &Vec<u8>| {
        let one = [&[3][..], map].concat();
        let mut script = Vec::new();
        step(&mut script, STORE, &[7; 256]);
        // Memory, and two bells for one vCPU.
        step(&mut script, MEMORY_AND_BELLS + 2 * KINDS, &welcome());
        // Pages of lists end with an empty one.
        step(&mut script, PLAIN, &[&[6, 1][..], map].concat());
        step(&mut script, PLAIN, &[6, 0]);
        step(&mut script, PLAIN, &[&[6, 1][..], &program].concat());
        step(&mut script, PLAIN, &[6, 0]);
        for _ in 0..2 {
            step(&mut script, BELL + KINDS, &one);
        }
        step(&mut script, PLAIN, &[&[6, 1][..], map].concat());
        step(&mut script, PLAIN, &[6, 0]);
        step(&mut script, BELL + KINDS, &one);
        step(&mut script, BELL + KINDS, &[&[3][..], &program].concat());
        step(&mut script, BELL + KINDS, &one);
        step(&mut script, BELL + KINDS, &one);
        step(&mut script, BELL + KINDS, &[1]);
        step(
            &mut script,
            PLAIN,
            &[&[2][..], &varint(STORAGE), &varint(1 << 20)].concat(),
        );
        step(&mut script, BELL + KINDS, &[&[3][..], &program].concat());
        script
    };
    maps.iter().map(seed).collect()
}
