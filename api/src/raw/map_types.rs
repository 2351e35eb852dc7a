//! What BTF says of a map: types of the sizes that key and value have, and where a
//! value has its spin lock (`map_check_btf`, `btf_parse_fields`).

use super::attr::MapCreate;
use super::btf::from_fd;
use super::call::{Result, invalid, refuse};
use crate::map::lock_refused;
use crate::types::BtfObject;
use crate::vm::Vm;
use bpf_core::btf::{Btf, Type, kind};
use bpf_core::uapi::{MapType, errno};
use std::sync::Arc;

/// What a map's BTF says.
#[derive(Clone, Debug)]
pub(crate) struct MapTypes {
    pub btf: Arc<BtfObject>,
    pub key: u32,
    pub value: u32,
    /// Offset of a spin lock in the values.
    pub spin_lock: Option<u32>,
}

/// Structures that mean something to the kernel where they stand in values.
const SPECIAL: &[&str] = &[
    "bpf_timer",
    "bpf_wq",
    "bpf_task_work",
    "bpf_res_spin_lock",
    "bpf_list_head",
    "bpf_rb_root",
    "bpf_refcount",
];
/// Structures are looked at as deep as the kernel looks.
const DEPTH: u32 = 32;

/// The types of a map to create; `None` where it names none.
pub(super) fn read(vm: &Vm, attr: &MapCreate, map_type: MapType) -> Result<Option<MapTypes>> {
    let (key, value) = (attr.btf_key_type_id, attr.btf_value_type_id);
    if key == 0 && value == 0 {
        return Ok(None);
    }
    let object = from_fd(vm, attr.btf_fd)?;
    let btf = Btf::parse(&object.bytes).map_err(|_| invalid("the BTF is damaged"))?;
    let key_type = match key {
        0 => None,
        id => Some(sized(&btf, id, attr.key_size, "key")?),
    };
    if key_type.is_none() && !has_rules(map_type) {
        return Err(invalid("btf_key_type_id is missing"));
    }
    let value_type = sized(&btf, value, attr.value_size, "value")?;
    let mut locks = Vec::new();
    find_locks(&btf, &value_type, 0, DEPTH, &mut locks)?;
    if !locks.is_empty()
        && let Some(errno) = lock_refused(map_type, attr.map_flags)
    {
        let name = map_type.name();
        let text = format!("maps of type {name} with these flags have no spin locks");
        return Err(refuse(errno, text));
    }
    own_rules(attr, map_type, key_type.as_ref(), &value_type)?;
    Ok(Some(MapTypes {
        btf: object,
        key,
        value,
        spin_lock: locks.first().copied(),
    }))
}

/// A type of this size, modifiers taken off.
fn sized<'a>(btf: &Btf<'a>, id: u32, size: u32, what: &str) -> Result<Type<'a>> {
    let of = match btf.get(id) {
        Some(variable) if variable.kind() == kind::VAR => variable.size_or_type,
        _ => id,
    };
    let (id, found) = btf.resolve(of).unwrap_or((0, Type::VOID));
    let has = match found.kind() {
        kind::DATASEC => Some(found.size_or_type),
        _ => btf.size(id),
    };
    if has != Some(size) {
        return Err(invalid(format!(
            "btf_{what}_type_id: the type has {}, the map's {what}s have {size} bytes",
            has.map_or("no size".into(), |n| format!("{n} bytes"))
        )));
    }
    Ok(found)
}

/// Whether the type of map looks at types by itself (`map_check_btf`).
fn has_rules(map_type: MapType) -> bool {
    use MapType::*;
    takes_none(map_type) || matches!(map_type, Array | PercpuArray | LpmTrie | BloomFilter)
}

/// `map_check_no_btf`.
fn takes_none(map_type: MapType) -> bool {
    use MapType::*;
    matches!(
        map_type,
        PerfEventArray | CgroupArray | ArrayOfMaps | Devmap | DevmapHash | Cpumap | Xskmap
    )
}

fn own_rules(
    attr: &MapCreate,
    map_type: MapType,
    key: Option<&Type<'_>>,
    value: &Type<'_>,
) -> Result<()> {
    let array = matches!(map_type, MapType::Array | MapType::PercpuArray);
    let number = |t: &Type<'_>| {
        let whole = t.int_bits() == 32 && t.int_offset() == 0;
        t.kind() == kind::INT && t.size_or_type == 4 && whole
    };
    let fits = match (map_type, key) {
        _ if takes_none(map_type) => {
            let name = map_type.name();
            let text = format!("maps of type {name} take no BTF");
            return Err(refuse(errno::ENOTSUPP, text));
        }
        (MapType::Array, None) => attr.max_entries == 1 && value.kind() == kind::DATASEC,
        (_, Some(key)) if array => number(key),
        (MapType::LpmTrie, Some(key)) => key.kind() == kind::STRUCT,
        (MapType::BloomFilter, key) => key.is_none(),
        (_, key) => key.is_some(),
    };
    match fits {
        true => Ok(()),
        false => Err(invalid(format!(
            "maps of type {} take no such type of key",
            map_type.name()
        ))),
    }
}

/// Offsets of spin locks in a structure and in those inside.
fn find_locks(
    btf: &Btf<'_>,
    of: &Type<'_>,
    base: u32,
    depth: u32,
    found: &mut Vec<u32>,
) -> Result<()> {
    let too_much = |what: &str| refuse(errno::E2BIG, format!("the value's type: {what}"));
    let depth = depth.checked_sub(1).ok_or_else(|| too_much("too deep"))?;
    if of.kind() != kind::STRUCT {
        return Ok(());
    }
    for m in of.members() {
        let (mut t, mut count) = (btf.get(m.of).unwrap_or(Type::VOID), 1u32);
        for _ in 0..DEPTH {
            if t.kind() == kind::ARRAY {
                count = count.saturating_mul(t.word(2));
                t = btf.get(t.word(0)).unwrap_or(Type::VOID);
            }
        }
        let name = btf.text(t.name);
        if count == 0 || t.kind() != kind::STRUCT {
            continue;
        }
        if SPECIAL.contains(&name) {
            let text = format!("values with a {name} are not supported by this version");
            return Err(refuse(errno::EOPNOTSUPP, text));
        }
        let bits = m.bit_offset(of);
        let at = base.saturating_add(bits / 8);
        let before = found.len();
        if name != "bpf_spin_lock" {
            find_locks(btf, &t, at, depth, found)?;
        } else if t.size_or_type == 4 && bits % 32 == 0 {
            found.push(at);
        }
        if found.len() > before && count > 1 {
            return Err(invalid("an array of spin locks"));
        }
        if found.len() > 1 {
            return Err(too_much("two spin locks"));
        }
    }
    Ok(())
}
