//! `BPF_PROG_LOAD`.

use super::attr::ProgLoad;
use super::call::{Call, Result, answer, invalid, name, refuse};
use super::{Refused, UserMemory, btf};
use crate::error::Error;
use crate::packet::MAX_PACKET;
use crate::spec::ProgramSpec;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{ProgType, errno, limits, prog_flags};
use std::mem::offset_of;
use std::os::fd::RawFd;

/// All bits of `log_level`.
const LOG_MASK: u32 = 15;
/// Bytes of a license that are looked at.
const LICENSE: usize = 127;
/// Most maps that `fd_array_cnt` may bind.
const MOST_FDS: u32 = 4096;

pub(super) fn load<M: UserMemory>(call: &mut Call<'_, M>) -> Result<i64> {
    let attr: ProgLoad = call.get()?;
    check_flags(&attr)?;
    if attr.insn_cnt == 0 || attr.insn_cnt > limits::COMPLEXITY_INSNS {
        let count = attr.insn_cnt;
        return Err(refuse(
            errno::E2BIG,
            format!("{count} instructions, expected 1 to 1000000"),
        ));
    }
    if attr.attach_btf_id != 0 || attr.attach_prog_fd != 0 {
        return Err(invalid("no program of these types attaches to another one"));
    }
    let insns = instructions(call, &attr)?;
    let license = call.read_string(attr.license, LICENSE)?;
    let prog_type = ProgType::from_u32(attr.prog_type)
        .ok_or_else(|| invalid(format!("there is no program type {}", attr.prog_type)))?;
    let name = name(&attr.prog_name)?;
    let log = Log::new(&attr)?;
    let types = btf::type_info(call, &attr)?;
    let (fds, bind) = fd_array(call, &attr, &insns)?;
    let mut spec = ProgramSpec::new(prog_type, insns)
        .license(&license)
        .name(&name)
        .log_level(attr.log_level)
        .log_size(attr.log_size)
        .flags(attr.prog_flags)
        .attach_type(attr.expected_attach_type);
    spec.fd_array = fds;
    spec.bind = bind;
    spec.types = types;
    if prog_type == ProgType::Flat {
        // No attach type: the field says how much memory every run brings.
        spec = spec
            .attach_type(0)
            .flat_memory(attr.expected_attach_type, MAX_PACKET as u32);
    }
    log.deliver(call, load_spec(call, spec))
}

/// Loads; the program's descriptor, its log and the log's whole size.
pub(super) fn load_spec<M: UserMemory>(
    call: &Call<'_, M>,
    spec: ProgramSpec<'_>,
) -> std::result::Result<Loaded, Error> {
    let (core, fd) = call.session.vm().new_program(spec)?;
    Ok(Loaded { fd, core })
}

pub(super) struct Loaded {
    pub fd: std::os::fd::OwnedFd,
    pub core: crate::program::ProgramCore,
}

fn check_flags(attr: &ProgLoad) -> Result<()> {
    const KNOWN: u32 = prog_flags::STRICT_ALIGNMENT
        | prog_flags::ANY_ALIGNMENT
        | prog_flags::TEST_RND_HI32
        | prog_flags::TEST_STATE_FREQ
        | prog_flags::SLEEPABLE
        | prog_flags::XDP_HAS_FRAGS
        | prog_flags::XDP_DEV_BOUND_ONLY
        | prog_flags::TEST_REG_INVARIANTS;
    let unknown = attr.prog_flags & !KNOWN;
    if unknown != 0 {
        return Err(invalid(format!("unknown prog_flags {unknown:#x}")));
    }
    if attr.prog_flags & prog_flags::XDP_DEV_BOUND_ONLY != 0 || attr.prog_ifindex != 0 {
        return Err(invalid("programs can't be bound to a device here"));
    }
    if attr.signature != 0 {
        return Err(refuse(
            errno::EOPNOTSUPP,
            "signatures of programs are not supported by this version of bpfvisor",
        ));
    }
    Ok(())
}

