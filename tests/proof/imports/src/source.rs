//! The files of a crate, by their modules.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::scan::{Scan, scan};

/// A source file.
#[derive(Debug)]
pub struct SourceFile {
    /// Where it is, from the folder of the sources on.
    pub path: String,
    /// The module that it is the body of: empty for `lib.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) scan: Scan,
}

/// The files of a crate that its binary and library are compiled from; those of tests alone are left out.
#[derive(Debug)]
pub struct SourceTree {
    /// `main.rs` and `lib.rs`, each before the files of its modules.
    pub files: Vec<SourceFile>,
    /// The crate's name in paths.
    pub(crate) crate_name: String,
}

/// Module of `main.rs`, a crate of its own. No module can have this name.
pub(crate) const MAIN: &str = "main.rs";

impl SourceTree {
    /// Reads a folder with a `lib.rs`, a `main.rs` or both.
    pub fn read(folder: &Path, crate_name: &str) -> io::Result<Self> {
        let mut texts = BTreeMap::new();
        read_folder(folder, folder, &mut texts)?;
        Self::of(&texts, crate_name)
    }

    /// The tree of these texts, each by its path.
    pub fn of(texts: &BTreeMap<String, String>, crate_name: &str) -> io::Result<Self> {
        let mut tree = Self { files: Vec::new(), crate_name: crate_name.to_owned() };
        for (root, module) in [(MAIN, vec![MAIN.to_owned()]), ("lib.rs", Vec::new())] {
            if texts.contains_key(root) {
                tree.add(texts, root.to_owned(), module)?;
            }
        }
        Ok(tree)
    }

    /// Paths of the files.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.path.as_str()).collect()
    }

    /// Adds a file and those of the modules that it declares.
    fn add(&mut self, texts: &BTreeMap<String, String>, path: String, module: Vec<String>) -> io::Result<()> {
        let scan = scan(texts.get(&path).map_or("", String::as_str));
        let file = Path::new(&path);
        let parent = file.parent().unwrap_or(Path::new(""));
        let folder = match file.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => parent.to_owned(),
            _ => file.with_extension(""),
        };
        let mut children = Vec::new();
        for declared in scan.modules.iter().filter(|declared| !declared.inline) {
            let within = declared.within.iter().fold(folder.clone(), |folder, name| folder.join(name));
            let places =
                [within.join(format!("{}.rs", declared.name)), within.join(&declared.name).join("mod.rs")];
            let found = places.iter().map(|place| text_of(place)).find(|place| texts.contains_key(place));
            let Some(found) = found else {
                let message = format!("{path} declares the module {}, which has no file", declared.name);
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            };
            let own = declared.within.iter().chain([&declared.name]);
            children.push((found, module.iter().chain(own).cloned().collect()));
        }
        self.files.push(SourceFile { path, module, scan });
        children.into_iter().try_for_each(|(path, module)| self.add(texts, path, module))
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn read_folder(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(root, &path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = text_of(path.strip_prefix(root).unwrap_or(&path));
            texts.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
