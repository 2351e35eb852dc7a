//! The public interface of the crate `bpfvisor`, as reviewed text: `docs/api.txt`.
//! `BLESS=1` rewrites it.
//!
//! It is read from the sources: what `lib.rs` makes public, by whatever way, with fields,
//! variants, methods and traits. Of other crates that are passed on only the names are
//! listed, and of what macros declare the declaration.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Type, UseTree, Visibility};

/// A module: its items, and those of the modules in it.
struct Module {
    items: Vec<Item>,
    within: BTreeMap<String, Module>,
}

fn is_test(attrs: &[Attribute]) -> bool {
    let cfgs = attrs.iter().filter(|a| a.path().is_ident("cfg"));
    cfgs.map(text).any(|cfg| cfg.contains("test"))
}

fn read(file: &Path, folder: &Path) -> Module {
    let source = std::fs::read_to_string(file).unwrap();
    let items = syn::parse_file(&source).unwrap().items;
    let mut within = BTreeMap::new();
    for item in &items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() || is_test(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let inside = folder.join(&name);
        let plain = folder.join(format!("{name}.rs"));
        let file = match plain.exists() {
            true => plain,
            false => inside.join("mod.rs"),
        };
        within.insert(name, read(&file, &inside));
    }
    Module { items, within }
}

