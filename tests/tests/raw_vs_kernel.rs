//! The raw commands against the running kernel: the same attribute bytes go to
//! both, and both must answer the same, errno for errno. Needs root and a usable
//! /dev/kvm. The kernel is expected to be Linux 6.18 or later.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "raw_vs_kernel/maps.rs"]
mod maps;
#[path = "raw_vs_kernel/modes.rs"]
mod modes;
#[path = "raw_vs_kernel/objects.rs"]
mod objects;
#[path = "raw_vs_kernel/programs.rs"]
mod programs;
#[path = "raw_vs_kernel/runs.rs"]
mod runs;
#[path = "raw_vs_kernel/script.rs"]
mod script;
#[path = "raw_vs_kernel/side.rs"]
mod side;

use script::Script;
use side::{Kernel, Ours, Side};
use std::sync::{Mutex, PoisonError};

/// Runs a script on both sides and compares the transcripts line by line. When
/// all descriptors are closed, nothing may be left in the VM.
fn same(run: fn(&mut Script<'_>)) {
    // Scripts use numbers of closed descriptors, and the kernel's statistics are
    // on for everybody: one at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    bpfvisor_tests::kernel::require().unwrap_or_else(|e| panic!("{e}"));
    let vm = bpfvisor::Vm::builder().memory(64 << 20).boot();
    let vm = vm.unwrap_or_else(|e| panic!("this test needs a usable /dev/kvm: {e}"));
    let ours = Ours::new(&vm);
    let transcript = |side: &dyn Side| {
        let mut script = Script::new(side);
        run(&mut script);
        script.lines
    };
    let (kernel, ours) = (transcript(&Kernel), transcript(&ours));
    let mut differ = String::new();
    for (i, (k, o)) in kernel.iter().zip(&ours).enumerate() {
        if k != o {
            let before = i.checked_sub(1).map_or("", |b| &kernel[b]);
            differ += &format!("\nafter {before}\n  kernel {k}\n  ours   {o}");
        }
    }
    assert!(differ.is_empty(), "answers differ:{differ}");
    assert_eq!(kernel.len(), ours.len());
    let begin = std::time::Instant::now();
    while vm.stats().objects != 0 {
        let left = vm.stats().objects;
        assert!(begin.elapsed().as_secs() < 5, "{left} objects are left");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn unknown_commands() {
    same(programs::commands);
}

#[test]
fn creating_maps() {
    same(maps::create);
}

#[test]
fn elements() {
    same(maps::elements);
}

#[test]
fn every_kind_of_map() {
    same(maps::kinds);
}

#[test]
fn maps_of_objects() {
    same(maps::nested);
}

#[test]
fn batches() {
    same(maps::batches);
}

#[test]
fn information_on_maps() {
    same(maps::info);
}

#[test]
fn loading_programs() {
    same(programs::load);
}

#[test]
fn descriptors_in_programs() {
    same(programs::descriptors);
}

#[test]
fn running_programs() {
    same(programs::run);
}

#[test]
fn information_on_programs() {
    same(programs::info);
}

#[test]
fn types_and_functions() {
    same(programs::types);
}

#[test]
fn functions_and_lines() {
    same(programs::lines);
}

#[test]
fn lifetimes() {
    same(programs::lifetimes);
}

#[test]
fn statistics() {
    same(programs::statistics);
}

/// [`same`] with a bpf file system and a loopback of the test's own.
fn same_alone(run: fn(&mut Script<'_>)) {
    let folder = std::path::Path::new(objects::FOLDER);
    std::fs::create_dir_all(folder).unwrap();
    side::own_world(folder);
    same(run);
}

#[test]
fn pins() {
    same_alone(objects::pins);
}

#[test]
fn ids() {
    same(objects::ids);
}

#[test]
fn bound_maps() {
    same(objects::bind);
}

#[test]
fn links() {
    same_alone(objects::links);
}

#[test]
fn information_on_types() {
    same(objects::types);
}

#[test]
fn descriptors_of_one_mode() {
    same(modes::modes);
}

#[test]
fn pins_by_mode_and_folder() {
    same_alone(modes::pinned);
}

#[test]
fn streams() {
    same(modes::streams);
}

#[test]
fn arguments_of_runs() {
    same(runs::arguments);
}

#[test]
fn contexts_of_runs() {
    same(runs::contexts);
}
