//! What `run` prints.

use super::{Session, Tally};
use crate::cli::RunArgs;
use crate::{show, verdict};
use anyhow::Result;
use bpfvisor::{Redirect, hex};
use serde_json::{Map as JsonMap, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Prints, for people or for machines.
pub fn report(session: &Session, tally: &Tally, args: &RunArgs) -> Result<()> {
    if args.json {
        println!("{}", as_json(session, tally, args)?);
        return Ok(());
    }
    as_text(session, tally, args)
}

fn as_text(session: &Session, tally: &Tally, args: &RunArgs) -> Result<()> {
    let prog_type = session.program.prog_type();
    let info = session.program.info();
    println!("program {} ({})", session.name, prog_type.name());
    println!(
        "  boot {}, load {} (verification {}, compilation {}, {} instructions, {} bytes of code)",
        time(session.boot),
        time(session.load),
        time(info.verify_time),
        time(info.jit_time),
        info.xlated_insns,
        info.jited_len
    );
    println!("verdicts");
    for (&retval, count) in &tally.verdicts {
        println!("  {count:>10}  {}", verdict::name(prog_type, retval));
    }
    for (to, count) in targets(session, tally) {
        println!("  {count:>10}  to {to}");
    }
    for (errno, count) in &tally.failed {
        println!("  {count:>10}  not run to the end (errno {errno})");
    }
    if tally.skipped > 0 {
        println!(
            "  {:>10}  skipped: shorter than {} or longer than {} bytes",
            tally.skipped,
            super::min_len(prog_type),
            bpfvisor::MAX_PACKET
        );
    }
    if let Some(out) = &tally.single {
        println!("  r0 {:#x}, data {}", out.r0, hex::encode(&out.data));
    }
    show::variables(&session.object)?;
    for (name, map) in session.object.maps() {
        show::map(name, map)?;
    }
    println!(
        "{} packets, {} bytes in {}: {:.0} packets/s, {:.1} ns each",
        tally.packets,
        tally.bytes,
        time(tally.time),
        rate(tally),
        tally.time.as_nanos() as f64 / (tally.packets.max(1)) as f64
    );
    if let Some(path) = &args.write_pcap {
        println!("{} packets written to {}", tally.written, path.display());
    }
    let trace = session.vm.take_trace();
    if !trace.is_empty() {
        println!("trace\n{}", trace.trim_end());
    }
    if args.stats {
        println!("{:#?}", session.vm.stats());
    }
    Ok(())
}

fn as_json(session: &Session, tally: &Tally, args: &RunArgs) -> Result<Value> {
    let prog_type = session.program.prog_type();
    let info = session.program.info();
    let mut verdicts = JsonMap::new();
    for (&retval, &count) in &tally.verdicts {
        verdicts.insert(verdict::name(prog_type, retval), count.into());
    }
    let mut maps = JsonMap::new();
    for (name, map) in session.object.maps() {
        maps.insert(name.into(), show::json(map)?);
    }
    let failed: u64 = tally.failed.values().sum();
    let mut out = json!({
        "program": session.name,
        "type": prog_type.name(),
        "boot_ms": session.boot.as_secs_f64() * 1e3,
        "load_ms": session.load.as_secs_f64() * 1e3,
        "verify_us": info.verify_time.as_secs_f64() * 1e6,
        "jit_us": info.jit_time.as_secs_f64() * 1e6,
        "instructions": info.xlated_insns,
        "code_bytes": info.jited_len,
        "packets": tally.packets,
        "bytes": tally.bytes,
        "skipped": tally.skipped,
        "failed": failed,
        "verdicts": verdicts,
        "run_ms": tally.time.as_secs_f64() * 1e3,
        "packets_per_second": rate(tally),
        "globals": show::variables_json(&session.object)?,
        "maps": maps,
        "trace": session.vm.take_trace(),
    });
    if let Some(one) = &tally.single {
        out["retval"] = one.retval.into();
        out["r0"] = one.r0.into();
        out["data_hex"] = hex::encode(&one.data).into();
    }
    if !tally.redirects.is_empty() {
        out["redirected"] = json!(targets(session, tally));
    }
    if args.write_pcap.is_some() {
        out["written"] = tally.written.into();
    }
    if args.stats {
        let s = session.vm.stats();
        out["stats"] = json!({
            "calls": s.calls, "wakes": s.wakes, "waits": s.waits, "exits": s.exits,
            "timeouts": s.timeouts, "objects": s.objects, "shared_used": s.shared_used,
            "boot_ns": s.boot_ns,
        });
    }
    Ok(out)
}

/// Targets of redirections by name, in order.
fn targets(session: &Session, tally: &Tally) -> BTreeMap<String, u64> {
    let maps: Vec<_> = session.object.maps().collect();
    let name = |id: u32| maps.iter().find(|m| m.1.id() == id).map(|m| m.0);
    let named = tally.redirects.iter().map(|(to, &count)| {
        let text = match to {
            Redirect::Entry { map, key } => name(*map).map(|n| format!("map {n}, key {key}")),
            Redirect::Broadcast { map, .. } => name(*map).map(|n| format!("map {n}, all")),
            _ => None,
        };
        (text.unwrap_or_else(|| to.to_string()), count)
    });
    named.collect()
}

fn rate(tally: &Tally) -> f64 {
    tally.packets as f64 / tally.time.as_secs_f64().max(1e-9)
}

/// A time in the unit that suits it.
fn time(d: Duration) -> String {
    match d.as_nanos() {
        n if n < 10_000 => format!("{n} ns"),
        n if n < 10_000_000 => format!("{:.1} µs", n as f64 / 1e3),
        n => format!("{:.1} ms", n as f64 / 1e6),
    }
}
