//! Streams awaited in tokio: needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bpfvisor::asm::assemble;
use bpfvisor::{Map, MapSpec, Program, ProgramSpec, Vm};
use std::time::Duration;

fn vm() -> Vm {
    let vm = Vm::builder().memory(64 << 20).boot();
    vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
}

/// Sends the packet's length as a record of 8 bytes.
fn sender(vm: &Vm, ring: &Map) -> Program {
    let text = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr3 -= r2\n*(u64 *)(r10 -8) = r3\n\
                r1 = 0 ll\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall bpf_ringbuf_output#130\nexit";
    let spec = ProgramSpec::xdp(assemble(text).unwrap()).fixup(4, ring);
    vm.load(spec).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().enable_time().build().unwrap()
}

#[test]
fn records_wake_the_task_that_awaits_them() {
    let vm = vm();
    let map = vm.create_map(MapSpec::ringbuf("r", 4096)).unwrap();
    let program = sender(&vm, &map);
    runtime().block_on(async {
        let mut ring = map.ring_buffer().unwrap().into_async().unwrap();
        let nothing = tokio::time::timeout(Duration::from_millis(20), ring.next()).await;
        assert!(nothing.is_err(), "a record that nobody sent");
        for len in 60..160u64 {
            let packet = vec![0; len as usize];
            let program = program.clone();
            let sent = std::thread::spawn(move || program.run(&packet).unwrap().retval);
            let record = tokio::time::timeout(Duration::from_secs(30), ring.next()).await;
            assert_eq!(record.unwrap().unwrap(), len.to_le_bytes());
            assert_eq!(sent.join().unwrap(), 0);
        }
        assert_eq!(ring.try_next(), None);
    });
}

#[test]
fn the_death_of_the_vm_ends_the_wait() {
    let vm = vm();
    let map = vm.create_map(MapSpec::ringbuf("r", 4096)).unwrap();
    runtime().block_on(async {
        let mut ring = map.ring_buffer().unwrap().into_async().unwrap();
        let killer = vm.clone();
        let kill = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            killer.kill();
        });
        let end = tokio::time::timeout(Duration::from_secs(30), ring.next()).await;
        assert!(matches!(end.unwrap(), Err(bpfvisor::Error::Guest(_))));
        kill.join().unwrap();
    });
}
