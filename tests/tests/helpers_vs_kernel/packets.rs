//! Packets to try, and pieces of programs.

use crate::duel::MapOf;
use bpf_core::uapi::MapType;

/// EtherTypes: none, length, IPv4, ARP, VLANs, IPv6, unknown.
pub const TYPES: [u16; 9] = [
    0, 60, 0x0800, 0x0806, 0x8100, 0x88a8, 0x86dd, 0x88cc, 0xffff,
];

/// A frame of `len` bytes with an EtherType; the payload says where each byte was.
pub fn frame(ethertype: u16, len: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
    data[..6].fill(0);
    if let Some(field) = data.get_mut(12..14) {
        field.copy_from_slice(&ethertype.to_be_bytes());
    }
    data
}

/// UDP over IPv4 or IPv6.
pub fn udp(version: u8, len: usize) -> Vec<u8> {
    let mut data = frame(if version == 4 { 0x0800 } else { 0x86dd }, len);
    let (first, proto) = if version == 4 { (0x45, 23) } else { (0x60, 20) };
    data[14] = first;
    data[proto] = 17;
    data
}

/// A frame with a VLAN tag around IPv4.
pub fn vlan(len: usize) -> Vec<u8> {
    let mut data = frame(0x8100, len);
    data[14..18].copy_from_slice(&[0x20, 0x05, 0x08, 0x00]);
    data[18] = 0x45;
    data
}

/// Eight words for a program's `$in`.
pub const IN: MapOf = MapOf("in", MapType::Array, 4, 128, 1);

/// Their bytes.
pub fn words(values: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    bytes.resize(128, 0);
    bytes
}

/// r6 = context, r8 = `$in`, r9 = `$out`.
pub const BEGIN: &str = "r6 = r1\nr8 = map$in[0]+0\nr9 = map$out[0]+0\n";

/// Stores fields of the context, 8 bytes apart from `at` on.
pub fn store_fields(fields: &[(u32, u32)], at: usize) -> String {
    let store = |(i, (off, size)): (usize, &(u32, u32))| {
        format!(
            "r0 = *(u{} *)(r6 +{off})\n*(u64 *)(r9 +{}) = r0\n",
            size * 8,
            at + i * 8
        )
    };
    fields.iter().enumerate().map(store).collect()
}
