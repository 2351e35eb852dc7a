//! The daemon's end of its socket: a client that was let in says anything, with
//! descriptors beside it or without, and writes anything to memory that it was
//! lent. Needs /dev/kvm.

use super::socket::{self, Step, hear, say, step, steps, varint};
use bpfvisor_vmm::daemon::{Policy, Server, Stopper, listen};
use bpfvisor_vmm::{Config, Vm};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections after which there is a new daemon: pins stay for as long as one lives.
const CONNECTIONS: u32 = 500;
/// Longest script, in messages.
const MOST: usize = 24;

/// Of what is said over the socket.
const VERSION: u8 = 2;

/// In a message: the handle that was answered last, and the memory lent last.
const HANDLE: [u8; 5] = [0xfe, 0xff, 0xff, 0xff, 0x0f];
const LEASE: [u8; 5] = [0xfd, 0xff, 0xff, 0xff, 0x0f];
/// Upper half of a word to be written that is an offset in memory lent.
const LENT: u32 = 0xfdfd_fdfd;

/// Kinds of steps, by their remainder: a write to memory lent, or a message with a
/// descriptor of /dev/null, with the last one that came, or with none.
const WRITE: u8 = 0;
const STRANGER: u8 = 1;
const GIVEN: u8 = 2;
const KINDS: u8 = 8;
const PLAIN: u8 = 3;

struct Scene {
    vm: Vm,
    path: PathBuf,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    connections: u32,
}

impl Scene {
    fn new() -> Option<Self> {
        let config = Config {
            shared_bytes: 32 << 20,
            heap_bytes: 32 << 20,
            call_timeout: Duration::from_millis(200),
            verify_timeout: Duration::from_millis(500),
            clients: 4,
            ..Config::default()
        };
        let vm = Vm::boot(config).ok()?;
        let server = Server::new(vm.clone(), Policy::default()).ok()?;
        let stopper = server.stopper();
        let path = socket::place("server");
        let listener = listen(&path, 0o600).ok()?;
        let run = move || drop(server.run(&listener));
        Some(Self {
            vm,
            path,
            stopper,
            thread: Some(std::thread::spawn(run)),
            connections: 0,
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stopper.stop();
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Some thread of this process has panicked: sessions have threads of their own.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            before(info);
        }));
    });
}

pub(super) fn run(data: &[u8]) -> bool {
    static SCENE: Mutex<Option<Scene>> = Mutex::new(None);
    watch_for_panics();
    let mut scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner);
    if scene.as_ref().is_none_or(|s| s.connections >= CONNECTIONS) {
        *scene = None;
        *scene = Scene::new();
    }
    let Some(scene) = scene.as_mut() else {
        return false;
    };
    scene.connections += 1;
    let answered = client(scene, &steps(data));
    assert!(scene.vm.fault().is_none(), "{:?}", scene.vm.fault());
    assert!(!PANICKED.load(Ordering::SeqCst), "a session has panicked");
    answered.unwrap_or(false)
}

/// What a client knows.
struct Client {
    socket: OwnedFd,
    memory: File,
    handle: u64,
    lease: u64,
    given: Option<OwnedFd>,
}

/// Whether any request was answered with what was asked for.
fn client(scene: &Scene, steps: &[Step<'_>]) -> Option<bool> {
    let socket = socket::connected(&scene.path)?;
    let mut buffer = vec![0; 64 << 10];
    say(&socket, &hello(), &[]);
    let (_, fds) = hear(&socket, &mut buffer)?;
    let mut client = Client {
        memory: File::from(fds.into_iter().next()?),
        socket,
        handle: 0,
        lease: 0,
        given: None,
    };
    let null = File::open("/dev/null").ok()?;
    let mut good = false;
    for (kind, bytes) in steps.iter().take(MOST) {
        let kind = kind % KINDS;
        if kind == WRITE {
            client.write(bytes);
            continue;
        }
        let given = client.given.take();
        let fd = match kind {
            STRANGER => Some(null.as_fd()),
            GIVEN => given.as_ref().map(OwnedFd::as_fd),
            _ => None,
        };
        match client.ask(bytes, fd.as_slice(), &mut buffer) {
            Some(answer) => good |= answer,
            None => break,
        }
        client.given = client.given.or(given);
    }
    Some(good)
}

impl Client {
    /// One request; whether it was done, `None` if the daemon has hung up.
    fn ask(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>], buffer: &mut [u8]) -> Option<bool> {
        let message = self.filled_in(bytes);
        // An empty one is the end of a stream to whoever hears it.
        if message.is_empty() || !say(&self.socket, &message, fds) {
            return None;
        }
        let (len, fds) = hear(&self.socket, buffer)?;
        let reply = &buffer[..len];
        if let Some(fd) = fds.into_iter().next() {
            self.given = Some(fd);
        }
        match reply {
            [2, rest @ ..] => self.lease = socket::number(rest)?.0,
            [3 | 4, _kind, rest @ ..] => {
                let (_id, rest) = socket::number(rest)?;
                self.handle = socket::number(rest)?.0;
            }
            // Nothing, or it failed.
            [5 | 8, ..] => return Some(false),
            _ => {}
        }
        Some(true)
    }

    /// The message with what the client has learned in it.
    fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if let Some(tail) = rest.strip_prefix(&HANDLE) {
                out.extend(varint(self.handle));
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix(&LEASE) {
                out.extend(varint(self.lease));
                rest = tail;
            } else {
                out.push(byte);
                rest = tail;
            }
        }
        out
    }

    /// Two bytes of place, then words, in memory that was lent.
    fn write(&self, bytes: &[u8]) {
        let (Some((&[low, high], bytes)), true) = (bytes.split_first_chunk(), self.lease != 0)
        else {
            return;
        };
        let at = self.lease + u64::from(u16::from_le_bytes([low, high]) & 0x3ff8);
        let mut bytes = bytes.to_vec();
        for word in bytes.as_chunks_mut::<8>().0 {
            let [a, b, c, d, high @ ..] = *word;
            if u32::from_le_bytes(high) == LENT {
                let offset = u64::from(u32::from_le_bytes([a, b, c, d]));
                *word = (self.lease + offset).to_le_bytes();
            }
        }
        let _ = self.memory.write_all_at(&bytes, at);
    }
}

