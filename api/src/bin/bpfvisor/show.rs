//! Contents of maps and global variables.

use anyhow::Result;
use bpfvisor::Map;
use bpfvisor::hex;
use bpfvisor::object::Object;
use bpfvisor::uapi::MapType;
use serde_json::{Map as JsonMap, Value, json};

/// Elements printed per map.
const MOST: usize = 64;

/// Whether the map has contents to show: global data is shown by variable, and
/// what holds objects or streams has no values of its own.
fn has_contents(name: &str, map: &Map) -> bool {
    use MapType::*;
    !name.starts_with('.')
        && !matches!(
            map.map_type(),
            Ringbuf
                | UserRingbuf
                | Queue
                | Stack
                | ProgArray
                | PerfEventArray
                | BloomFilter
                | ArrayOfMaps
                | HashOfMaps
        )
}

/// Prints a map.
pub fn map(name: &str, map: &Map) -> Result<()> {
    if map.map_type() == MapType::Ringbuf {
        let (records, bytes, dropped) = records(map)?;
        println!("map {name} (ringbuf): {records} records, {bytes} bytes, {dropped} dropped");
        return Ok(());
    }
    if !has_contents(name, map) {
        return Ok(());
    }
    println!(
        "map {name} ({}, key {}, value {}, max_entries {})",
        map.map_type().name(),
        map.key_size(),
        map.value_size(),
        map.max_entries()
    );
    let is_array = matches!(map.map_type(), MapType::Array | MapType::PercpuArray);
    let (mut shown, mut empty, mut more) = (0, 0_u64, 0_u64);
    for element in map.iter() {
        let (key, value) = element?;
        if is_array && value.iter().all(|&b| b == 0) {
            empty += 1;
        } else if shown < MOST {
            shown += 1;
            println!("  {} -> {}", field(&key), values(map, &value));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        println!("  … and {more} more");
    }
    if empty > 0 {
        println!("  ({empty} empty slots)");
    }
    Ok(())
}

/// Takes all records out of a ring buffer: how many there were, their bytes, and
/// how many found no room.
fn records(map: &Map) -> Result<(usize, usize, u64)> {
    let mut ring = map.ring_buffer()?;
    let mut bytes = 0;
    let records = ring.drain(|record| bytes += record.len());
    Ok((records, bytes, ring.dropped()))
}

/// The map's elements as JSON.
pub fn json(map: &Map) -> Result<Value> {
    if map.map_type() == MapType::Ringbuf {
        let (records, bytes, dropped) = records(map)?;
        return Ok(json!({"records": records, "bytes": bytes, "dropped": dropped}));
    }
    let mut elements = Vec::new();
    if has_contents("", map) {
        for element in map.iter() {
            let (key, value) = element?;
            let mut item = json!({"key": hex::encode(&key), "value": hex::encode(&value)});
            if let Some(n) = number(&key) {
                item["key_int"] = n.into();
            }
            if let Some(n) = number(&value) {
                item["value_int"] = n.into();
            }
            elements.push(item);
        }
    }
    Ok(json!({
        "type": map.map_type().name(),
        "key_size": map.key_size(),
        "value_size": map.value_size(),
        "max_entries": map.max_entries(),
        "elements": elements,
    }))
}

/// Prints the global variables that programs can change.
pub fn variables(object: &Object) -> Result<()> {
    let names: Vec<&str> = object.variables().collect();
    if !names.is_empty() {
        println!("global variables");
    }
    for name in names {
        println!("  {name} = {}", field(&object.global(name)?));
    }
    Ok(())
}

/// The global variables as JSON: a number, or hex.
pub fn variables_json(object: &Object) -> Result<Value> {
    let mut out = JsonMap::new();
    for name in object.variables() {
        let bytes = object.global(name)?;
        let value = number(&bytes).map_or_else(|| hex::encode(&bytes).into(), Value::from);
        out.insert(name.into(), value);
    }
    Ok(out.into())
}

/// A value; for per-CPU maps one per CPU.
fn values(map: &Map, value: &[u8]) -> String {
    use MapType::*;
    if !matches!(map.map_type(), PercpuArray | PercpuHash | LruPercpuHash) {
        return field(value);
    }
    let size = map.value_size();
    let cpus = value.chunks(size.next_multiple_of(8));
    let each: Vec<String> = cpus.map(|v| field(v.get(..size).unwrap_or(v))).collect();
    each.join(" | ")
}

/// Bytes as a number where they are 1, 2, 4 or 8, and in hex.
fn field(bytes: &[u8]) -> String {
    match number(bytes) {
        Some(n) => format!("{n} ({})", hex::encode(bytes)),
        None => hex::encode(bytes),
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    })
}
