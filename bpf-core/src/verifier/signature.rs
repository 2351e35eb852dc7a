//! What a global function takes, by its BTF (`btf_prepare_func_args`). The
//! function is verified for any such arguments, calls of it are checked for them.
use super::reject::{Res, bail, unsupported};
use crate::btf::{Btf, Type, kind};
use crate::uapi::ProgType;
use crate::uapi::errno::{EFAULT, EINVAL, EOPNOTSUPP};
use alloc::vec::Vec;

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// Any number.
    Scalar,
    /// The program's context.
    Ctx,
    /// Memory of so many bytes, to read and to write.
    Mem { size: i32, or_null: bool },
}

/// All parameters of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub params: Vec<Param>,
}

/// `MAX_BPF_FUNC_REG_ARGS`.
const REGISTERS: u32 = 5;

/// A declaration tag of a parameter, `arg:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Ctx,
    Trusted,
    Untrusted,
    Nonnull,
    Nullable,
    Arena,
    Other,
}

/// Tags by function and parameter, each once, sorted.
pub(crate) struct ArgTags(Vec<(u32, u32, Tag)>);

impl ArgTags {
    /// All of them.
    pub fn read(btf: &Btf<'_>) -> Self {
        let found = btf.all().filter(|(_, t)| t.kind() == kind::DECL_TAG);
        let found = found.filter_map(|(_, t)| {
            let tag = Tag::of(btf.tail(t.name).strip_prefix(b"arg:")?);
            Some((t.size_or_type, t.word(0), tag))
        });
        let mut all: Vec<_> = found.collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// Of one parameter.
    fn of(&self, function: u32, nr: u32) -> Tags<'_> {
        let begin = self.0.partition_point(|t| (t.0, t.1) < (function, nr));
        let end = self.0.partition_point(|t| (t.0, t.1) <= (function, nr));
        Tags(self.0.get(begin..end).unwrap_or_default())
    }
}

impl Tag {
    fn of(text: &[u8]) -> Self {
        const KNOWN: [(&[u8], Tag); 6] = [
            (b"ctx\0", Tag::Ctx),
            (b"trusted\0", Tag::Trusted),
            (b"untrusted\0", Tag::Untrusted),
            (b"nonnull\0", Tag::Nonnull),
            (b"nullable\0", Tag::Nullable),
            (b"arena\0", Tag::Arena),
        ];
        let known = KNOWN.iter().find(|(name, _)| text.starts_with(name));
        known.map_or(Self::Other, |(_, tag)| *tag)
    }
}

/// The tags of one parameter.
#[derive(Clone, Copy)]
struct Tags<'t>(&'t [(u32, u32, Tag)]);

impl Tags<'_> {
    fn has(self, tag: Tag) -> bool {
        self.0.iter().any(|t| t.2 == tag)
    }

    /// No tag but these.
    fn only(self, some: &[Tag]) -> bool {
        self.0.iter().all(|t| some.contains(&t.2))
    }
}

/// Of the function with this type.
pub(crate) fn of(btf: &Btf<'_>, tags: &ArgTags, id: u32, prog_type: ProgType) -> Res<Signature> {
    let function = btf.get(id).filter(|t| t.kind() == kind::FUNC);
    let proto = function.and_then(|f| btf.get(f.size_or_type));
    let (Some(function), Some(proto)) = (function, proto) else {
        bail!(EFAULT, "BTF of the function is invalid");
    };
    let name = btf.text(function.name);
    let count = proto.vlen();
    if count > REGISTERS {
        bail!(
            EINVAL,
            "Global function {name}() with {count} > {REGISTERS} args. Buggy compiler."
        );
    }
    let returned = btf.resolve(proto.size_or_type);
    if !returned.is_some_and(|(_, t)| is_number(&t)) {
        bail!(
            EINVAL,
            "Global function {name}() doesn't return scalar. Only those are supported."
        );
    }
    let reader = Reader {
        btf,
        name,
        prog_type,
    };
    let params = (0..count)
        .map(|nr| reader.param(nr, proto.word(nr as usize * 2 + 1), tags.of(id, nr)))
        .collect::<Res<_>>()?;
    Ok(Signature { params })
}

fn is_number(t: &Type<'_>) -> bool {
    t.kind() == kind::INT || t.is_enum()
}

struct Reader<'b, 'a> {
    btf: &'b Btf<'a>,
    name: &'a str,
    prog_type: ProgType,
}

impl Reader<'_, '_> {
    fn param(&self, nr: u32, id: u32, tags: Tags<'_>) -> Res<Param> {
        if tags.has(Tag::Other) {
            bail!(EOPNOTSUPP, "arg#{nr} has unsupported set of tags");
        }
        let Some((_, t)) = self.btf.resolve(id) else {
            bail!(EINVAL, "arg#{nr} has no type");
        };
        if t.kind() == kind::PTR {
            return self.pointer(nr, &t, tags);
        }
        if !tags.only(&[]) {
            bail!(
                EINVAL,
                "arg#{nr} has pointer tag, but is not a pointer type"
            );
        }
        if is_number(&t) {
            return Ok(Param::Scalar);
        }
        let (kind, name) = (t.kind_name(), self.name);
        bail!(
            EINVAL,
            "Arg#{nr} type {kind} in {name}() is not supported yet."
        )
    }

