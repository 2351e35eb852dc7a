//! One line of input, checked.

use crate::hex;
use bpf_core::insn::Insn;
use bpf_core::uapi::{MapType, ProgType};
use serde::Deserialize;
use serde_json::Value;

/// A program to judge and run.
#[derive(Debug)]
pub struct Question {
    pub name: String,
    /// The name as given, where it is no type we know.
    pub prog_type: Result<ProgType, String>,
    pub license: String,
    pub insns: Vec<Insn>,
    pub maps: Vec<MapLine>,
    pub fixups: Vec<Fixup>,
    pub strict_alignment: bool,
    pub runs: Vec<RunLine>,
}

/// Why a line is no question.
#[derive(Debug)]
pub struct BadLine {
    pub name: String,
    pub reason: String,
}

#[derive(Debug)]
pub struct MapLine {
    pub name: String,
    pub map_type: Result<MapType, String>,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub inner: Option<usize>,
    pub init: Vec<(Vec<u8>, Initial)>,
}

/// An initial value.
#[derive(Debug, PartialEq, Eq)]
pub enum Initial {
    Bytes(Vec<u8>),
    /// Index of a map, or of ... nothing else: programs are only `ThisProgram`.
    Map(usize),
    ThisProgram,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Fixup {
    pub insn: u32,
    pub map: i64,
    #[serde(default)]
    pub kind: FixupKind,
    #[serde(default)]
    pub offset: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FixupKind {
    #[default]
    Fd,
    Value,
}

#[derive(Debug)]
pub struct RunLine {
    pub data: Vec<u8>,
    pub ctx: Vec<u8>,
    pub repeat: u32,
}

#[derive(Deserialize)]
struct RawQuestion {
    #[serde(default)]
    name: String,
    prog_type: String,
    #[serde(default)]
    license: String,
    insns_hex: String,
    #[serde(default)]
    maps: Option<Vec<RawMap>>,
    #[serde(default)]
    fixups: Option<Vec<Fixup>>,
    #[serde(default)]
    strict_alignment: bool,
    #[serde(default)]
    runs: Option<Vec<RawRun>>,
}

#[derive(Deserialize)]
struct RawMap {
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    map_type: String,
    #[serde(default)]
    key_size: u32,
    #[serde(default)]
    value_size: u32,
    #[serde(default)]
    max_entries: u32,
    #[serde(default)]
    map_flags: u32,
    #[serde(default)]
    inner: Option<usize>,
    #[serde(default)]
    init: Option<Vec<(String, Value)>>,
}

#[derive(Deserialize)]
struct RawRun {
    #[serde(default)]
    data_hex: String,
    #[serde(default)]
    ctx_hex: String,
    #[serde(default)]
    repeat: Option<u32>,
}

impl Question {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, BadLine> {
        let raw: Value = serde_json::from_slice(line).map_err(|e| BadLine {
            name: String::new(),
            reason: format!("not JSON: {e}"),
        })?;
        if !raw.is_object() {
            return Err(BadLine {
                name: String::new(),
                reason: "not a JSON object".into(),
            });
        }
        let name = raw["name"].as_str().unwrap_or_default().to_string();
        let bad = |reason: String| BadLine {
            name: name.clone(),
            reason,
        };
        let raw: RawQuestion = serde_json::from_value(raw).map_err(|e| bad(e.to_string()))?;
        raw.check().map_err(bad)
    }

    /// Shortest and longest data over all runs.
    pub fn data_lengths(&self) -> (u32, u32) {
        let lengths = || self.runs.iter().map(|r| r.data.len() as u32);
        (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0))
    }
}

impl RawQuestion {
    fn check(self) -> Result<Question, String> {
        let bytes = bytes("insns_hex", &self.insns_hex)?;
        let (slots, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!(
                "insns_hex: {} bytes are not whole instructions",
                bytes.len()
            ));
        }
        let maps = self.maps.unwrap_or_default().into_iter();
        let runs = self.runs.unwrap_or_default().into_iter();
        Ok(Question {
            prog_type: prog_type(&self.prog_type),
            insns: slots.iter().map(|s| Insn::from_bytes(*s)).collect(),
            maps: maps.map(RawMap::check).collect::<Result<_, _>>()?,
            fixups: self.fixups.unwrap_or_default(),
            runs: runs.map(RawRun::check).collect::<Result<_, _>>()?,
            name: self.name,
            license: self.license,
            strict_alignment: self.strict_alignment,
        })
    }
}

fn prog_type(name: &str) -> Result<ProgType, String> {
    match name {
        "unspec" => Ok(ProgType::Flat),
        name => ProgType::from_name(name).ok_or_else(|| name.to_string()),
    }
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|e| format!("{field}: {e}"))
}

impl RawMap {
    fn check(self) -> Result<MapLine, String> {
        let map_type = MapType::from_name(&self.map_type).ok_or(self.map_type);
        let mut init = Vec::new();
        for (key, value) in self.init.unwrap_or_default() {
            init.push((
                bytes("init", &key)?,
                initial(map_type.as_ref().ok(), value)?,
            ));
        }
        Ok(MapLine {
            name: self.name,
            map_type,
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            map_flags: self.map_flags,
            inner: self.inner,
            init,
        })
    }
}

fn initial(map_type: Option<&MapType>, value: Value) -> Result<Initial, String> {
    let holds_objects = matches!(
        map_type,
        Some(MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps)
    );
    match value {
        Value::String(s) if s == "self" => Ok(Initial::ThisProgram),
        Value::String(s) if holds_objects => match s.parse() {
            Ok(index) => Ok(Initial::Map(index)),
            Err(_) => Err(format!("init: {s:?} is no index of a map")),
        },
        Value::String(s) => Ok(Initial::Bytes(bytes("init", &s)?)),
        Value::Number(n) if holds_objects => n
            .as_u64()
            .map(|n| Initial::Map(n as usize))
            .ok_or_else(|| format!("init: {n} is no index of a map")),
        other => Err(format!("init: {other} is neither hex nor an index")),
    }
}

impl RawRun {
    fn check(self) -> Result<RunLine, String> {
        Ok(RunLine {
            data: bytes("data_hex", &self.data_hex)?,
            ctx: bytes("ctx_hex", &self.ctx_hex)?,
            repeat: self.repeat.unwrap_or(1).max(1),
        })
    }
}

/// Indices of maps, templates before what they are templates of.
pub fn creation_order(lines: &[MapLine]) -> Result<Vec<usize>, String> {
    let mut order = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        match line.inner {
            Some(t) if t >= lines.len() => {
                return Err(format!("map {i}: there is no map {t} to be its template"));
            }
            Some(t) if lines[t].inner.is_some() => {
                return Err(format!("map {i}: its template {t} is itself a map of maps"));
            }
            Some(_) => {}
            None => order.push(i),
        }
    }
    order.extend((0..lines.len()).filter(|&i| lines[i].inner.is_some()));
    Ok(order)
}

/// The value for all CPUs: one that is given for a single CPU holds for each.
pub fn per_cpu(line: &MapLine, value: &[u8], cpus: usize) -> Vec<u8> {
    if !is_per_cpu(line) || value.len() != line.value_size as usize {
        return value.to_vec();
    }
    let mut one = value.to_vec();
    one.resize(value.len().next_multiple_of(8), 0);
    one.repeat(cpus)
}

/// Whether each CPU has its own values.
pub fn is_per_cpu(line: &MapLine) -> bool {
    use MapType::*;
    matches!(line.map_type, Ok(PercpuArray | PercpuHash | LruPercpuHash))
}
