#![allow(clippy::unwrap_used)]
use super::answer::Verdict;
use super::*;
use bpf_core::uapi::{MapType, ProgType};
use bpfvisor::input::question::{BadLine, FixupKind, Initial, creation_order, per_cpu};

fn parse(line: &str) -> Result<Question, BadLine> {
    Question::parse(line.as_bytes())
}

#[test]
fn a_full_line_is_understood() {
    let q = parse(
        r#"{"name": "n", "prog_type": "xdp", "license": "GPL", "unknown": [1],
            "insns_hex": "b700000002000000 9500000000000000",
            "maps": [{"name": "m", "type": "array", "key_size": 4, "value_size": 8,
                      "max_entries": 2, "init": [["00000000", "0100000000000000"]]},
                     {"type": "array_of_maps", "key_size": 4, "value_size": 4, "max_entries": 1,
                      "inner": 0, "init": [["00000000", 0]]},
                     {"type": "prog_array", "key_size": 4, "value_size": 4, "max_entries": 1,
                      "init": [["00000000", "self"]]}],
            "fixups": [{"insn": 3, "map": -1}, {"insn": 5, "map": 0, "kind": "value", "offset": 8}],
            "runs": [{"data_hex": "00ff"}, {"repeat": 7}]}"#
            .replace('\n', " ")
            .as_str(),
    )
    .unwrap();
    assert_eq!(q.prog_type, Ok(ProgType::Xdp));
    assert_eq!(q.insns.len(), 2);
    assert_eq!(q.maps[0].map_type, Ok(MapType::Array));
    assert_eq!(q.maps[1].init[0].1, Initial::Map(0));
    assert_eq!(q.maps[2].init[0].1, Initial::ThisProgram);
    assert_eq!((q.fixups[0].map, q.fixups[0].kind), (-1, FixupKind::Fd));
    assert_eq!(
        (q.fixups[1].kind, q.fixups[1].offset),
        (FixupKind::Value, 8)
    );
    assert_eq!((q.runs[0].data.len(), q.runs[1].repeat), (2, 7));
    assert_eq!(q.data_lengths(), (0, 2));
    assert_eq!(creation_order(&q.maps).unwrap(), [0, 2, 1]);
}

#[test]
fn only_three_fields_are_needed_and_null_counts_as_absent() {
    let q = parse(r#"{"name":"n","prog_type":"flat","insns_hex":"","maps":null,"runs":null}"#);
    assert_eq!(q.unwrap().prog_type, Ok(ProgType::Flat));
    let q = parse(r#"{"name":"n","prog_type":"nonsense","insns_hex":""}"#).unwrap();
    assert_eq!(q.prog_type, Err("nonsense".into()));
}

#[test]
fn bad_lines_keep_their_name_and_say_why() {
    for (line, why) in [
        ("{", "not JSON"),
        (r#"{"name":"n"}"#, "prog_type"),
        (
            r#"{"name":"n","prog_type":"xdp","insns_hex":"0g"}"#,
            "insns_hex",
        ),
        (
            r#"{"name":"n","prog_type":"xdp","insns_hex":"00"}"#,
            "whole instructions",
        ),
        (
            r#"{"name":"n","prog_type":"xdp","insns_hex":"","runs":[{"data_hex":"1"}]}"#,
            "odd",
        ),
        (r#"["array"]"#, "not a JSON object"),
    ] {
        let bad = parse(line).unwrap_err();
        assert!(bad.reason.contains(why), "{line}: {}", bad.reason);
    }
    assert_eq!(parse(r#"{"name":"n"}"#).unwrap_err().name, "n");
}

#[test]
fn bad_templates_are_refused() {
    let line = |inner: &str| {
        parse(&format!(
            r#"{{"prog_type":"xdp","insns_hex":"","maps":[{{"type":"array_of_maps"{inner}}}]}}"#
        ))
        .unwrap()
    };
    assert!(creation_order(&line(r#","inner":5"#).maps).is_err());
    assert!(creation_order(&line(r#","inner":0"#).maps).is_err());
}

#[test]
fn one_value_holds_for_every_cpu() {
    let q = parse(
        r#"{"prog_type":"xdp","insns_hex":"","maps":[{"type":"percpu_array","key_size":4,"value_size":4}]}"#,
    )
    .unwrap();
    assert_eq!(
        per_cpu(&q.maps[0], &[1, 2, 3, 4], 2),
        [1, 2, 3, 4, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]
    );
    assert_eq!(per_cpu(&q.maps[0], &[7; 16], 2), [7; 16]);
}

/// Answers "accept" to everything.
struct Yes;

impl Oracle for Yes {
    fn answer(&mut self, q: &Question) -> Result<Answer> {
        Ok(Answer::new(&q.name, Verdict::Accept))
    }
}

#[test]
fn one_bad_line_never_stops_the_rest() {
    let input = b"{\"name\":\"a\",\"prog_type\":\"xdp\",\"insns_hex\":\"\"}\n\n{\n\xff\xfe\n\
                  {\"name\":\"b\",\"prog_type\":\"xdp\",\"insns_hex\":\"\"}";
    let mut verdicts = Vec::new();
    each_line(&input[..], |line| {
        verdicts.push(reply(&mut Yes, line)?.verdict);
        Ok(())
    })
    .unwrap();
    let (yes, no) = (Verdict::Accept, Verdict::Reject);
    assert_eq!(verdicts, [yes, no, no, yes]);
}
