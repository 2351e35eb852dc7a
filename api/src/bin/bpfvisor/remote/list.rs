//! Lists of objects.

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
            "gpl_compatible": gpl, "loaded_at": one.made.as_secs(), "bytes_xlated": xlated,
            "jited": *jited > 0, "bytes_jited": jited, "map_ids": map_ids,
        }),
        _ => json!({"id": one.id, "name": one.name}),
    };
    if !one.pins.is_empty() {
        out["pinned"] = one.pins.clone().into();
    }
    out
}

fn as_text(one: &Described) -> String {
    let name = printable(&one.name);
    let mut out = match &one.what {
        What::Map {
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            memory,
        } => format!(
            "{}: {}  name {name}  flags {flags:#x}\n\tkey {key_size}B  value {value_size}B  \
             max_entries {max_entries}  memlock {memory}B",
            one.id,
            map_type.name()
        ),
        What::Program {
            prog_type,
            tag,
            gpl,
            lengths: (xlated, jited),
            map_ids,
        } => {
            let ids: Vec<_> = map_ids.iter().map(u32::to_string).collect();
            let gpl = if *gpl { "  gpl" } else { "" };
            let maps = match ids.is_empty() {
                true => String::new(),
                false => format!("  map_ids {}", ids.join(",")),
            };
            format!(
                "{}: {}  name {name}  tag {}{gpl}\n\txlated {xlated}B  jited {jited}B{maps}",
                one.id,
                prog_type.name(),
                hex::encode(tag)
            )
        }
        _ => format!("{}: {name}", one.id),
    };
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
