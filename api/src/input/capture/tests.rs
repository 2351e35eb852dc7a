#![allow(clippy::unwrap_used)]
use super::*;
use std::io::Cursor;

type Seen = Vec<(u64, Vec<u8>)>;

fn read(bytes: Vec<u8>) -> Result<Seen> {
    let mut reader = Reader::new(Path::new("test.pcap"), Cursor::new(bytes), 4096)?;
    let mut seen = Vec::new();
    while reader.next(|p| {
        seen.push((p.time, p.data.to_vec()));
        Ok(())
    })? {}
    Ok(seen)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn pcap(magic: u32, fraction: u32) -> Vec<u8> {
    let mut file = words(&[magic, 4 << 16 | 2, 0, 0, 65535, 1]);
    file.extend(words(&[10, fraction, 4, 60]));
    file.extend([1, 2, 3, 4]);
    file
}

fn pcapng() -> Vec<u8> {
    // Section header, interface with nanosecond clock, one enhanced packet.
    let mut file = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
    file.extend(words(&[1, 32, 1, 65535, 1 << 16 | 9, 9, 0, 32]));
    let time = 10_000_000_005_u64;
    file.extend(words(&[6, 36, 0, (time >> 32) as u32, time as u32, 4, 60]));
    file.extend([1, 2, 3, 4]);
    file.extend(words(&[36]));
    file
}

#[test]
fn every_kind_of_capture_gives_the_same_packet() {
    let packet = vec![1, 2, 3, 4];
    let micro = read(pcap(0xa1b2_c3d4, 5)).unwrap();
    assert_eq!(micro, [(10_000_005_000, packet.clone())]);
    let nano = read(pcap(0xa1b2_3c4d, 5)).unwrap();
    assert_eq!(nano, [(10_000_000_005, packet.clone())]);
    assert_eq!(read(pcapng()).unwrap(), [(10_000_000_005, packet)]);
}

#[test]
fn what_is_no_capture_is_told_apart() {
    assert!(read(Vec::new()).unwrap_err().to_string().contains("empty"));
    let text = b"this is not a capture file at all, but long enough".to_vec();
    assert!(
        read(text)
            .unwrap_err()
            .to_string()
            .contains("not a capture")
    );
}

#[test]
fn a_cut_off_capture_is_an_error_that_says_where() {
    let whole = pcap(0xa1b2_c3d4, 5);
    for len in 25..whole.len() {
        let e = read(whole[..len].to_vec()).unwrap_err().to_string();
        assert!(
            e.contains("test.pcap") && e.contains("packet 0"),
            "{len}: {e}"
        );
    }
    assert_eq!(read(whole[..24].to_vec()).unwrap(), []);
}

#[test]
fn damage_never_panics() {
    let good = pcapng();
    for at in 0..good.len() {
        for bits in [0xff, 0x80, 0x01] {
            let mut bad = good.clone();
            bad[at] ^= bits;
            let _ = read(bad);
        }
        let _ = read(good[..at].to_vec());
    }
}

#[test]
fn what_is_written_reads_back() {
    let path = std::env::temp_dir().join(format!("bpfvisor-capture-{}", std::process::id()));
    let mut out = Writer::create(&path, LINK_ETHERNET).unwrap();
    let packet = Packet {
        time: 1_700_000_000_123_456_789,
        data: &[9; 33],
        original_len: 40,
    };
    out.write(&packet).unwrap();
    out.finish().unwrap();
    let seen = read(std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(seen, [(packet.time, packet.data.to_vec())]);
}
