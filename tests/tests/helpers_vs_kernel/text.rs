//! Strings, numbers and formats.

use crate::duel::{Duel, MapOf};
use crate::packets::{BEGIN, IN, udp, words};
use bpf_core::uapi::{MapType, ProgType};

const TEXT: MapOf = MapOf("text", MapType::Array, 4, 128, 1);

const NUMBERS: [&[u8]; 46] = [
    b"0",
    b"1",
    b"10",
    b"-1",
    b"-0",
    b"+1",
    b"  42",
    b"\t\n\x0b\x0c\r7",
    b"\xa07",
    b"",
    b" ",
    b"-",
    b"x",
    b"0x",
    b"0x1f",
    b"0X1F",
    b"0xg",
    b"-0x10",
    b"017",
    b"018",
    b"08",
    b"00",
    b"0b1",
    b"1f",
    b"ff",
    b"FF",
    b"12 34",
    b"12,3",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999",
    b"0xffffffffffffffff",
    b"0x10000000000000000",
    b"01777777777777777777777",
    b"02000000000000000000000",
    b"--1",
    b"- 1",
    b"0x-1",
    b"-0xffffffffffffffff",
    b"1\0",
    b"0 ",
    b"0x0x1",
];

#[test]
fn numbers() {
    let duel = Duel::new();
    for helper in ["bpf_strtol", "bpf_strtoul"] {
        let text = format!(
            "{BEGIN}r1 = map$text[0]+0\nr2 = *(u64 *)(r8 +0)\nif r2 > 128 goto no\n\
             if r2 < 1 goto no\nr3 = *(u64 *)(r8 +8)\nr4 = r10\nr4 += -8\nr0 = 99\n\
             *(u64 *)(r4 +0) = r0\ncall {helper}\n*(u64 *)(r9 +0) = r0\nr1 = *(u64 *)(r10 -8)\n\
             *(u64 *)(r9 +8) = r1\nno:\nr0 = 2\nexit\n"
        );
        let program = duel.load(helper, ProgType::Xdp, &[IN, TEXT], &text);
        let zeros = [b'0'; 80];
        let long = [b'1'; 100];
        let spaces = [b' '; 100];
        let mut late = [b' '; 100];
        late[90] = b'7';
        for number in NUMBERS
            .into_iter()
            .chain([&zeros[..], &long, &spaces, &late])
        {
            let mut padded = number.to_vec();
            padded.resize(128, 0);
            program.set("text", &[0; 4], &padded);
            for base in [0, 8, 10, 16, 2, 7, 31, 32, 0x20, 1 << 32, u64::MAX] {
                for len in [number.len().max(1), number.len() + 1, 128] {
                    program.set("in", &[0; 4], &words(&[len as u64, base]));
                    let shown = String::from_utf8_lossy(number);
                    program.run(
                        &format!("{shown:?} of {len}, base {base:#x}"),
                        &udp(4, 60),
                        &[],
                    );
                }
            }
        }
    }
    duel.finish(3000);
}

/// Puts a text with a final zero on the stack.
fn store_text(text: &[u8], below: usize) -> String {
    let mut padded = text.to_vec();
    padded.push(0);
    padded.resize(padded.len().next_multiple_of(8), 0);
    let word = |(i, w): (usize, &[u8])| {
        let value = u64::from_ne_bytes(w.try_into().unwrap());
        format!("r1 = {value} ll\n*(u64 *)(r10 -{}) = r1\n", below - i * 8)
    };
    padded.chunks(8).enumerate().map(word).collect()
}

const FORMATS: [&str; 74] = [
    "plain", "", "%d", "%i", "%u", "%x", "%X", "%ld", "%lu", "%lx", "%lld", "%llu", "%llx", "%llX",
    "%c", "%%", "100%%", "%", "%d %", "a%", "%5d|", "%-5d|", "%05d|", "%+d", "% d", "%+5d|",
    "%-05d|", "%lli", "%li", "%hd", "%hhd", "%zd", "%o", "%f", "%n", "%e", "%q", "%s", "%5s|",
    "%p", "%px", "%pK", "%pB", "%ps", "%pS", "%pi4", "%pI4", "%pi6", "%pI6", "%pA", "%p4", "%pks",
    "%pus", "%d%d%d", "%d%d%d%d", "%x %x\n", "\u{1}", "\u{e9}", "\u{80}", "\u{7f}", "\t%d", "%#x",
    "%.3d", "%*d", "%5%", "%l", "%ll", "%lc", "%08x|", "%016llx|", "%-20llu|", "%20lld|", "%2d|",
    "%lls",
];

