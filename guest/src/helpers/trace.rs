//! Text for the host: the trace ring of the vCPU.
use super::Args;
use super::format::{self, Values};
use crate::env::Env;
use crate::memory::bytes;
use bpf_core::uapi::errno;

/// The longest text of one call (`MAX_BPRINTF_BUF`).
const TEXT_MAX: usize = 1024;

/// `bpf_trace_printk(fmt, fmt_size, a, b, c)`: length of the text.
pub fn printk(env: &Env<'_>, [fmt, size, a, b, c]: Args) -> Result<u64, i32> {
    print(env, fmt, size, &Values::registers([a, b, c]))
}

/// `bpf_trace_vprintk(fmt, fmt_size, data, data_len)`.
pub fn vprintk(env: &Env<'_>, [fmt, size, data, len, _]: Args) -> Result<u64, i32> {
    print(env, fmt, size, &Values::array(data, u64::from(len as u32))?)
}

fn print(env: &Env<'_>, fmt: u64, size: u64, values: &Values) -> Result<u64, i32> {
    let fmt = bytes(fmt, u64::from(size as u32));
    let end = fmt.iter().position(|&b| b == 0).ok_or(errno::EINVAL)?;
    let mut text = [0; TEXT_MAX];
    let whole = format::print(env, &mut text, fmt.get(..end).unwrap_or_default(), values)?;
    let len = whole.min(TEXT_MAX - 1);
    let text = text.get(..len).unwrap_or_default();
    if let Some(v) = env.rt.vcpu(env.vcpu) {
        v.trace(text);
        if text.last() != Some(&b'\n') {
            v.trace(b"\n");
        }
    }
    Ok(len as u64)
}
