//! Whether types refer to what they may, without end (`btf_check_all_types`).
//!
//! Linux follows references with a stack of at most 32, in one of three modes: from a
//! pointer on, structures and arrays are ends; from a structure or array on,
//! pointers are. What is found on the stack again is a loop.
use super::check::{Damage, Res, damage, invalid};
use super::{Btf, Type, kind, member};
use crate::uapi::errno::{E2BIG, EEXIST};
use alloc::format;
use alloc::vec::Vec;

/// `MAX_RESOLVE_DEPTH`.
pub(super) const DEEPEST: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Visited,
    Resolved,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Any,
    Pointer,
    Structure,
}

/// A type on the stack, and its next member.
struct Open {
    id: u32,
    next: usize,
}

/// What is known of one type.
#[derive(Clone, Copy)]
struct Known {
    state: State,
    /// Modifiers and pointers: what they come down to.
    id: u32,
    /// Arrays and variables.
    size: u32,
}

pub(super) struct Resolver<'b, 'a> {
    pub btf: &'b Btf<'a>,
    known: Vec<Known>,
    stack: Vec<Open>,
    mode: Mode,
}

/// Checks all types.
pub(super) fn all(btf: &Btf<'_>) -> Res<()> {
    let new = Known {
        state: State::New,
        id: 0,
        size: 0,
    };
    let mut resolver = Resolver {
        btf,
        known: alloc::vec![new; btf.len() as usize],
        stack: Vec::new(),
        mode: Mode::Any,
    };
    for (id, t) in btf.all() {
        let named = |d: Damage| damage(d.errno, format!("[{id}] {}", d.what));
        resolver.ensure(id, &t).map_err(named)?;
        if t.kind() == kind::FUNC_PROTO {
            resolver.prototype(&t).map_err(named)?;
        }
    }
    Ok(())
}

/// Whether what it refers to has to be looked at.
fn needs_resolving(t: &Type<'_>) -> bool {
    let refers = matches!(
        t.kind(),
        kind::PTR | kind::ARRAY | kind::VAR | kind::FUNC | kind::DECL_TAG | kind::DATASEC
    );
    refers || t.is_modifier() || t.is_struct()
}

/// Nothing may refer to it, but tags and sections.
fn is_source_only(t: &Type<'_>) -> bool {
    matches!(t.kind(), kind::VAR | kind::DECL_TAG | kind::DATASEC)
}

fn has_no_size(t: &Type<'_>) -> bool {
    matches!(
        t.kind(),
        kind::VOID | kind::FWD | kind::FUNC | kind::FUNC_PROTO | kind::DECL_TAG
    )
}

/// `btf_type_int_is_regular`.
pub(super) fn is_regular_int(t: &Type<'_>) -> bool {
    t.int_offset() == 0 && matches!(t.int_bits(), 8 | 16 | 32 | 64 | 128)
}

