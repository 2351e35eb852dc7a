//! A daemon in this process, and clients in others that are killed at any moment:
//! every run that they were told of is counted in their map, and nothing of theirs
//! stays.

use bpfvisor::{Map, MapSpec, ProgramSpec, Vm, Which};
use bpfvisor_tests::attack::{FRAME, program};
use bpfvisor_tests::generate::Rng;
use bpfvisor_vmm::daemon::{Policy, Server, Stopper, listen};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a daemon may take to notice and clear away, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of the clients.
#[derive(Default)]
pub struct Killed {
    pub clients: AtomicU64,
    pub runs: AtomicU64,
}

/// The daemon. Stops when dropped.
pub struct Daemon {
    pub path: PathBuf,
    vm: bpfvisor_vmm::Vm,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let config = bpfvisor_vmm::Config {
            vcpus: 2,
            shared_bytes: 64 << 20,
            heap_bytes: 32 << 20,
            call_timeout: Duration::from_millis(500),
            clients: 8,
            ..bpfvisor_vmm::Config::default()
        };
        let vm = bpfvisor_vmm::Vm::boot(config)?;
        let server = Server::new(vm.clone(), Policy::default())?;
        let name = format!("bpfvisor-soak-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = listen(&path, 0o600)?;
        Ok(Self {
            path,
            vm,
            stopper: server.stopper(),
            thread: Some(std::thread::spawn(move || drop(server.run(&listener)))),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        assert!(self.vm.fault().is_none(), "{:?}", self.vm.fault());
        self.stopper.stop();
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Numbers that a client leaves in a file: runs begun, runs answered, and whether it
/// has begun at all.
fn told(file: &File) -> [u64; 3] {
    let mut bytes = [0; 24];
    let _ = file.read_exact_at(&mut bytes, 0);
    let word = |n: usize| bytes.as_chunks::<8>().0[n];
    [0, 1, 2].map(|n| u64::from_ne_bytes(word(n)))
}

/// The client's process.
pub fn client(path: &str, file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = File::options().write(true).open(file)?;
    let tell = |at: u64, n: u64| file.write_all_at(&n.to_ne_bytes(), 8 * at);
    let vm = Vm::connect(path)?;
    let name = format!("c{}", std::process::id());
    let map = vm.create_map(MapSpec::array(&name, 8, 1))?;
    let fd = map.as_raw_fd();
    let text = format!("r1 = map[id:{fd}][0]+0\nr0 = 1\nlock *(u64 *)(r1 + 0) += r0\nr0 = 2\nexit");
    let counter = vm.load(ProgramSpec::xdp(program(&text)).name(&name))?;
    tell(2, 1)?;
    for n in 1.. {
        tell(0, n)?;
        counter.run(&FRAME)?;
        tell(1, n)?;
    }
    Ok(())
}

/// Starts clients and kills them, one at a time, until the time is over.
pub fn kill(mut rng: Rng, until: Instant, path: &Path, nth: u64, killed: &Killed) {
    let place = path.with_extension(nth.to_string());
    let Ok(watcher) = Vm::connect(path) else {
        return;
    };
    let myself = std::env::current_exe().unwrap_or_default();
    while Instant::now() < until {
        let Ok(file) = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&place)
        else {
            continue;
        };
        let mut command = Command::new(&myself);
        command.arg("--client").arg(path).arg(&place);
        let Ok(child) = command.stderr(Stdio::null()).spawn() else {
            continue;
        };
        one(&mut rng, child, &file, &watcher, killed);
    }
    let _ = std::fs::remove_file(&place);
}

fn one(rng: &mut Rng, mut child: Child, file: &File, watcher: &Vm, killed: &Killed) {
    let name = format!("c{}", child.id());
    // One in four dies while it connects, creates and loads.
    let early = rng.one_in(4);
    let begin = Instant::now();
    while !early && told(file)[2] == 0 && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let map: Option<Map> = match early {
        true => None,
        false => watcher.open_map(Which::Name(&name)).ok(),
    };
    std::thread::sleep(Duration::from_micros(rng.below(20_000)));
    let _ = child.kill();
    let _ = child.wait();
    killed.clients.fetch_add(1, Relaxed);
    let begin = Instant::now();
    let is_there = || {
        let all = watcher.programs().unwrap_or_default();
        all.iter().any(|p| p.name == name)
    };
    while is_there() {
        assert!(
            begin.elapsed() < PATIENCE,
            "a dead client's program is left"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let Some(count) = map.and_then(|map| map.get(&[0; 4]).ok().flatten()) else {
        return;
    };
    let count = u64::from_ne_bytes(count.try_into().unwrap_or_default());
    let [begun, answered, _] = told(file);
    assert!(
        (answered..=begun).contains(&count),
        "{answered} <= {count} <= {begun}"
    );
    killed.runs.fetch_add(count, Relaxed);
}
