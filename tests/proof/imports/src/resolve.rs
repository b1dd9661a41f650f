//! Which file defines what a path names.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::source::{MAIN, SourceTree};

/// A path in one file that names an item of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The file with the path.
    pub from: String,
    /// Line of the path.
    pub line: usize,
    /// The path as it is written, with what its first name stands for.
    pub path: String,
    /// The file that defines the item.
    pub to: String,
}

/// A module: its file, and the names in its scope.
#[derive(Debug)]
struct Module<'a> {
    file: &'a str,
    /// Names that `use` brings into scope, with their paths.
    names: HashMap<&'a str, &'a [String]>,
}

/// Finds the imports of a tree.
#[derive(Debug)]
pub struct Resolver<'a> {
    tree: &'a SourceTree,
    modules: HashMap<Vec<String>, Module<'a>>,
}

/// `use` may lead to another `use`: no sound chain is as long as this, but a circle of them would be endless.
const MOST_STEPS: usize = 32;

impl<'a> Resolver<'a> {
    /// Learns the modules of a tree.
    #[must_use]
    pub fn new(tree: &'a SourceTree) -> Self {
        let mut modules: HashMap<Vec<String>, Module<'a>> = HashMap::new();
        for file in &tree.files {
            let mut add = |module: Vec<String>| {
                modules.entry(module).or_insert_with(|| Module { file: &file.path, names: HashMap::new() });
            };
            add(file.module.clone());
            for declared in file.scan.modules.iter().filter(|declared| declared.inline) {
                add(joined(&joined(&file.module, &declared.within), std::slice::from_ref(&declared.name)));
            }
        }
        for file in &tree.files {
            for import in &file.scan.uses {
                let module = modules.get_mut(&joined(&file.module, &import.within));
                if let (Some(module), Some(name)) = (module, &import.name) {
                    module.names.insert(name, &import.path);
                }
            }
        }
        Self { tree, modules }
    }

    /// Each pair of files in which the first imports the second, with the first path that does so.
    ///
    /// A re-export counts only where the file itself says the name once more. To name a module imports nothing; the paths
    /// that begin with it do.
    #[must_use]
    pub fn imports(&self) -> Vec<Import> {
        let mut found: BTreeMap<(&str, &str), (usize, String)> = BTreeMap::new();
        for file in &self.tree.files {
            let uses = file.scan.uses.iter().filter(|import| {
                let names_it = |name: &String| file.scan.words.contains_key(name);
                !import.public || import.name.as_ref().is_some_and(names_it)
            });
            let uses = uses.map(|import| (&import.within, &import.path, import.line, import.name.is_none()));
            let paths = file.scan.paths.iter().map(|m| (&m.within, &m.path, m.line, false));
            for (within, path, line, all) in uses.chain(paths) {
                let module = joined(&file.module, within);
                let Some(to) = self.file_of(&module, path, all) else { continue };
                if to != file.path {
                    let written = (line, path.join("::"));
                    let first = found.entry((&file.path, to)).or_insert_with(|| written.clone());
                    *first = written.min(first.clone());
                }
            }
        }
        let import = |((from, to), (line, path)): ((&str, &str), (usize, String))| Import {
            from: from.to_owned(),
            line,
            path,
            to: to.to_owned(),
        };
        found.into_iter().map(import).collect()
    }

    /// The file of the item that a path names; none for a module itself (but its content, with `all`) and for another
    /// crate's.
    fn file_of(&self, module: &[String], path: &[String], all: bool) -> Option<&'a str> {
        let path = self.absolute(module, path)?;
        let (module, item) = self.place(path, MOST_STEPS)?;
        (all || item).then(|| self.modules.get(&module).map(|module| module.file)).flatten()
    }

    /// A path from the root of its crate on; none for another crate's.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" if module.first().is_some_and(|name| name == MAIN) => {
                Some(joined(&[MAIN.to_owned()], rest))
            }
            "crate" => Some(rest.to_vec()),
            name if name == self.tree.crate_name => Some(rest.to_vec()),
            "self" => Some(joined(module, rest)),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first().map(String::as_str) {
                    Some("super") => self.absolute(parent, rest),
                    _ => Some(joined(parent, rest)),
                }
            }
            name => {
                let known = self.modules.get(module)?;
                let child = joined(module, std::slice::from_ref(first));
                (known.names.contains_key(name) || self.modules.contains_key(&child))
                    .then(|| joined(module, path))
            }
        }
    }

    /// The module in which a path from the root ends, and whether it names an item of it and not the module.
    fn place(&self, path: Vec<String>, steps: usize) -> Option<(Vec<String>, bool)> {
        let mut module = Vec::new();
        let mut rest = VecDeque::from(path);
        while let Some(name) = rest.pop_front() {
            let child = joined(&module, std::slice::from_ref(&name));
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let Some(target) = self.modules.get(&module)?.names.get(name.as_str()) else {
                return Some((module, true));
            };
            // A name of another crate is no item of this one.
            let target = self.absolute(&module, target)?;
            let rest: Vec<String> = rest.into();
            return self.place(joined(&target, &rest), steps.checked_sub(1)?);
        }
        Some((module, false))
    }
}

