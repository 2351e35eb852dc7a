//! BTF: what programs and maps say of their types.

use crate::error::{CallerError, Error, Result};
use crate::vm::Vm;
use bpf_core::btf;
use bpf_core::program::{FuncInfo, LineInfo};
use std::sync::Arc;

/// Type information in a VM. It lives as long as a copy of this, or a program or
/// map that was made with it.
#[derive(Clone, Debug)]
#[doc(alias = "BPF_BTF_LOAD")]
pub struct Btf {
    pub(crate) object: Arc<BtfObject>,
}

impl Vm {
    /// Keeps a BTF blob: what stands in the `.BTF` section of an object, in the
    /// byte order of this machine.
    ///
    /// # Errors
    /// Linux's errno for what it does not take: EINVAL where it is malformed.
    ///
    /// ```no_run
    /// # fn main() -> bpfvisor::Result<()> {
    /// # let vm = bpfvisor::Vm::builder().boot()?;
    /// // Header: magic and version, its length, where types and strings lie. Then one
    /// // type, `int`, and the strings.
    /// let words = [0x1_eb9f_u32, 24, 0, 16, 16, 5, 1, 1 << 24, 4, 1 << 24 | 32];
    /// let mut blob: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    /// blob.extend(b"\0int\0");
    /// let btf = vm.load_btf(&blob)?;
    /// assert!(btf.id() > 0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "BPF_BTF_LOAD")]
    pub fn load_btf(&self, blob: &[u8]) -> Result<Btf> {
        btf::Btf::checked(blob).map_err(|d| CallerError::Create {
            what: format!("BTF: {d}"),
            errno: d.errno,
        })?;
        self.keep_btf(blob)
    }

    /// [`Vm::load_btf`], also of what Linux would not take as it is: libbpf mends
    /// the sections of variables first.
    pub(crate) fn keep_btf(&self, blob: &[u8]) -> Result<Btf> {
        let object = BtfObject::add(self, blob)?;
        Ok(Btf { object })
    }
}

impl Btf {
    /// Its id, as `BPF_OBJ_GET_INFO_BY_FD` answers for programs and maps.
    pub fn id(&self) -> u32 {
        self.object.id
    }
}

/// Types that were loaded.
pub(crate) struct BtfObject {
    pub id: u32,
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for BtfObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BtfObject").field("id", &self.id).finish()
    }
}

impl BtfObject {
    /// A new one of this VM.
    pub fn add(vm: &Vm, blob: &[u8]) -> Result<Arc<Self>> {
        btf::Btf::parse(blob).map_err(|_| Error::argument("the BTF is damaged"))?;
        let ids = &vm.inner.registry.btf_ids;
        Ok(ids.add(|id| Self {
            id,
            bytes: blob.into(),
        }))
    }
}

/// A program's BTF, and how its instructions refer to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypeInfo {
    pub btf: Option<Arc<BtfObject>>,
    pub funcs: Vec<FuncInfo>,
    pub lines: Vec<LineInfo>,
}

impl TypeInfo {
    /// With each instruction where it is now.
    pub fn placed(mut self, place: impl Fn(u32) -> u32) -> Self {
        for f in &mut self.funcs {
            f.insn = place(f.insn);
        }
        for l in &mut self.lines {
            l.insn = place(l.insn);
        }
        self
    }

    /// As it goes over to the guest.
    pub fn sent(&self) -> bpfvisor_vmm::TypeInfo {
        let (funcs, lines) = (self.funcs.iter(), self.lines.iter());
        bpfvisor_vmm::TypeInfo {
            btf: self
                .btf
                .as_ref()
                .map(|b| b.bytes.clone())
                .unwrap_or_default(),
            func_info: funcs.flat_map(|f| f.to_bytes()).collect(),
            line_info: lines.flat_map(|l| l.to_bytes()).collect(),
        }
    }

    /// The source line of an instruction, with its file and number.
    pub fn source(&self, insn: u32) -> Option<String> {
        let line = LineInfo::of(&self.lines, insn as usize)?;
        let btf = btf::Btf::parse(&self.btf.as_ref()?.bytes).ok()?;
        Some(line.show(&btf))
    }
}
