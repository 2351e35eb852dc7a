//! A service in tokio that has every request judged by a plugin which it does not
//! trust: whoever runs the service may bring any BPF program.
//!
//! Requests are datagrams, and the answer is `yes` or `no`. What the plugin refused
//! it also reports in a ring buffer, which a task awaits. A plugin that reads what is
//! not its own is not let in, one that takes too long is cut short and its request
//! refused, and one that got past the verifier would have a VM to itself.
//!
//! Run with `cargo run --release --example plugin_service --features tokio`. Needs
//! /dev/kvm.

use bpfvisor::asm::assemble;
use bpfvisor::{Error, Map, MapSpec, Program, ProgramSpec, Vm};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;

/// Result of the example.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Requests have at least so many bytes, and at most.
const SHORTEST: u32 = 8;
const LONGEST: u32 = 1024;
/// How long the plugin may take for one.
const BUDGET: Duration = Duration::from_millis(100);

/// A plugin, and which of its instructions means the ring buffer, if any.
pub struct Plugin(&'static str, Option<u32>);

/// Refuses what begins with `DROP`, and reports the first 8 bytes of it.
pub const CAREFUL: Plugin = Plugin(
    "
    r6 = r1
    r0 = *(u32 *)(r6 +0)
    if r0 != 0x504f5244 goto good   ; DROP
    r1 = 0 ll                       ; the ring buffer
    r2 = r6
    r3 = 8
    r4 = 0
    call bpf_ringbuf_output#130
    r0 = 0
    exit
    good:
    r0 = 1
    exit",
    Some(3),
);

/// Never comes to an end that anybody would wait for.
pub const SLOW: Plugin = Plugin(
    "
    r1 = 8388608
    r2 = subprog[busy]
    r3 = 0
    r4 = 0
    call bpf_loop
    r0 = 1
    exit
    busy:
    r6 = 1000
    again:
    r6 -= 1
    if r6 != 0 goto again
    r0 = 0
    exit",
    None,
);

/// Reads behind the request.
pub const CURIOUS: Plugin = Plugin("r0 = *(u64 *)(r1 +4096)\nexit", None);

/// The plugin, and where it lives.
#[derive(Clone)]
pub struct Filter {
    reports: Map,
    plugin: Arc<Mutex<Program>>,
}

impl Filter {
    /// A VM of its own for the plugin.
    pub fn new(plugin: &Plugin) -> Result<Self> {
        let vm = Vm::builder().memory(64 << 20).timeout(BUDGET).boot()?;
        let reports = vm.create_map(MapSpec::ringbuf("reports", 64 << 10))?;
        let plugin = Arc::new(Mutex::new(load(&reports, plugin)?));
        Ok(Self { reports, plugin })
    }

    /// Takes another plugin, unless it is not fit: then the old one stays.
    pub fn exchange(&self, plugin: &Plugin) -> Result<()> {
        let new = load(&self.reports, plugin)?;
        *self.plugin() = new;
        Ok(())
    }

    fn plugin(&self) -> MutexGuard<'_, Program> {
        self.plugin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the plugin says. No answer is no. It is asked on a thread that may
    /// wait: a good plugin needs microseconds, a bad one all of its budget.
    async fn allows(&self, request: Vec<u8>) -> bool {
        let plugin = self.plugin().clone();
        match tokio::task::spawn_blocking(move || plugin.run(&request)).await {
            Ok(Ok(out)) => out.r0 == 1,
            Ok(Err(Error::Timeout(limit))) => {
                eprintln!("the plugin took more than {limit:?}");
                false
            }
            Ok(Err(e)) => {
                eprintln!("the plugin failed: {e}");
                false
            }
            Err(_) => false,
        }
    }

    /// The next request that the plugin has reported, for a task of its own.
    pub async fn reports(&self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut ring = self.reports.ring_buffer()?.into_async()?;
        loop {
            each(ring.next().await?);
        }
    }
}

fn load(reports: &Map, plugin: &Plugin) -> Result<Program> {
    let Plugin(text, ring_at) = plugin;
    let insns = assemble(text)?;
    let mut spec = ProgramSpec::flat(insns)
        .name("plugin")
        .flat_memory(SHORTEST, LONGEST);
    if let Some(at) = ring_at {
        spec = spec.fixup(*at, reports);
    }
    Ok(reports.vm().load(spec)?)
}

/// Answers requests, each in a task of its own, until it is dropped.
pub async fn serve(socket: UdpSocket, filter: Filter) -> Result<()> {
    let socket = Arc::new(socket);
    let mut buffer = [0; LONGEST as usize];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        let (socket, filter) = (Arc::clone(&socket), filter.clone());
        let request = buffer[..len].to_vec();
        tokio::spawn(async move {
            let answer: &[u8] = match filter.allows(request).await {
                true => b"yes",
                false => b"no",
            };
            // A client that has gone needs no answer.
            let _ = socket.send_to(answer, from).await;
        });
    }
}

/// A client's question.
pub async fn ask(server: SocketAddr, request: &str) -> Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.send_to(request.as_bytes(), server).await?;
    let mut answer = [0; 16];
    let len = socket.recv(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}

#[allow(dead_code)] // the test has its own
fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_io().build()?;
    let filter = Filter::new(&CAREFUL)?;
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        tokio::spawn(serve(socket, filter.clone()));
        let log = filter.clone();
        tokio::spawn(async move {
            let print = |bytes: &[u8]| println!("reported: {}", String::from_utf8_lossy(bytes));
            log.reports(print).await
        });
        for request in ["SELECT 1", "DROP all", "short"] {
            println!("{request}: {}", ask(address, request).await?);
        }
        if let Err(e) = filter.exchange(&CURIOUS) {
            println!("another plugin: {e}");
        }
        filter.exchange(&SLOW)?;
        println!("a slow plugin: {}", ask(address, "SELECT 2").await?);
        filter.exchange(&CAREFUL)?;
        println!("a good one again: {}", ask(address, "SELECT 3").await?);
        Ok(())
    })
}
