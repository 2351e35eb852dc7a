#![allow(clippy::unwrap_used, missing_docs, dead_code)]
#[path = "../benches/support/generated.rs"]
mod generated;
use bpfvisor::{ProgramSpec, Vm};
use std::time::{Duration, Instant};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[1].parse().unwrap();
    let rounds: usize = args[2].parse().unwrap();
    let vm = Vm::builder().boot().unwrap();
    let insns = generated::straight(n);
    let mut rest = Vec::new();
    let mut v = Vec::new();
    let mut j = Vec::new();
    for _ in 0..rounds {
        let spec = ProgramSpec::xdp(insns.clone());
        let s = Instant::now();
        let p = vm.load(spec).unwrap();
        let w = s.elapsed();
        let i = p.info();
        rest.push(w - i.verify_time - i.jit_time);
        v.push(i.verify_time);
        j.push(i.jit_time);
    }
    for x in [&mut rest, &mut v, &mut j] {
        x.sort();
    }
    let m = |x: &Vec<Duration>| (x[0], x[rounds / 4], x[rounds / 2]);
    println!("rest {:?} verify {:?} jit {:?}", m(&rest), m(&v), m(&j));
}
