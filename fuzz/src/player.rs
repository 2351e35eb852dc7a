#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bpfvisor_fuzz_guided::play(data));