    fn pointer(&self, nr: u32, t: &Type<'_>, tags: Tags<'_>) -> Res<Param> {
        let to = self.btf.resolve(t.size_or_type);
        let (context, dynptr) = (self.is_context(to.as_ref()), self.is_dynptr(to.as_ref()));
        let fine = match () {
            () if tags.has(Tag::Ctx) || context => tags.only(&[Tag::Ctx]),
            () if dynptr => tags.only(&[]),
            () if tags.has(Tag::Trusted) => !tags.has(Tag::Nonnull),
            () if tags.has(Tag::Untrusted) => tags.only(&[Tag::Untrusted]),
            () if tags.has(Tag::Arena) => tags.only(&[Tag::Arena]),
            () => !tags.has(Tag::Nullable),
        };
        if !fine {
            bail!(EINVAL, "arg#{nr} has invalid combination of tags");
        }
        if tags.has(Tag::Ctx) {
            self.check_context(nr, to.as_ref())?;
        }
        if tags.has(Tag::Ctx) || context {
            return Ok(Param::Ctx);
        }
        if dynptr {
            unsupported!("dynptrs as arguments of global functions (arg#{nr})");
        }
        if tags.has(Tag::Trusted) || tags.has(Tag::Untrusted) {
            unsupported!("pointers to kernel objects as arguments of global functions (arg#{nr})");
        }
        if tags.has(Tag::Arena) {
            unsupported!("arena pointers as arguments of global functions (arg#{nr})");
        }
        self.memory(nr, to, !tags.has(Tag::Nonnull))
    }

    fn memory(&self, nr: u32, to: Option<(u32, Type<'_>)>, or_null: bool) -> Res<Param> {
        let size = to.and_then(|(id, _)| self.btf.size(id));
        let Some(size) = size else {
            let (kind, name) = to.map_or(("UNKNOWN", ""), |(_, t)| {
                (t.kind_name(), self.btf.text(t.name))
            });
            bail!(
                EINVAL,
                "arg#{nr} reference type('{kind} {name}') size cannot be determined: -22"
            );
        };
        let Ok(size) = i32::try_from(size) else {
            unsupported!("arguments of global functions that point to 2 GiB or more (arg#{nr})");
        };
        Ok(Param::Mem { size, or_null })
    }

    /// Whether the type is named like the context of such programs, or like what
    /// the kernel makes of it.
    fn is_context(&self, to: Option<&(u32, Type<'_>)>) -> bool {
        let Some(name) = to
            .filter(|(_, t)| t.is_struct())
            .map(|(_, t)| self.btf.text(t.name))
        else {
            return false;
        };
        match context_name(self.prog_type) {
            Some("__sk_buff") => matches!(name, "__sk_buff" | "sk_buff"),
            Some("xdp_md") => matches!(name, "xdp_md" | "xdp_buff"),
            Some(context) => name == context,
            None => false,
        }
    }

    /// Whether `arg:ctx` may stand at such a pointer.
    fn check_context(&self, nr: u32, to: Option<&(u32, Type<'_>)>) -> Res<()> {
        let Some((id, t)) = to else {
            bail!(EINVAL, "arg#{nr} type doesn't have a name");
        };
        if self.prog_type == ProgType::Flat {
            bail!(EINVAL, "arg#{nr}: programs of this type have no context");
        }
        if *id == 0 {
            return Ok(()); // void *
        }
        let Some(context) = context_name(self.prog_type) else {
            bail!(EINVAL, "arg#{nr} should be void pointer");
        };
        let name = self.btf.text(t.name);
        if name.is_empty() {
            bail!(EINVAL, "arg#{nr} type doesn't have a name");
        }
        if t.kind() != kind::STRUCT || name != context {
            bail!(EINVAL, "arg#{nr} should be `struct {context} *`");
        }
        Ok(())
    }

    fn is_dynptr(&self, to: Option<&(u32, Type<'_>)>) -> bool {
        to.is_some_and(|(_, t)| {
            let structure = t.is_struct() || (t.kind() == kind::FWD && !t.flag());
            structure && self.btf.text(t.name) == "bpf_dynptr"
        })
    }
}

/// The structure that programs get as their context, where it has a name.
fn context_name(prog_type: ProgType) -> Option<&'static str> {
    use ProgType::*;
    Some(match prog_type {
        Xdp => "xdp_md",
        SocketFilter | SchedCls | SchedAct | CgroupSkb | SkSkb | FlowDissector => "__sk_buff",
        LwtIn | LwtOut | LwtXmit | LwtSeg6local => "__sk_buff",
        CgroupSock => "bpf_sock",
        CgroupSockAddr => "bpf_sock_addr",
        CgroupDevice => "bpf_cgroup_dev_ctx",
        CgroupSysctl => "bpf_sysctl",
        CgroupSockopt => "bpf_sockopt",
        SockOps => "bpf_sock_ops",
        SkMsg => "sk_msg_md",
        SkReuseport => "sk_reuseport_md",
        SkLookup => "bpf_sk_lookup",
        PerfEvent => "bpf_perf_event_data",
        RawTracepoint => "bpf_raw_tracepoint_args",
        Kprobe => "pt_regs",
        _ => return None,
    })
}
