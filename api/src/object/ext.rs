//! `.BTF.ext`: what the compiler says of single instructions.
//!
//! A header (magic, header length, then offset and length of each part), then
//! the parts: types of functions, source lines, relocations. A part is the size of
//! its records, then for each section its name, the number of records, and these.

use super::btf::{Btf, Reader};
use super::elf::Elf;
use crate::error::{Error, Result};
use bpf_core::program::{FuncInfo, LineInfo};
use std::collections::BTreeMap;

/// Something by section and offset of the instruction that it is said of.
pub(super) type Places<T> = BTreeMap<(usize, u64), T>;

/// A CO-RE relocation: what the compiler asks of the kernel's types.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub of: u32,
    pub access: String,
    pub kind: u32,
}

/// All of it. Instructions in the records are still those of the sections.
#[derive(Clone, Debug, Default)]
pub(super) struct Ext {
    pub funcs: Places<FuncInfo>,
    pub lines: Places<LineInfo>,
    pub questions: Places<Question>,
}

/// Where parts begin in the header.
const FUNCS: usize = 8;
const LINES: usize = 16;
const RELOCATIONS: usize = 24;

impl Ext {
    /// Reads an object's; empty where it has none.
    pub fn read(elf: &Elf<'_>, btf: &Btf) -> Result<Self> {
        let Some(ext) = elf.section(".BTF.ext") else {
            return Ok(Self::default());
        };
        let part = Part {
            elf,
            btf,
            data: ext.data,
        };
        part.all()
            .ok_or_else(|| Error::object("the object's .BTF.ext is damaged"))
    }
}

struct Part<'e, 'd> {
    elf: &'e Elf<'d>,
    btf: &'e Btf,
    data: &'d [u8],
}

impl Part<'_, '_> {
    fn all(&self) -> Option<Ext> {
        let mut header = Reader {
            data: self.data,
            at: 0,
        };
        if header.u32()? & 0xffff != 0xeb9f {
            return None;
        }
        Some(Ext {
            funcs: self.read(FUNCS, FuncInfo::SIZE, |r| {
                let [insn, type_id] = [r.u32()?, r.u32()?];
                Some(FuncInfo { insn, type_id })
            })?,
            lines: self.read(LINES, LineInfo::SIZE, |r| {
                let [insn, file, text, line_col] = [r.u32()?, r.u32()?, r.u32()?, r.u32()?];
                Some(LineInfo {
                    insn,
                    file,
                    text,
                    line_col,
                })
            })?,
            questions: self.read(RELOCATIONS, 16, |r| {
                let [_, of, access, kind] = [r.u32()?, r.u32()?, r.u32()?, r.u32()?];
                let access = self.btf.string(access)?;
                Some(Question { of, access, kind })
            })?,
        })
    }

    /// One part; a header from before there was it does not reach so far.
    fn read<T>(
        &self,
        at: usize,
        least: usize,
        record: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Places<T>> {
        let mut out = Places::new();
        let data = self.data;
        let header_len = Reader { data, at: 4 }.u32()? as usize;
        if header_len < at + 8 {
            return Some(out);
        }
        let mut place = Reader { data, at };
        let (off, len) = (place.u32()? as usize, place.u32()? as usize);
        let start = header_len.checked_add(off)?;
        let records = data.get(start..start.checked_add(len)?)?;
        if records.is_empty() {
            return Some(out);
        }
        let mut r = Reader {
            data: records,
            at: 0,
        };
        let size = r.u32()? as usize;
        if size < least {
            return None;
        }
        while r.at < records.len() {
            let section = self.btf.string(r.u32()?)?;
            let section = self.elf.sections.iter().position(|s| s.name == section);
            for _ in 0..r.u32()? {
                let begin = r.at;
                let insn = Reader {
                    data: records,
                    at: begin,
                }
                .u32()?;
                let found = record(&mut r)?;
                r.at = begin.checked_add(size)?;
                if let Some(section) = section {
                    out.insert((section, insn.into()), found);
                }
            }
        }
        Some(out)
    }
}
