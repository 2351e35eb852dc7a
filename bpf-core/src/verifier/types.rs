//! What BTF says of a program: whether it fits, and where the source lines are.
use super::Reject;
use super::reject::{Res, bail};
use super::signature::{self, ArgTags, Signature};
use super::structure::{self, Shape};
use crate::btf::{Btf, Type, kind, linkage};
use crate::insn::Insn;
use crate::program::{LineInfo, ProgramDesc, TypeInfo};
use crate::uapi::errno::EINVAL;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// A program's types.
#[derive(Default)]
pub(crate) struct Types<'a> {
    btf: Btf<'a>,
    info: TypeInfo<'a>,
    tags: Option<ArgTags>,
    /// Per function, once asked for.
    signatures: Vec<Option<Result<Rc<Signature>, Reject>>>,
}

impl<'a> Types<'a> {
    /// Reads what needs no functions to be known (`check_btf_func_early`).
    pub fn read(info: TypeInfo<'a>) -> Res<Self> {
        if info.btf.is_empty() {
            return Ok(Self::default());
        }
        let Ok(btf) = Btf::parse(info.btf) else {
            bail!(EINVAL, "the program's BTF is damaged");
        };
        let mut before = 0;
        for (i, f) in info.funcs.iter().enumerate() {
            if i == 0 && f.insn != 0 {
                let at = f.insn;
                bail!(
                    EINVAL,
                    "nonzero insn_off {at} for the first func info record"
                );
            }
            if i > 0 && f.insn <= before {
                bail!(
                    EINVAL,
                    "same or smaller insn offset ({}) than previous func info record ({before})",
                    f.insn
                );
            }
            let proto = function(&btf, f.type_id).and_then(|f| btf.get(f.size_or_type));
            if proto.is_none_or(|p| p.kind() != kind::FUNC_PROTO) {
                bail!(EINVAL, "invalid type id {} in func info", f.type_id);
            }
            before = f.insn;
        }
        Ok(Self {
            btf,
            info,
            tags: None,
            signatures: Vec::new(),
        })
    }

    /// Whether functions have types.
    pub fn has_functions(&self) -> bool {
        !self.info.funcs.is_empty()
    }

    /// Whether the types are those of this program (`check_btf_info`).
    pub fn fit(&mut self, insns: &[Insn], shape: &Shape) -> Res<()> {
        self.signatures = alloc::vec![None; shape.starts.len()];
        if self.has_functions() {
            self.functions_fit(insns, shape)?;
        } else {
            structure::no_abnormal_returns(insns, shape)?;
        }
        self.lines_fit(insns, shape)
    }

    fn functions_fit(&self, insns: &[Insn], shape: &Shape) -> Res<()> {
        let funcs = self.info.funcs;
        if funcs.len() != shape.starts.len() {
            bail!(
                EINVAL,
                "number of funcs in func_info doesn't match number of subprogs"
            );
        }
        for (nr, (f, &start)) in funcs.iter().zip(&shape.starts).enumerate() {
            if f.insn as usize != start {
                bail!(
                    EINVAL,
                    "func_info BTF section doesn't match subprog layout in BPF program"
                );
            }
            let returned = self
                .prototype(nr)
                .and_then(|p| self.btf.resolve(p.size_or_type));
            let number = returned.is_some_and(|(_, t)| t.is_small_number());
            let body = insns.get(start..shape.end(nr)).unwrap_or(&[]);
            if nr > 0 && !number && body.iter().any(structure::is_packet_load) {
                bail!(
                    EINVAL,
                    "LD_ABS is only allowed in functions that return 'int'."
                );
            }
            if nr > 0 && !number && body.iter().any(structure::is_tail_call) {
                bail!(
                    EINVAL,
                    "tail_call is only allowed in functions that return 'int'."
                );
            }
        }
        Ok(())
    }

    fn lines_fit(&self, insns: &[Insn], shape: &Shape) -> Res<()> {
        if self.info.lines.is_empty() {
            return Ok(());
        }
        let mut starts = shape.starts.iter().enumerate().peekable();
        let mut before = 0;
        for (i, l) in self.info.lines.iter().enumerate() {
            let Some(insn) = insns
                .get(l.insn as usize)
                .filter(|_| i == 0 || l.insn > before)
            else {
                bail!(
                    EINVAL,
                    "Invalid line_info[{i}].insn_off:{} (prev_offset:{before} prog->len:{})",
                    l.insn,
                    insns.len()
                );
            };
            if insn.opcode == 0 {
                bail!(EINVAL, "Invalid insn code at line_info[{i}].insn_off");
            }
            if !self.btf.has_string(l.text) || !self.btf.has_string(l.file) {
                bail!(EINVAL, "Invalid line_info[{i}].line_off or .file_name_off");
            }
            match starts.peek() {
                Some(&(_, &s)) if l.insn as usize == s => drop(starts.next()),
                Some(&(nr, &s)) if s < l.insn as usize => {
                    bail!(EINVAL, "missing bpf_line_info for func#{nr}")
                }
                _ => {}
            }
            before = l.insn;
        }
        if let Some(&(nr, _)) = starts.peek() {
            let missing = shape.starts.len() - nr;
            bail!(
                EINVAL,
                "missing bpf_line_info for {missing} funcs starting from func#{nr}"
            );
        }
        Ok(())
    }

    fn function(&self, subprog: usize) -> Option<Type<'a>> {
        function(&self.btf, self.info.funcs.get(subprog)?.type_id)
    }

    fn prototype(&self, subprog: usize) -> Option<Type<'a>> {
        self.btf.get(self.function(subprog)?.size_or_type)
    }

    /// Whether a function is verified on its own.
    pub fn is_global(&self, subprog: usize) -> bool {
        self.function(subprog)
            .is_some_and(|f| f.vlen() == linkage::GLOBAL)
    }

    /// Whether a helper may call the function back.
    pub fn may_be_callback(&self, subprog: usize) -> bool {
        self.function(subprog)
            .is_none_or(|f| f.vlen() == linkage::STATIC)
    }

    /// Its name, empty where there is none.
    pub fn name(&self, subprog: usize) -> &'a str {
        self.function(subprog).map_or("", |f| self.btf.text(f.name))
    }

    /// What a global function takes.
    pub fn signature(&mut self, subprog: usize, desc: &ProgramDesc<'_>) -> Res<Rc<Signature>> {
        if let Some(Some(known)) = self.signatures.get(subprog) {
            return known.clone();
        }
        let id = self.info.funcs.get(subprog).map_or(0, |f| f.type_id);
        let tags = self.tags.get_or_insert_with(|| ArgTags::read(&self.btf));
        let found = signature::of(&self.btf, tags, id, desc.prog_type).map(Rc::new);
        if let Some(place) = self.signatures.get_mut(subprog) {
            *place = Some(found.clone());
        }
        found
    }

    /// The line that an instruction belongs to.
    pub fn line_of(&self, insn: usize) -> Option<&'a LineInfo> {
        LineInfo::of(self.info.lines, insn)
    }

    /// A line as the log shows it.
    pub fn line_text(&self, line: &LineInfo) -> String {
        line.show(&self.btf)
    }
}

fn function<'a>(btf: &Btf<'a>, id: u32) -> Option<Type<'a>> {
    btf.get(id).filter(|t| t.kind() == kind::FUNC)
}