fn instructions<M: UserMemory>(call: &Call<'_, M>, attr: &ProgLoad) -> Result<Vec<Insn>> {
    let bytes = call.read_vec(attr.insns, attr.insn_cnt as usize * 8)?;
    let (slots, _) = bytes.as_chunks::<8>();
    Ok(slots.iter().map(|s| Insn::from_bytes(*s)).collect())
}

/// The descriptors that instructions index, and those that are to be bound. Of
/// what lies behind `fd_array_cnt` only those that some instruction names are
/// read.
fn fd_array<M: UserMemory>(
    call: &Call<'_, M>,
    attr: &ProgLoad,
    insns: &[Insn],
) -> Result<(Vec<RawFd>, Vec<RawFd>)> {
    let at = |index: u32| -> Result<RawFd> {
        let mut word = [0; 4];
        let addr = attr.fd_array.wrapping_add(u64::from(index) * 4);
        call.read(addr, &mut word)?;
        Ok(RawFd::from_ne_bytes(word))
    };
    if attr.fd_array_cnt > MOST_FDS {
        return Err(refuse(
            errno::E2BIG,
            format!("fd_array_cnt is over {MOST_FDS}"),
        ));
    }
    let bind: Vec<RawFd> = (0..attr.fd_array_cnt).map(at).collect::<Result<_>>()?;
    let mut fds = bind.clone();
    for index in named_indices(insns) {
        if attr.fd_array == 0 {
            return Err(refuse(
                errno::EPROTO,
                "an instruction indexes fd_array, which is not given",
            ));
        }
        if index > MOST_FDS {
            return Err(invalid(format!("index {index} into fd_array is too large")));
        }
        let end = index as usize + 1;
        fds.resize(fds.len().max(end), -1);
        fds[index as usize] = at(index)?;
    }
    Ok((fds, bind))
}

fn named_indices(insns: &[Insn]) -> impl Iterator<Item = u32> {
    let by_index =
        |i: &&Insn| i.is_wide() && matches!(i.src, op::PSEUDO_MAP_IDX | op::PSEUDO_MAP_IDX_VALUE);
    insns.iter().filter(by_index).map(|i| i.imm as u32)
}

/// Where the verifier's log is to go.
pub(super) struct Log {
    addr: u64,
    size: u32,
    level: u32,
}

impl Log {
    fn new(attr: &ProgLoad) -> Result<Self> {
        let log = Self {
            addr: attr.log_buf,
            size: attr.log_size,
            level: attr.log_level,
        };
        if (log.addr == 0) != (log.size == 0) {
            return Err(invalid("log_buf and log_size: both or neither"));
        }
        if log.addr != 0 && log.level == 0 {
            return Err(invalid("log_buf without log_level"));
        }
        if log.level & !LOG_MASK != 0 || log.size > u32::MAX >> 2 {
            return Err(invalid("log_level or log_size is out of range"));
        }
        Ok(log)
    }

    /// Writes the log and its size to the caller, then gives the load's answer.
    fn deliver<M: UserMemory>(
        &self,
        call: &mut Call<'_, M>,
        loaded: std::result::Result<Loaded, Error>,
    ) -> Result<i64> {
        let (text, size) = match &loaded {
            Ok(l) => (l.core.info.load.log.clone(), l.core.info.load.log_true_size),
            Err(Error::Program(r)) if r.log_true_size > 1 => (r.log.clone(), r.log_true_size),
            // Refused before the verifier saw it: the log says why.
            Err(e) if self.level != 0 => {
                let text = format!("{e}\n");
                let size = text.len() as u32 + 1;
                (text, size)
            }
            Err(_) => (String::new(), 0),
        };
        call.put(offset_of!(ProgLoad, log_true_size), size);
        if self.addr != 0 {
            let room = self.size as usize - 1;
            let mut bytes = text.into_bytes();
            bytes.truncate(room);
            bytes.push(0);
            call.write(self.addr, &bytes)?;
        }
        answer(loaded.map_err(Refused::from)?.fd)
    }
}
