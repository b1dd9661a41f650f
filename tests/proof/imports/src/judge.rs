//! Circles of files, and imports of a higher layer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use crate::{
    layers::{Crate, is_in, place},
    resolve::Import,
};

/// What is wrong with the imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Files that import one another: a shortest way round, and all files on any way round.
    Circle {
        /// Each import from one file to the next, the last one to the first file.
        way: Vec<Import>,
        /// Files that reach one another.
        files: Vec<String>,
    },
    /// A lower layer imports a higher one, or one beside it.
    Upward {
        /// The import.
        import: Import,
        /// Names of the two layers.
        layers: [&'static str; 2],
    },
    /// A file imports one that it must be apart from ([`Crate::apart`]).
    NotApart(Import),
    /// A file that no layer names.
    NoLayer(String),
}

/// Judges the imports of these files of a crate.
#[must_use]
pub fn judge(files: &[&str], imports: &[Import], of: &Crate) -> Vec<Finding> {
    let Crate { layers, apart, .. } = of;
    let place = |file: &str| place(layers, file);
    let lost =
        files.iter().filter(|file| place(file).is_none()).map(|file| Finding::NoLayer((*file).to_owned()));
    let upward = imports.iter().filter_map(|import| {
        let (from, to) = (place(&import.from)?, place(&import.to)?);
        // Parts of one layer stand beside each other.
        let upward = to.0 > from.0 || (to.0 == from.0 && to.1 != from.1);
        let name = |rank: usize| layers.get(rank).map_or("", |layer| layer.name);
        upward.then(|| Finding::Upward { import: import.clone(), layers: [name(from.0), name(to.0)] })
    });
    let together = imports
        .iter()
        .filter(|import| apart.iter().any(|(from, to)| is_in(&import.from, from) && is_in(&import.to, to)));
    let together = together.cloned().map(Finding::NotApart);
    lost.chain(upward).chain(together).chain(circles(imports)).collect()
}

/// One finding for each set of files that reach one another.
fn circles(imports: &[Import]) -> Vec<Finding> {
    let mut from: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        from.entry(&import.from).or_default().push(import);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        from.keys().map(|file| (*file, reach(&from, file))).collect();
    let reaches = |a: &str, b: &str| reached.get(a).is_some_and(|set| set.contains(b));
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut findings = Vec::new();
    for &file in from.keys() {
        if seen.contains(file) || !reaches(file, file) {
            continue;
        }
        let files: Vec<&str> =
            from.keys().copied().filter(|other| reaches(file, other) && reaches(other, file)).collect();
        seen.extend(&files);
        let ways = files.iter().filter_map(|file| way_round(&from, file));
        if let Some(way) = ways.min_by_key(Vec::len) {
            let files = files.into_iter().map(str::to_owned).collect();
            findings.push(Finding::Circle { way: way.into_iter().cloned().collect(), files });
        }
    }
    findings
}

/// Files that a file imports, directly or through others.
fn reach<'a>(from: &BTreeMap<&str, Vec<&'a Import>>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![file];
    while let Some(file) = next.pop() {
        for import in from.get(file).into_iter().flatten() {
            if reached.insert(import.to.as_str()) {
                next.push(&import.to);
            }
        }
    }
    reached
}

