//! Captures.

use bpfvisor::input::capture::Reader;
use std::io::Cursor;
use std::path::Path;

/// What a block may take here; in use it is more, and no other path.
const ROOM: usize = 64 << 10;

pub(super) fn run(data: &[u8]) -> bool {
    let source = Cursor::new(data.to_vec());
    let Ok(mut reader) = Reader::new(Path::new("fuzz"), source, ROOM) else {
        return false;
    };
    let mut packets = 0u64;
    let more = |reader: &mut Reader, packets: &mut u64| {
        reader.next(|packet| {
            *packets += 1;
            assert!(packet.data.len() <= data.len(), "bytes out of nothing");
            Ok(())
        })
    };
    while let Ok(true) = more(&mut reader, &mut packets) {}
    assert!(packets * 12 <= data.len() as u64, "packets out of nothing");
    assert!(reader.bytes_read() <= data.len() as u64);
    packets > 0
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let packet = words(&[10, 5, 4, 60, 0x0403_0201]);
    let legacy = |magic| {
        let mut file = words(&[magic, 4 << 16 | 2, 0, 0, 65535, 1]);
        file.extend_from_slice(&packet.repeat(2));
        file
    };
    // Section, interface with a clock of nanoseconds, a packet with all, one with less.
    let mut next = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
    next.extend(words(&[1, 32, 1, 65535, 1 << 16 | 9, 9, 0, 32]));
    next.extend(words(&[6, 36, 0, 2, 5, 4, 60, 0x0403_0201, 36]));
    next.extend(words(&[3, 20, 4, 0x0403_0201, 20]));
    let mut all = vec![legacy(0xa1b2_c3d4), legacy(0xa1b2_3c4d), next];
    let swapped: Vec<u8> = (all[0].as_chunks::<4>().0.iter())
        .flat_map(|[a, b, c, d]| [*d, *c, *b, *a])
        .collect();
    all.push(swapped);
    let file = std::fs::read(crate::root().join("resources/captures/mixed.pcap"));
    all.extend(file.map(|bytes| bytes[..bytes.len().min(4096)].to_vec()));
    all
}
