//! Nanoseconds per map operation, in this process: `cargo run --release -p
//! bpf-core --example map_bench`. Keys come in a random order, as the loops of
//! programs bring them; "host" is the copying read of the other side.

use bpf_core::map::{Fields, Geometry, Map, MapError, MapReader, Region};
use bpf_core::uapi::MapType;
use std::hint::black_box;
use std::time::Instant;

const OPS: u32 = 1 << 21;

fn measure(what: &str, entries: u32, mut op: impl FnMut(u32)) {
    let mut best = f64::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let mut x = 12345u32;
        for _ in 0..OPS {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            op(((u64::from(x) * u64::from(entries)) >> 32) as u32);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(OPS));
    }
    println!("{what:<28} {entries:>8} entries {best:>8.1} ns");
}

fn rings() -> Result<(), MapError> {
    for size in [8, 64, 512] {
        let geo = Geometry::new(MapType::Ringbuf, 0, 0, 1 << 16, 0, 1, 0)?;
        let region = Region::zeroed(geo.storage_len);
        let map = Map::create(geo, region.clone(), 0, Fields::default())?;
        let host = MapReader::new(geo, region, 0, Fields::default())?;
        let Some(mut consumer) = host.consumer() else {
            continue;
        };
        let (data, mut out) = (vec![1; size], Vec::new());
        let (mut produce, mut consume, rounds, batch) = (0, 0, 10_000, 100);
        for _ in 0..rounds {
            let start = Instant::now();
            for _ in 0..batch {
                let _ = black_box(map.output(&data, 1));
            }
            let middle = Instant::now();
            while consumer.next(&mut out) == Ok(true) {
                black_box(&out);
            }
            produce += (middle - start).as_nanos();
            consume += middle.elapsed().as_nanos();
        }
        let each = |ns: u128| ns as f64 / f64::from(rounds * batch);
        let (p, c) = (each(produce), each(consume));
        println!("ring buffer, {size} bytes: produce {p:.1} ns, consume {c:.1} ns");
    }
    Ok(())
}

fn prefixes() -> Result<(), MapError> {
    for entries in [1 << 10, 1 << 16] {
        let geo = Geometry::new(MapType::LpmTrie, 8, 8, entries, 1, 1, 0)?;
        let region = Region::zeroed(geo.storage_len);
        let map = Map::create(geo, region.clone(), 0, Fields::default())?;
        let key = |i: u32, bits: u32| {
            let mut k = [0; 8];
            k[..4].copy_from_slice(&bits.to_le_bytes());
            k[4..].copy_from_slice(&i.wrapping_mul(0x9e37_79b1).to_be_bytes());
            k
        };
        for i in 0..entries {
            let _ = map.update(0, &key(i, 16 + i % 17), &[1; 8], 0);
        }
        measure("lpm lookup", entries, |i| {
            black_box(map.lookup(0, &key(i, 32)));
        });
    }
    Ok(())
}

fn main() -> Result<(), MapError> {
    rings()?;
    prefixes()?;
    for entries in [1 << 10, 1 << 16, 1 << 20] {
        for t in [MapType::Hash, MapType::LruHash, MapType::Array] {
            let geo = Geometry::new(t, 4, 8, entries, 0, 1, 0)?;
            let region = Region::zeroed(geo.storage_len);
            let map = Map::create(geo, region.clone(), 1, Fields::default())?;
            let host = MapReader::new(geo, region, 1, Fields::default())?;
            for i in 0..entries {
                map.update(0, &i.to_le_bytes(), &u64::from(i).to_le_bytes(), 0)?;
            }
            let name = t.name();
            measure(&format!("{name} lookup"), entries, |i| {
                black_box(map.lookup(0, &i.to_le_bytes()));
            });
            measure(&format!("{name} update"), entries, |i| {
                let _ = black_box(map.update(0, &i.to_le_bytes(), &[1; 8], 0));
            });
            measure(&format!("{name} host lookup"), entries, |i| {
                let _ = black_box(host.lookup(&i.to_le_bytes(), &mut [0; 8], 0));
            });
            if t != MapType::Array {
                measure(&format!("{name} delete + insert"), entries, |i| {
                    let _ = black_box(map.delete(0, &i.to_le_bytes()));
                    let _ = black_box(map.update(0, &i.to_le_bytes(), &[1; 8], 0));
                });
            }
        }
    }
    Ok(())
}
