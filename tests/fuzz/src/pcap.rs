#![no_main]
use bpfvisor_fuzz_guided as shared;

libfuzzer_sys::fuzz_target!(init: shared::write_seeds("pcap"), |data: &[u8]| shared::count("pcap", data));
