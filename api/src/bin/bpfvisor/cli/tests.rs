#![allow(clippy::unwrap_used)]
use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn run_needs_exactly_one_input() {
    assert!(parse("bpfvisor run x.o").is_err());
    assert!(parse("bpfvisor run x.o --hex 00 --pcap y").is_err());
    assert!(parse("bpfvisor run x.o --pcap y --write-pcap z --json --repeat 3").is_ok());
    assert!(parse("bpfvisor run x.o --hex 00 --write-pcap z").is_err());
}

#[test]
fn numbers_out_of_range_are_refused() {
    for bad in [
        "--vcpus 0",
        "--vcpus 65",
        "--timeout-ms 0",
        "--repeat 0",
        "--memory 1",
    ] {
        assert!(
            parse(&format!("bpfvisor run x.o --hex 00 {bad}")).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn entries_name_a_map_and_a_count() {
    assert!(parse("bpfvisor verify x.o --entries a=1 --entries b=2").is_ok());
    for bad in ["a", "a=", "a=-1", "a=4294967296"] {
        assert!(
            parse(&format!("bpfvisor verify x.o --entries {bad}")).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn the_kernel_does_not_interpret() {
    assert!(parse("bpfvisor batch x --kernel --interpret").is_err());
    assert!(parse("bpfvisor batch x --kernel --log-level 2 --stats").is_ok());
}
