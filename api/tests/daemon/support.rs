//! A daemon to test, and clients that behave in any way.

use bpfvisor::insn::Insn;
use bpfvisor::{MapSpec, ProgramSpec, Vm};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const FRAME: [u8; 64] = [7; 64];

/// A directory that goes with the test.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "bpfvisor-daemon-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("vm.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct Daemon {
    pub child: Child,
    pub place: Place,
}

pub fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfvisor-vmm"));
    command.arg("--socket").arg(place.socket());
    command.args(["--memory", "64M", "--heap", "64M", "--timeout-ms", "500"]);
    command.args(arguments);
    command
}

impl Daemon {
    /// One that answers.
    pub fn start(arguments: &[&str]) -> Self {
        let place = Place::new();
        let child = command(&place, arguments).stderr(Stdio::piped()).spawn();
        let mut daemon = Self {
            child: child.unwrap(),
            place,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while Vm::connect(daemon.path()).is_err() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}, {}", daemon.errors());
            assert!(Instant::now() < deadline, "it does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.settle();
        daemon
    }

    pub fn path(&self) -> PathBuf {
        self.place.socket()
    }

    /// Waits until those who have left are cleared away.
    pub fn settle(&self) {
        let levels = || (self.files(), self.threads());
        let still = || {
            let seen = levels();
            std::thread::sleep(Duration::from_millis(100));
            seen == levels()
        };
        assert!(eventually(still));
    }

    pub fn connect(&self) -> Vm {
        Vm::connect(self.path()).unwrap()
    }

    /// What it has printed, once it has ended.
    pub fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut out) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        }
        text
    }

    /// Descriptors that it has open.
    pub fn files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }

    pub fn threads(&self) -> usize {
        let path = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this test program again, as another process: `role` names a test
/// function that is only run so, and finds the socket in the environment.
pub fn other_process(role: &str, socket: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([role, "--exact", "--ignored", "--nocapture"]);
    command.env("BPFVISOR_TEST_SOCKET", socket);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// In another process: the socket.
pub fn given_socket() -> PathBuf {
    std::env::var_os("BPFVISOR_TEST_SOCKET").unwrap().into()
}

/// Waits for something that happens soon.
pub fn eventually(what: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| what() || (std::thread::sleep(Duration::from_millis(10)), false).1)
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(opcode, dst, src, off, imm)
}

/// Adds 1 to element 0 of the map at instruction 0, and passes.
pub fn counter() -> Vec<Insn> {
    vec![
        insn(0x18, 1, 2, 0, 0), // a map value, for the fixup to name
        insn(0, 0, 0, 0, 0),
        insn(0xb7, 2, 0, 0, 1),
        insn(0xdb, 1, 2, 0, 0), // lock *(u64 *)(r1 + 0) += r2
        insn(0xb7, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
    ]
}

pub fn pass() -> Vec<Insn> {
    vec![insn(0xb7, 0, 0, 0, 2), insn(0x95, 0, 0, 0, 0)]
}

/// A program that counts its runs in an array, and the array.
pub fn counting(vm: &Vm) -> (bpfvisor::Program, bpfvisor::Map) {
    use std::os::fd::AsRawFd;
    let map = vm.create_map(MapSpec::array("runs", 8, 1)).unwrap();
    let mut insns = counter();
    insns[0] = insn(0x18, 1, 2, 0, map.as_raw_fd());
    let prog = vm.load(ProgramSpec::xdp(insns).license("GPL").name("count"));
    (prog.unwrap(), map)
}

pub fn number(map: &bpfvisor::Map, key: u32) -> u64 {
    let value = map.get(&key.to_ne_bytes()).unwrap().unwrap();
    u64::from_ne_bytes(value.try_into().unwrap())
}
