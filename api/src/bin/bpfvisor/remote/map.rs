//! `map`.

use super::{connect, list, open, words};
use crate::cli::{CreateArgs, ElementArgs, ListArgs, MapArgs, MapCommand};
use anyhow::{Result, anyhow, bail};
use bpfvisor::uapi::MapType;
use bpfvisor::{Map, MapSpec, Vm};
use serde_json::{Value, json};
use std::path::Path;

/// `map` and what it is to do.
pub fn map(args: &MapArgs, socket: Option<&Path>) -> Result<()> {
    let vm = connect(socket)?;
    match &args.command {
        MapCommand::List(args) => list::print(&vm.maps()?, args),
        MapCommand::Create(args) => create(&vm, args),
        MapCommand::Lookup(args) => lookup(&find(&vm, &args.map)?, args),
        MapCommand::Update(args) => {
            let words = words::parse(&args.words)?;
            Ok(find(&vm, &args.map)?.update(&words.key, &words.value, words.flags)?)
        }
        MapCommand::Delete(args) => {
            Ok(find(&vm, &args.map)?.remove(&words::parse(&args.words)?.key)?)
        }
        MapCommand::Dump(args) => dump(&vm, &find(&vm, &args.map)?, &args.list),
        MapCommand::Unpin { name } => Ok(vm.unpin(name)?),
    }
}

fn find(vm: &Vm, text: &str) -> Result<Map> {
    open(text, |which| vm.open_map(which))
}

fn create(vm: &Vm, args: &CreateArgs) -> Result<()> {
    let map_type = MapType::from_name(&args.map_type)
        .ok_or_else(|| anyhow!("{:?} is not a type of maps", args.map_type))?;
    let name = args.map_name.as_deref().unwrap_or(&args.name);
    let spec = MapSpec::new(name, map_type, args.key, args.value, args.entries);
    let map = vm.create_map(spec.flags(args.flags))?;
    Ok(vm.pin(&args.name, &map)?)
}

fn lookup(map: &Map, args: &ElementArgs) -> Result<()> {
    let key = words::parse(&args.words)?.key;
    let Some(value) = map.get(&key)? else {
        if args.list.json || args.list.pretty {
            println!("null");
            return Ok(());
        }
        bail!("key: {}\n\nNot found", bytes(&key));
    };
    if args.list.json || args.list.pretty {
        println!(
            "{}",
            list::text(&element(map, &key, &value), args.list.pretty)?
        );
    } else {
        println!("{}", line(map, &key, &value));
    }
    Ok(())
}

fn dump(vm: &Vm, map: &Map, args: &ListArgs) -> Result<()> {
    let _ = vm;
    let mut all = Vec::new();
    let mut count = 0;
    for found in map.iter() {
        let (key, value) = found?;
        count += 1;
        if args.json || args.pretty {
            all.push(element(map, &key, &value));
        } else {
            println!("{}", line(map, &key, &value));
        }
    }
    if args.json || args.pretty {
        println!("{}", list::text(&Value::Array(all), args.pretty)?);
    } else {
        println!("Found {count} element{}", if count == 1 { "" } else { "s" });
    }
    Ok(())
}

/// Values of each CPU, of a map that has them.
fn per_cpu<'a>(map: &Map, value: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let stride = map.value_size().next_multiple_of(8);
    let is = value.len() != map.value_size() && stride > 0;
    is.then(|| {
        value
            .chunks(stride)
            .map(|v| &v[..map.value_size()])
            .collect()
    })
}

fn element(map: &Map, key: &[u8], value: &[u8]) -> Value {
    match per_cpu(map, value) {
        None => json!({"key": hex_list(key), "value": hex_list(value)}),
        Some(values) => {
            let each = values.iter().enumerate();
            let each = each.map(|(cpu, v)| json!({"cpu": cpu, "value": hex_list(v)}));
            json!({"key": hex_list(key), "values": each.collect::<Vec<_>>()})
        }
    }
}

fn hex_list(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|b| format!("0x{b:02x}")).collect()
}

fn line(map: &Map, key: &[u8], value: &[u8]) -> String {
    match per_cpu(map, value) {
        None => format!("key: {}  value: {}", bytes(key), bytes(value)),
        Some(values) => {
            let mut out = format!("key: {}", bytes(key));
            for (cpu, value) in values.iter().enumerate() {
                out += &format!("\nvalue (CPU {cpu:02}): {}", bytes(value));
            }
            out
        }
    }
}

fn bytes(bytes: &[u8]) -> String {
    let each: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    each.join(" ")
}