impl<'a> Resolver<'_, 'a> {
    fn is_resolved(&self, id: u32) -> bool {
        self.known
            .get(id as usize)
            .is_some_and(|k| k.state == State::Resolved)
    }

    /// Where following a reference ends, by the mode.
    fn is_end(&self, t: &Type<'_>) -> bool {
        let pointer = t.kind() == kind::PTR;
        let whole = t.is_struct() || t.kind() == kind::ARRAY;
        match self.mode {
            Mode::Any => !needs_resolving(t),
            Mode::Pointer => !(t.is_modifier() || pointer),
            Mode::Structure => !(t.is_modifier() || whole),
        }
    }

    fn push(&mut self, id: u32, t: &Type<'_>) -> Res<()> {
        if self.stack.len() == DEEPEST {
            return Err(damage(E2BIG, "Exceeded max resolving depth:32"));
        }
        match self.known.get_mut(id as usize) {
            Some(k) if k.state == State::New && id != 0 => k.state = State::Visited,
            _ => return Err(damage(EEXIST, "Loop detected")),
        }
        self.stack.push(Open { id, next: 0 });
        if self.mode == Mode::Any {
            match t.kind() {
                kind::PTR => self.mode = Mode::Pointer,
                kind::STRUCT | kind::UNION | kind::ARRAY => self.mode = Mode::Structure,
                _ => {}
            }
        }
        Ok(())
    }

    fn pop(&mut self, to: u32, size: u32) -> Res<()> {
        if let Some(open) = self.stack.pop()
            && let Some(k) = self.known.get_mut(open.id as usize)
        {
            *k = Known {
                state: State::Resolved,
                id: to,
                size,
            };
        }
        Ok(())
    }

    /// Follows a type, unless that was done.
    fn ensure(&mut self, id: u32, t: &Type<'a>) -> Res<()> {
        if !needs_resolving(t) || self.is_resolved(id) {
            return Ok(());
        }
        self.mode = Mode::Any;
        self.push(id, t)?;
        while let Some(open) = self.stack.last() {
            let (id, next) = (open.id, open.next);
            let Some(t) = self.btf.get(id) else {
                return invalid("Invalid type_id");
            };
            self.step(&t, next)?;
        }
        if !self.makes_sense(id, t) {
            return invalid("Invalid resolve state");
        }
        Ok(())
    }

    fn step(&mut self, t: &Type<'a>, next: usize) -> Res<()> {
        match t.kind() {
            kind::STRUCT | kind::UNION => self.structure(t, next),
            kind::ARRAY => self.array(t),
            kind::DATASEC => self.section(t, next),
            kind::FUNC => self.function(t),
            kind::DECL_TAG => self.tag(t),
            _ => self.reference(t),
        }
    }

    /// The type that a reference leads to, unless it has to be followed first.
    fn follow(&mut self, id: u32, what: &str, sized: bool) -> Res<Option<Type<'a>>> {
        let next = self.btf.get(id).filter(|n| !is_source_only(n));
        let Some(next) = next.filter(|n| !(sized && has_no_size(n))) else {
            return invalid(what);
        };
        if !self.is_end(&next) && !self.is_resolved(id) {
            self.push(id, &next)?;
            return Ok(None);
        }
        Ok(Some(next))
    }

    /// Pointers, modifiers and variables.
    fn reference(&mut self, t: &Type<'a>) -> Res<()> {
        const WHAT: &str = "Invalid type_id";
        let mut id = t.size_or_type;
        let Some(mut next) = self.follow(id, WHAT, false)? else {
            return Ok(());
        };
        if next.is_modifier() && !t.is_modifier() {
            // It may have come down to a pointer that was not followed.
            let down = self.known.get(id as usize).map_or(0, |k| k.id);
            if let Some(to) = self.btf.get(down).filter(|to| to.kind() == kind::PTR)
                && !self.is_end(&to)
                && !self.is_resolved(down)
            {
                return self.push(down, &to);
            }
        }
        let sized = self.sized(id);
        if t.kind() == kind::VAR {
            let Some((id, _, size)) = sized else {
                return invalid(WHAT);
            };
            return self.pop(id, size);
        }
        match sized {
            Some((down, _, _)) => id = down,
            None => {
                if self.is_resolved(id) {
                    id = self.known.get(id as usize).map_or(0, |k| k.id);
                    next = self.btf.get(id).unwrap_or(next);
                }
                if !matches!(next.kind(), kind::VOID | kind::FWD | kind::FUNC_PROTO) {
                    return invalid(WHAT);
                }
            }
        }
        self.pop(id, 0)
    }

    fn array(&mut self, t: &Type<'a>) -> Res<()> {
        let (elem, index, count) = (t.word(0), t.word(1), t.word(2));
        if self.follow(index, "Invalid index", true)?.is_none() {
            return Ok(());
        }
        let regular = |t: &Type<'_>| t.kind() == kind::INT && is_regular_int(t);
        if !self.sized(index).is_some_and(|(_, t, _)| regular(&t)) {
            return invalid("Invalid index");
        }
        if self.follow(elem, "Invalid elem", true)?.is_none() {
            return Ok(());
        }
        let Some((id, of, size)) = self.sized(elem) else {
            return invalid("Invalid elem");
        };
        if of.kind() == kind::INT && !is_regular_int(&of) {
            return invalid("Invalid array of int");
        }
        let Some(whole) = size.checked_mul(count) else {
            return invalid("Array size overflows U32_MAX");
        };
        self.pop(id, whole)
    }

    fn structure(&mut self, t: &Type<'a>, next: usize) -> Res<()> {
        let mut members = t.members().skip(next.saturating_sub(1));
        if next > 0
            && let Some(last) = members.next()
        {
            member::check(self, t, &last)?;
        }
        for (nr, m) in members.enumerate() {
            let place = next + nr + 1;
            if self.follow(m.of, "Invalid member", true)?.is_none() {
                return self.resume(place);
            }
            member::check(self, t, &m)?;
        }
        self.pop(0, 0)
    }

    /// The type below the top goes on with this member.
    fn resume(&mut self, next: usize) -> Res<()> {
        let below = self.stack.len().checked_sub(2);
        if let Some(open) = below.and_then(|at| self.stack.get_mut(at)) {
            open.next = next;
        }
        Ok(())
    }

    fn section(&mut self, t: &Type<'a>, next: usize) -> Res<()> {
        self.mode = Mode::Any;
        for nr in next..t.vlen() as usize {
            let (id, room) = (t.word(nr * 3), t.word(nr * 3 + 2));
            let var = self.btf.get(id).filter(|v| v.kind() == kind::VAR);
            let Some(var) = var else {
                return invalid("Not a VAR kind member");
            };
            if !self.is_end(&var) && !self.is_resolved(id) {
                self.push(id, &var)?;
                return self.resume(nr + 1);
            }
            match self.sized(var.size_or_type) {
                None => return invalid("Invalid type"),
                Some((_, _, size)) if room < size => return invalid("Invalid size"),
                Some(_) => {}
            }
        }
        self.pop(0, 0)
    }

    fn function(&mut self, t: &Type<'a>) -> Res<()> {
        let proto = self.btf.get(t.size_or_type);
        let Some(proto) = proto.filter(|p| p.kind() == kind::FUNC_PROTO) else {
            return invalid("Invalid type_id");
        };
        for nr in 0..proto.vlen() as usize {
            if proto.word(nr * 2) == 0 && proto.word(nr * 2 + 1) != 0 {
                return invalid(format!("Invalid arg#{}", nr + 1));
            }
        }
        self.pop(t.size_or_type, 0)
    }

    fn tag(&mut self, t: &Type<'a>) -> Res<()> {
        let id = t.size_or_type;
        let target = |n: &Type<'_>| {
            n.is_struct() || matches!(n.kind(), kind::FUNC | kind::VAR | kind::TYPEDEF)
        };
        let Some(next) = self.btf.get(id).filter(target) else {
            return invalid("Invalid type_id");
        };
        if !self.is_end(&next) && !self.is_resolved(id) {
            return self.push(id, &next);
        }
        let component = t.word(0);
        if component != u32::MAX {
            let members = match next.kind() {
                kind::VAR | kind::TYPEDEF => 0,
                kind::FUNC => self.btf.get(next.size_or_type).map_or(0, |p| p.vlen()),
                _ => next.vlen(),
            };
            if component >= members {
                return invalid("Invalid component_idx");
            }
        }
        self.pop(id, 0)
    }

    /// `btf_func_proto_check`.
    fn prototype(&mut self, t: &Type<'a>) -> Res<()> {
        if t.size_or_type != 0 {
            self.value(t.size_or_type, "Invalid return type")?;
        }
        let mut count = t.vlen() as usize;
        if let Some(last) = count.checked_sub(1)
            && t.word(last * 2 + 1) == 0
        {
            if t.word(last * 2) != 0 {
                return invalid(format!("Invalid arg#{count}"));
            }
            count = last; // more arguments may follow
        }
        for nr in 0..count {
            let (name, id) = (t.word(nr * 2), t.word(nr * 2 + 1));
            let what = format!("Invalid arg#{}", nr + 1);
            if name != 0 && !(self.btf.has_string(name) && self.btf.is_identifier(name)) {
                return invalid(what);
            }
            self.value(id, &what)?;
        }
        Ok(())
    }

    /// Something that has a size.
    fn value(&mut self, id: u32, what: &str) -> Res<()> {
        let Some(t) = self.btf.get(id).filter(|t| !is_source_only(t)) else {
            return invalid(what);
        };
        self.ensure(id, &t)?;
        match self.sized(id) {
            Some(_) => Ok(()),
            None => invalid(what),
        }
    }

    /// `btf_type_id_size`: what a type comes down to, and its size.
    pub fn sized(&self, id: u32) -> Option<(u32, Type<'a>, u32)> {
        let found = self.btf.get(id)?;
        if let Some(size) = self.own_size(id, &found) {
            return Some((id, found, size));
        }
        if !found.is_modifier() && found.kind() != kind::VAR {
            return None;
        }
        let id = self.known.get(id as usize)?.id;
        let found = self.btf.get(id)?;
        Some((id, found, self.own_size(id, &found)?))
    }

    fn own_size(&self, id: u32, t: &Type<'_>) -> Option<u32> {
        match t.kind() {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::DATASEC => {
                Some(t.size_or_type)
            }
            kind::FLOAT | kind::ENUM64 => Some(t.size_or_type),
            kind::ARRAY => Some(self.known.get(id as usize)?.size),
            kind::PTR => Some(8),
            _ => None,
        }
    }

    /// `btf_resolve_valid`.
    fn makes_sense(&self, id: u32, t: &Type<'_>) -> bool {
        let Some(known) = self.known.get(id as usize) else {
            return false;
        };
        if known.state != State::Resolved {
            return false;
        }
        match t.kind() {
            kind::STRUCT | kind::UNION | kind::DATASEC => known.id == 0 && known.size == 0,
            kind::DECL_TAG | kind::FUNC => known.id != 0 && known.size == 0,
            kind::ARRAY => self.sized(t.word(0)).is_some_and(|(_, of, size)| {
                !of.is_modifier() && size.wrapping_mul(t.word(2)) == known.size
            }),
            _ => self.btf.get(known.id).is_some_and(|to| {
                !to.is_modifier() && !matches!(to.kind(), kind::VAR | kind::DATASEC)
            }),
        }
    }
}
