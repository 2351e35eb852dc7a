//! Lists of objects.

use super::date;
use crate::cli::ListArgs;
use anyhow::Result;
use bpfvisor::hex;
use bpfvisor::{Described, What};
use serde_json::{Value, json};

/// Prints them, for people or for machines.
pub fn print(all: &[Described], args: &ListArgs) -> Result<()> {
    if args.json || args.pretty {
        let list = Value::Array(all.iter().map(as_json).collect());
        println!("{}", text(&list, args.pretty)?);
        return Ok(());
    }
    for one in all {
        println!("{}", as_text(one));
    }
    Ok(())
}

/// JSON on one line, or indented.
pub fn text(value: &Value, pretty: bool) -> Result<String> {
    Ok(if pretty {
        serde_json::to_string_pretty(value)?
    } else {
        value.to_string()
    })
}

fn as_json(one: &Described) -> Value {
    let mut out = match &one.what {
        What::Map {
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            memory,
        } => json!({
            "id": one.id, "type": map_type.name(), "name": one.name, "flags": flags,
            "bytes_key": key_size, "bytes_value": value_size, "max_entries": max_entries,
            "bytes_memlock": memory,
        }),
        What::Program {
            prog_type,
            tag,
            gpl,
            lengths: (xlated, jited),
            map_ids,
        } => json!({
            "id": one.id, "type": prog_type.name(), "name": one.name, "tag": hex::encode(tag),
            "gpl_compatible": gpl, "loaded_at": date::since_1970(one.made),
            "bytes_xlated": xlated, "jited": *jited > 0, "bytes_jited": jited,
            "map_ids": map_ids,
        }),
        _ => json!({"id": one.id, "name": one.name}),
    };
    if !one.pins.is_empty() {
        out["pinned"] = one.pins.clone().into();
    }
    out
}

/// The same as bpftool prints it for people.
fn as_text(one: &Described) -> String {
    let fields = as_json(one);
    let number = |name: &str| fields[name].as_u64().unwrap_or_default();
    let word = |name: &str| printable(fields[name].as_str().unwrap_or_default());
    let mut out = format!("{}: {}  name {}", one.id, word("type"), word("name"));
    match &one.what {
        What::Map { .. } => {
            out += &format!(
                "  flags {:#x}\n\tkey {}B",
                number("flags"),
                number("bytes_key")
            );
            out += &format!("  value {}B", number("bytes_value"));
            out += &format!("  max_entries {}", number("max_entries"));
            out += &format!("  memlock {}B", number("bytes_memlock"));
        }
        What::Program { gpl, map_ids, .. } => {
            out += &format!("  tag {}{}", word("tag"), if *gpl { "  gpl" } else { "" });
            out += &format!("\n\tloaded_at {}", date::text(number("loaded_at")));
            out += &format!("\n\txlated {}B", number("bytes_xlated"));
            match number("bytes_jited") {
                0 => out += "  not jited",
                bytes => out += &format!("  jited {bytes}B"),
            }
            let ids: Vec<_> = map_ids.iter().map(u32::to_string).collect();
            if !ids.is_empty() {
                out += &format!("  map_ids {}", ids.join(","));
            }
        }
        _ => {}
    }
    for pin in &one.pins {
        out += &format!("\n\tpinned {}", printable(pin));
    }
    out
}

/// Names are what clients have chosen: they are not to steer a terminal.
fn printable(name: &str) -> String {
    let harmless = |c: char| if c.is_control() { '?' } else { c };
    name.chars().map(harmless).collect()
}