fn joined(first: &[String], second: &[String]) -> Vec<String> {
    first.iter().chain(second).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Resolver;
    use crate::{CRATES, Finding, judge, source::SourceTree};

    fn tree(sources: &[(&str, &str)]) -> SourceTree {
        let texts: BTreeMap<String, String> =
            sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        SourceTree::of(&texts, "project").unwrap()
    }

    /// `from to` of each import.
    fn imports(sources: &[(&str, &str)]) -> Vec<String> {
        let imports = Resolver::new(&tree(sources)).imports();
        imports.iter().map(|import| format!("{} {}", import.from, import.to)).collect()
    }

    /// What `a.rs` with this text imports, beside `b.rs`, `c/mod.rs` (which re-exports `D` and defines `C`) and `c/d.rs`.
    fn of_a(text: &str) -> Vec<String> {
        let found = imports(&[
            ("lib.rs", "mod a; mod b; pub mod c; pub struct Root;"),
            ("a.rs", text),
            ("b.rs", "pub struct B;"),
            (
                "c/mod.rs",
                "mod d; pub use self::d::{D, Named as Other}; pub struct C; use crate::b::B as Private;",
            ),
            ("c/d.rs", "pub struct D; pub struct Named; pub fn f() {}"),
        ]);
        let of_a = found.iter().filter_map(|import| import.strip_prefix("a.rs "));
        of_a.map(str::to_owned).collect()
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_the_item() {
        let cases: [(&str, &[&str]); 16] = [
            ("use crate::b::B;", &["b.rs"]),
            ("use super::b::B;", &["b.rs"]),
            ("use super::Root;", &["lib.rs"]),
            ("use crate::{b::B, c::{C, d::{self, D}}};", &["b.rs", "c/d.rs", "c/mod.rs"]),
            // Through a re-export, under another name too, and through a name that only the children see.
            ("use crate::c::D;", &["c/d.rs"]),
            ("use crate::c::Other;", &["c/d.rs"]),
            ("use crate::c::Private;", &["b.rs"]),
            // A module imports nothing; what is called in it does.
            ("use crate::c::d;", &[]),
            ("use crate::c::d; fn g() { d::f() }", &["c/d.rs"]),
            ("use crate::c as e; fn g() { println!(\"{}\", e::d::f()) }", &["c/d.rs"]),
            ("use crate::c; use c::d::f;", &["c/d.rs"]),
            ("fn g() -> crate::b::B { super::c::d::f() }", &["b.rs", "c/d.rs"]),
            ("mod inner { use super::super::b::B; }", &["b.rs"]),
            ("use crate::c::*;", &["c/mod.rs"]),
            // Other crates.
            ("use std::b::B; use d::c; fn g() { b::f(); tracing::info!() } use tracing;", &[]),
            ("use self::Own; struct Own;", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(of_a(text), expected, "{text}");
        }
    }

    #[test]
    fn a_reexport_is_an_import_only_of_a_file_that_uses_the_name() {
        let with = |root: &str| imports(&[("lib.rs", root), ("a.rs", "pub struct A;")]);
        assert_eq!(with("mod a; pub use a::A;"), [""; 0]);
        assert_eq!(with("mod a; pub use a::A; pub fn f() -> A { A }"), ["lib.rs a.rs"]);
    }

    #[test]
    fn the_program_imports_the_library_by_the_name_of_the_crate() {
        let found = imports(&[
            ("lib.rs", "pub mod a;"),
            ("main.rs", "mod b; use project::a::A; use crate::b::B;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "pub struct B;"),
        ]);
        assert_eq!(found, ["main.rs a.rs", "main.rs b.rs"]);
    }

    #[test]
    fn a_module_without_a_file_is_an_error() {
        let texts = BTreeMap::from([("lib.rs".to_owned(), "mod a;".to_owned())]);
        let error = SourceTree::of(&texts, "project").unwrap_err();
        assert_eq!(error.to_string(), "lib.rs declares the module a, which has no file");
    }

    /// A small project with the folders of this one is sound, and each of two lines more is found.
    #[test]
    fn a_circle_and_an_upward_import_are_found_in_sources() {
        let judged = |clock: &str, cloud: &str| {
            let sources = tree(&[
                ("lib.rs", "mod clock; mod cloud; mod leadership;"),
                ("clock.rs", clock),
                ("leadership.rs", "use crate::clock::Clock; pub struct Leadership(Clock);"),
                ("cloud/mod.rs", "mod client; mod bodies; pub use self::client::Client;"),
                ("cloud/client.rs", "use super::bodies::Body; pub struct Client(Body);"),
                ("cloud/bodies.rs", cloud),
            ]);
            judge(&sources.paths(), &Resolver::new(&sources).imports(), &CRATES[0])
        };
        let clock = "pub struct Clock;";
        assert_eq!(judged(clock, "pub struct Body;"), []);

        let upward = judged("pub struct Clock(crate::cloud::Client);", "pub struct Body;");
        assert!(matches!(&upward[..], [Finding::Upward { import, layers: ["clock", "cloud"] }]
            if import.from == "clock.rs" && import.to == "cloud/client.rs"));

        let circle = judged(clock, "#[derive(Debug)] pub struct Body(Option<super::Client>);");
        assert!(matches!(&circle[..], [Finding::Circle { way, files }]
            if way.len() == 2 && files == &["cloud/bodies.rs", "cloud/client.rs"]));
    }
}
