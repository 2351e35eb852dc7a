//! Lines of `bpfvisor batch`.

use bpfvisor::input::question::{Question, creation_order, per_cpu};

pub(super) fn run(data: &[u8]) -> bool {
    let question = match Question::parse(data) {
        Ok(question) => question,
        Err(bad) => {
            assert!(!bad.reason.is_empty());
            return false;
        }
    };
    let (least, most) = question.data_lengths();
    assert!(least <= most);
    if let Ok(order) = creation_order(&question.maps) {
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..question.maps.len()), "each once");
    }
    for line in &question.maps {
        // A value is as long as the line, and there is one for each CPU.
        let _ = per_cpu(line, &data[..data.len().min(line.value_size as usize)], 2);
    }
    true
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"name":"a","prog_type":"xdp","insns_hex":"b7000000020000009500000000000000"}"#,
        r#"{"name":"b","prog_type":"sched_cls","license":"GPL","insns_hex":"9500000000000000",
            "maps":[{"name":"m","type":"hash","key_size":4,"value_size":8,"max_entries":16,
            "map_flags":1,"init":[["00000000","0102030405060708"]]},
            {"type":"array_of_maps","key_size":4,"value_size":4,"max_entries":2,"inner":0,
            "init":[["00000000",0],["01000000","0"]]},
            {"type":"percpu_array","key_size":4,"value_size":4,"max_entries":1},
            {"type":"prog_array","key_size":4,"value_size":4,"max_entries":1,
            "init":[["00000000","self"]]}],
            "fixups":[{"insn":0,"map":0},{"insn":3,"map":-1,"kind":"value","offset":8}],
            "strict_alignment":true,
            "runs":[{"data_hex":"00 11:22","ctx_hex":"0x0001","repeat":3},{}]}"#,
        r#"{"name":"c","prog_type":"unspec","insns_hex":"","runs":null,"maps":null}"#,
    ];
    lines.map(|line| line.as_bytes().to_vec()).into()
}