fn hello() -> Vec<u8> {
    let protocol = bpfvisor_abi::PROTOCOL_VERSION as u8;
    [&[0][..], b"bpfvisor", &[VERSION, protocol]].concat()
}

/// A request that brings the record of a map.
fn map(map_type: u32, key: u32, value: u32, entries: u32, inner: &[u8]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let record = bpfvisor_vmm::MapRecord {
        map_type,
        key_size: key,
        value_size: value,
        max_entries: entries,
        storage_len: 1 << 16,
        spin_lock_off: u32::MAX,
        timer_off: u32::MAX,
        name: *b"map\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ..Default::default()
    };
    let bytes = record.as_bytes();
    let record = [&varint(bytes.len() as u64), bytes].concat();
    [
        &[2][..],
        &record,
        &[u8::from(!inner.is_empty())],
        inner,
        &[0],
    ]
    .concat()
}

/// The record of a program of two instructions, 1024 bytes behind which it lies.
fn record() -> Vec<u8> {
    use zerocopy::{FromZeros, IntoBytes};
    let mut record = bpfvisor_vmm::LoadRecord::new_zeroed();
    let lent = |at: u64| u64::from(LENT) << 32 | at;
    record.prog_type = 6;
    record.insn_cnt = 2;
    (record.insns, record.log, record.log_len) = (lent(1024), lent(2048), 1024);
    record.log_level = 2;
    record.license[..3].copy_from_slice(b"GPL");
    record.as_bytes().to_vec()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let script = |all: &[(u8, Vec<u8>)]| {
        let mut script = Vec::new();
        all.iter()
            .for_each(|(kind, bytes)| step(&mut script, *kind, bytes));
        script
    };
    let with = |variant: u8, rest: &[&[u8]]| (PLAIN, [&[variant][..], &rest.concat()].concat());
    let lease = || with(1, &[&varint(16 << 10), &[0]]);
    let at = |offset: u16, bytes: &[u8]| (WRITE, [&offset.to_le_bytes()[..], bytes].concat());
    let program = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let load = with(3, &[&LEASE, &[0], &[1, 7]]);
    let make = || (PLAIN, map(2, 4, 8, 16, &[]));
    vec![
        script(&[lease(), with(1, &[&varint(4096), &[1]])]),
        // Map, its descriptor again, what that is, what there is, by id, by name.
        script(&[
            make(),
            with(4, &[&HANDLE, &[1]]),
            (GIVEN, vec![5]),
            (STRANGER, vec![5]),
            with(8, &[&[1, 0]]),
            with(9, &[&[1, 1]]),
            with(11, &[&HANDLE, &[1, b'x']]),
            with(10, &[&[1, b'x']]),
            with(12, &[&[1, b'x']]),
        ]),
        // A map of maps, and what its key names.
        script(&[
            make(),
            (PLAIN, map(12, 4, 4, 4, &HANDLE)),
            with(6, &[&HANDLE, &[4, 0, 0, 0, 0, 1], &HANDLE, &[0]]),
            with(7, &[&HANDLE, &[4, 0, 0, 0, 0]]),
        ]),
        // A ring buffer with a bell.
        script(&[
            (PLAIN, map(27, 0, 0, 4096, &[])),
            with(14, &[&[1], &HANDLE]),
            with(15, &[&HANDLE]),
        ]),
        script(&[lease(), at(0, &record()), at(1024, &program), load]),
    ]
}