/// Tokens as one writes them, nearly.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        ("& ", "&"),
        (" ,", ","),
        (" (", "("),
        (" :", ":"),
        (" ;", ";"),
        ("# [", "#["),
        ("[ ", "["),
        (" ]", "]"),
        (" !", "!"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// Attributes that matter to who uses it.
fn attributes(attrs: &[Attribute]) -> String {
    let matter = ["derive", "non_exhaustive", "cfg", "must_use", "repr"];
    let is = |a: &&Attribute| matter.iter().any(|name| a.path().is_ident(name));
    attrs.iter().filter(is).map(|a| text(a) + " ").collect()
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

struct Lister<'a> {
    root: &'a Module,
    impls: Vec<&'a ItemImpl>,
    lines: BTreeSet<String>,
}

impl<'a> Lister<'a> {
    fn collect_impls(&mut self, module: &'a Module) {
        for item in &module.items {
            if let Item::Impl(item) = item {
                self.impls.push(item);
            }
        }
        module.within.values().for_each(|m| self.collect_impls(m));
    }

    fn line(&mut self, text: String) {
        self.lines.insert(text);
    }

    /// What is public in a module.
    fn module(&mut self, module: &'a Module, path: &str) {
        for item in &module.items {
            match item {
                Item::Mod(m) if is_public(&m.vis) => {
                    let name = format!("{path}::{}", m.ident);
                    self.line(format!("pub mod {name}"));
                    match (module.within.get(&m.ident.to_string()), &m.content) {
                        (Some(inside), _) => self.module(inside, &name),
                        (None, Some((_, items))) => {
                            items.iter().for_each(|item| self.item(item, &name));
                        }
                        _ => {}
                    }
                }
                Item::Use(u) if is_public(&u.vis) => {
                    let cfg = attributes(&u.attrs);
                    self.passed_on(module, &u.tree, (path, &cfg), Vec::new());
                }
                item => self.item(item, path),
            }
        }
    }

    /// `pub use`: each name of it.
    fn passed_on(
        &mut self,
        here: &'a Module,
        tree: &UseTree,
        to: (&str, &str),
        mut from: Vec<String>,
    ) {
        match tree {
            UseTree::Path(p) => {
                from.push(p.ident.to_string());
                self.passed_on(here, &p.tree, to, from);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.passed_on(here, tree, to, from.clone());
                }
            }
            UseTree::Name(name) => self.name(here, &from, &name.ident.to_string(), to),
            UseTree::Rename(name) => {
                self.line(format!("pub use {} as {}", from.join("::"), name.rename));
            }
            UseTree::Glob(_) => self.line(format!("pub use {}::*", from.join("::"))),
        }
    }

    fn name(&mut self, here: &'a Module, from: &[String], name: &str, to: (&str, &str)) {
        let mut at = match from.first().map(String::as_str) {
            Some("crate") => self.root,
            _ => here,
        };
        for part in from
            .iter()
            .filter(|p| !["crate", "self"].contains(&p.as_str()))
        {
            match at.within.get(part) {
                Some(inside) => at = inside,
                None => {
                    let from = from.join("::");
                    return self.line(format!("{}::{name} = pub use {from}::{name}", to.0));
                }
            }
        }
        let found = at
            .items
            .iter()
            .find(|item| named(item) == Some(name.into()));
        if let Some(item) = found {
            if !to.1.is_empty() {
                self.line(format!("{}::{name}: {}", to.0, to.1.trim()));
            }
            return self.item(item, to.0);
        }
        for item in &at.items {
            if let Item::Use(u) = item {
                let mut names = Vec::new();
                leaves(&u.tree, Vec::new(), &mut names);
                if let Some((from, _)) = names.iter().find(|(_, n)| n == name) {
                    return self.name(at, from, name, (to.0, &attributes(&u.attrs)));
                }
            }
        }
        panic!("{} of {} is not found", name, from.join("::"));
    }

    /// One item, if it is public.
    fn item(&mut self, item: &Item, path: &str) {
        match item {
            Item::Struct(s) if is_public(&s.vis) => {
                let name = format!("{path}::{}", s.ident);
                let (attrs, generics) = (attributes(&s.attrs), text(&s.generics));
                self.line(format!("{name}: {attrs}pub struct {}{generics}", s.ident));
                self.fields(&s.fields, &name, false);
                self.methods(&s.ident.to_string(), &name);
            }
            Item::Enum(e) if is_public(&e.vis) => {
                let name = format!("{path}::{}", e.ident);
                let attrs = attributes(&e.attrs);
                self.line(format!("{name}: {attrs}pub enum {}", e.ident));
                for variant in &e.variants {
                    let name = format!("{name}::{}", variant.ident);
                    self.line(format!("{name}: variant"));
                    self.fields(&variant.fields, &name, true);
                }
                self.methods(&e.ident.to_string(), &name);
            }
            Item::Fn(f) if is_public(&f.vis) => {
                self.line(format!("{path}::{}: pub {}", f.sig.ident, text(&f.sig)));
            }
            Item::Const(c) if is_public(&c.vis) => {
                let (kind, value) = (text(&c.ty), text(&c.expr));
                self.line(format!("{path}::{}: pub const {kind} = {value}", c.ident));
            }
            Item::Trait(t) if is_public(&t.vis) => {
                self.line(format!("{path}::{}: {}", t.ident, declaration(t)));
            }
            Item::Type(t) if is_public(&t.vis) => {
                self.line(format!("{path}::{}: {}", t.ident, declaration(t)));
            }
            Item::Macro(m) if m.ident.is_none() => {
                let name = text(&m.mac.path);
                for part in declaration(&m.mac.tokens).split_inclusive('}') {
                    self.line(format!("{path}: {name}! {}", part.trim()));
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &Fields, of: &str, all: bool) {
        for (i, field) in fields.iter().enumerate() {
            if all || is_public(&field.vis) {
                let name = field
                    .ident
                    .as_ref()
                    .map_or(i.to_string(), |n| n.to_string());
                self.line(format!("{of}.{name}: {}", text(&field.ty)));
            }
        }
    }

    /// Of all `impl`s of a type.
    fn methods(&mut self, of: &str, name: &str) {
        let is_of = |i: &&&ItemImpl| match &*i.self_ty {
            Type::Path(p) => p.path.segments.last().is_some_and(|s| s.ident == of),
            _ => false,
        };
        let impls: Vec<_> = self.impls.iter().filter(is_of).copied().collect();
        for one in impls {
            if let Some((_, of_trait, _)) = &one.trait_ {
                let (generics, of) = (text(&one.generics), text(&one.self_ty));
                let of_trait = text(of_trait);
                self.line(format!("{name}: impl{generics} {of_trait} for {of}"));
                continue;
            }
            for item in &one.items {
                match item {
                    ImplItem::Fn(f) if is_public(&f.vis) => {
                        let attrs = attributes(&f.attrs);
                        let sig = text(&f.sig);
                        self.line(format!("{name}::{}: {attrs}pub {sig}", f.sig.ident));
                    }
                    ImplItem::Const(c) if is_public(&c.vis) => {
                        let kind = text(&c.ty);
                        self.line(format!("{name}::{}: pub const {kind}", c.ident));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Tokens without what is written for people.
fn declaration(tokens: &impl ToTokens) -> String {
    let text = text(tokens);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("#[doc = \"") {
        out += before;
        // A quotation mark within is escaped.
        let mut end = 0;
        while let Some(at) = after[end..].find("\"]") {
            end += at + 2;
            if !after[..end - 2].ends_with('\\') {
                break;
            }
        }
        rest = after[end..].trim_start();
    }
    out + rest
}

fn named(item: &Item) -> Option<String> {
    Some(match item {
        Item::Struct(i) => i.ident.to_string(),
        Item::Enum(i) => i.ident.to_string(),
        Item::Fn(i) => i.sig.ident.to_string(),
        Item::Const(i) => i.ident.to_string(),
        Item::Trait(i) => i.ident.to_string(),
        Item::Type(i) => i.ident.to_string(),
        Item::Mod(i) => i.ident.to_string(),
        _ => return None,
    })
}

/// All names of a `use`, with where they are from.
fn leaves(tree: &UseTree, mut from: Vec<String>, out: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(p) => {
            from.push(p.ident.to_string());
            leaves(&p.tree, from, out);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, from.clone(), out);
            }
        }
        UseTree::Name(name) => out.push((from, name.ident.to_string())),
        _ => {}
    }
}

#[test]
fn the_public_interface_is_as_reviewed() {
    let root = bpfvisor_tests::root();
    let source = root.join("api/src");
    let module = read(&source.join("lib.rs"), &source);
    let mut lister = Lister {
        root: &module,
        impls: Vec::new(),
        lines: BTreeSet::new(),
    };
    lister.collect_impls(&module);
    lister.module(&module, "bpfvisor");
    let now = lister.lines.into_iter().collect::<Vec<_>>().join("\n") + "\n";
    assert!(now.contains("bpfvisor::Map::get: pub fn get("), "{now}");
    let path = root.join("docs/api.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (then.lines().collect(), now.lines().collect());
    let gone: Vec<_> = old.difference(&new).collect();
    let came: Vec<_> = new.difference(&old).collect();
    assert!(
        gone.is_empty() && came.is_empty(),
        "the public interface has changed: review it, and BLESS=1 writes docs/api.txt\n\
         gone: {gone:#?}\ncame: {came:#?}"
    );
}
