#![no_main]
use bpfvisor_fuzz_guided as shared;

libfuzzer_sys::fuzz_target!(init: shared::write_seeds("client"), |data: &[u8]| shared::count("client", data));