/// A shortest way from a file back to itself.
fn way_round<'a>(from: &BTreeMap<&str, Vec<&'a Import>>, file: &str) -> Option<Vec<&'a Import>> {
    let mut came_by: BTreeMap<&str, &'a Import> = BTreeMap::new();
    let mut next: VecDeque<&str> = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for import in from.get(at).into_iter().flatten().copied() {
            if came_by.contains_key(import.to.as_str()) {
                continue;
            }
            came_by.insert(&import.to, import);
            if import.to != file {
                next.push_back(&import.to);
                continue;
            }
            let mut way = vec![import];
            while let Some(before) =
                way.last().filter(|i| i.from != file).and_then(|i| came_by.get(i.from.as_str()))
            {
                way.push(before);
            }
            way.reverse();
            return Some(way);
        }
    }
    None
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Circle { way, files } => {
                write!(f, "circle of imports:")?;
                for import in way {
                    write!(f, "\n  {import}")?;
                }
                if files.len() > way.len() {
                    write!(f, "\n  and ways round through {} files: {}", files.len(), files.join(", "))?;
                }
                Ok(())
            }
            Self::Upward { import, layers: [from, to] } if from == to => {
                write!(
                    f,
                    "import between parts of the layer {from} that stand beside each other:\n  {import}"
                )
            }
            Self::Upward { import, layers: [from, to] } => {
                write!(f, "import of a higher layer, {from} of {to}:\n  {import}")
            }
            Self::NotApart(import) => write!(f, "import of what must stay apart:\n  {import}"),
            Self::NoLayer(file) => write!(f, "{file} is in no layer: add it to the table"),
        }
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} imports {} ({})", self.from, self.line, self.to, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, judge};
    use crate::{
        layers::{Crate, Layer},
        resolve::Import,
    };

    const OF: Crate = Crate {
        name: "project",
        folder: "src",
        layers: &[
            Layer { name: "low", parts: &["low/", "beside.rs"] },
            Layer { name: "high", parts: &["high/"] },
            Layer { name: "top", parts: &["high/top.rs"] },
        ],
        apart: &[("high/a.rs", "low/b.rs")],
    };

    fn import((from, to): (&str, &str)) -> Import {
        Import { from: from.to_owned(), line: 1, path: "crate::x".to_owned(), to: to.to_owned() }
    }

    /// The first line of each finding, and the files that it names.
    fn found(imports: &[(&str, &str)]) -> Vec<String> {
        let imports: Vec<Import> = imports.iter().copied().map(import).collect();
        let findings = judge(&["low/a.rs", "beside.rs", "high/top.rs"], &imports, &OF);
        let line = |finding: &Finding| match finding {
            Finding::Circle { way, files } => {
                let way: Vec<_> = way.iter().map(|import| import.from.as_str()).collect();
                format!("circle {} of {}", way.join(" "), files.len())
            }
            Finding::Upward { import, layers } => {
                format!("{} {} {}", layers.join(" "), import.from, import.to)
            }
            Finding::NotApart(import) => format!("not apart {} {}", import.from, import.to),
            Finding::NoLayer(file) => format!("no layer {file}"),
        };
        findings.iter().map(line).collect()
    }

    #[test]
    fn an_import_of_a_lower_layer_or_within_a_part_is_sound() {
        let sound = [
            ("high/top.rs", "high/a.rs"),
            ("high/a.rs", "low/a.rs"),
            ("high/a.rs", "high/b.rs"),
            ("high/b.rs", "low/a.rs"),
            ("high/top.rs", "beside.rs"),
        ];
        assert_eq!(found(&sound), [""; 0]);
    }

    #[test]
    fn an_import_of_a_higher_layer_or_of_a_part_beside_is_found() {
        let imports = [("low/a.rs", "high/a.rs"), ("high/a.rs", "high/top.rs"), ("low/a.rs", "beside.rs")];
        assert_eq!(
            found(&imports),
            ["low high low/a.rs high/a.rs", "high top high/a.rs high/top.rs", "low low low/a.rs beside.rs",]
        );
    }

    #[test]
    fn a_circle_is_told_by_a_shortest_way_round() {
        let imports = [
            ("low/a.rs", "low/b.rs"),
            ("low/b.rs", "low/c.rs"),
            ("low/c.rs", "low/a.rs"),
            ("low/c.rs", "low/b.rs"),
            ("low/d.rs", "low/a.rs"),
            ("high/a.rs", "high/b.rs"),
            ("high/b.rs", "high/a.rs"),
        ];
        assert_eq!(found(&imports), ["circle high/a.rs high/b.rs of 2", "circle low/b.rs low/c.rs of 3"]);
    }

    #[test]
    fn what_must_stay_apart_and_what_has_no_layer_is_found() {
        let imports = [import(("high/a.rs", "low/b.rs"))];
        assert_eq!(
            judge(&["none.rs"], &imports, &OF),
            [Finding::NoLayer("none.rs".to_owned()), Finding::NotApart(imports[0].clone()),]
        );
    }

    #[test]
    fn a_finding_names_both_files_and_the_line() {
        let import = import(("low/a.rs", "high/b.rs"));
        let upward = Finding::Upward { import, layers: ["low", "high"] };
        assert_eq!(
            upward.to_string(),
            "import of a higher layer, low of high:\n  low/a.rs:1 imports high/b.rs (crate::x)"
        );
    }
}