/// Answers of `bpf_trace_printk` to formats and values.
#[test]
fn traces() {
    let duel = Duel::new();
    for format in FORMATS {
        // The addresses of texts differ, so what they show does too.
        let pointer = format.contains("%s") || format.contains("%p") || format.contains("5s");
        let values: &[u64] = if pointer {
            &[0]
        } else {
            &[0, 1, 65, 1 << 31, u64::MAX]
        };
        let text = format!(
            "{BEGIN}{}r1 = r10\nr1 += -64\nr2 = {}\nr3 = *(u64 *)(r8 +0)\nr4 = *(u64 *)(r8 +8)\n\
             r5 = *(u64 *)(r8 +16)\ncall bpf_trace_printk\n*(u64 *)(r9 +0) = r0\nr0 = 2\nexit\n",
            store_text(format.as_bytes(), 64),
            format.len() + 1
        );
        let program = duel.load(&format!("printk {format:?}"), ProgType::Xdp, &[IN], &text);
        for value in values {
            program.set("in", &[0; 4], &words(&[*value, *value, 7]));
            program.run(&format!("{value:#x}"), &udp(4, 60), &[]);
        }
    }
    duel.finish(300);
}

/// Without its final zero, a format is refused.
#[test]
fn a_format_ends_in_its_memory() {
    let duel = Duel::new();
    for size in [1, 2, 3, 4, 8] {
        let text = format!(
            "{}r1 = map$out[0]+0\n*(u64 *)(r10 -8) = 37\nr1 = r10\nr1 += -64\nr2 = {size}\nr3 = 1\n\
             call bpf_trace_printk\nr9 = map$out[0]+0\n*(u64 *)(r9 +0) = r0\nr0 = 2\nexit\n",
            store_text(b"ab\0cdefg", 64)
        );
        duel.load(&format!("{size} bytes"), ProgType::Xdp, &[], &text)
            .run("", &udp(4, 60), &[]);
    }
    duel.finish(8);
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(128, 0);
    padded
}

#[test]
fn formats() {
    let duel = Duel::new();
    for format in FORMATS {
        let conversions = format.replace("%%", "").matches('%').count();
        for count in [conversions, conversions + 1, conversions.saturating_sub(1)] {
            for room in [0, 1, 2, 8, 64] {
                let body = format!(
                    "{BEGIN}r1 = r9\nr1 += 8\nr2 = {room}\nr3 = map$constant[0]+0\n\
                     r4 = r8\nr5 = {}\ncall bpf_snprintf\n*(u64 *)(r9 +0) = r0\nr0 = 2\nexit\n",
                    count * 8
                );
                let name = format!("snprintf {format:?}, {count} values in {room}");
                let constant = padded(format.as_bytes());
                let Some(program) = duel.try_load(&name, ProgType::Xdp, &[IN], &body, &constant)
                else {
                    continue;
                };
                let pointer =
                    format.contains("%s") || format.contains("%p") || format.contains("5s");
                let values: &[u64] = if pointer {
                    &[0]
                } else {
                    &[0, 65, 1 << 31, u64::MAX]
                };
                for value in values {
                    program.set("in", &[0; 4], &words(&[*value, *value, 7, 8]));
                    program.run(&format!("{value:#x}"), &udp(4, 60), &[]);
                }
            }
        }
    }
    duel.finish(1000);
}

#[test]
fn comparisons() {
    let duel = Duel::new();
    let texts: [&[u8]; 8] = [b"", b"a", b"ab", b"abc", b"abd", b"b", b"abc\0x", b"\xff"];
    for constant in texts {
        let body = format!(
            "{BEGIN}r1 = r8\nr2 = *(u64 *)(r8 +64)\nif r2 > 64 goto no\nif r2 < 1 goto no\n\
             r3 = map$constant[0]+0\ncall bpf_strncmp\n*(u64 *)(r9 +0) = r0\nno:\nr0 = 2\nexit\n"
        );
        let name = format!("strncmp {constant:?}");
        let program = duel
            .try_load(&name, ProgType::Xdp, &[IN], &body, &padded(constant))
            .unwrap();
        for text in texts {
            for len in [1, 2, 3, 4, 8, 64] {
                let mut bytes = text.to_vec();
                bytes.resize(64, 0);
                bytes.extend(u64::to_ne_bytes(len));
                bytes.resize(128, 0);
                program.set("in", &[0; 4], &bytes);
                program.run(&format!("{text:?} of {len}"), &udp(4, 60), &[]);
            }
        }
    }
    duel.finish(300);
}
