//! What must hold of all documents: links lead somewhere, indexes name every page, and a person is told what to do about every
//! reason.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use instance_deletion_controller::api::{FailureReason, ReadyReason};

use crate::Error;

/// Folders that hold no document of the project.
const NOT_OURS: [&str; 4] = [".git", ".cache", "target", "node_modules"];

/// The folders of documents, and the page that names every page of each.
const INDEXES: [(&str, &str); 6] = [
    ("docs/tutorial", "docs/README.md"),
    ("docs/how-to", "docs/README.md"),
    ("docs/reference", "docs/README.md"),
    ("docs/explanation", "docs/README.md"),
    ("docs/decisions", "docs/decisions/README.md"),
    ("docs/results", "docs/results/README.md"),
];

/// One line for each problem.
pub fn problems(root: &Path) -> Result<Vec<String>, Error> {
    Ok([broken_links(root)?, missing_in_indexes(root)?, decisions(root)?, reasons(root)?].concat())
}

/// Links of Markdown files, and paths of documents in code and manifests, that lead nowhere.
pub fn broken_links(root: &Path) -> Result<Vec<String>, Error> {
    let mut broken = Vec::new();
    for file in files(root)? {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let markdown = file.extension().is_some_and(|extension| extension == "md");
        let (links, from) =
            if markdown { (links(&text), file.parent().unwrap_or(root)) } else { (mentions(&text), root) };
        for link in links.into_iter().filter(|link| !leads_somewhere(from, &file, link)) {
            broken.push(format!("{shown}: {link} leads nowhere"));
        }
    }
    Ok(broken)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !NOT_OURS.contains(&name.as_str()) {
            found.extend(files(&path)?);
        } else if path
            .extension()
            .is_some_and(|e| ["md", "rs", "go", "yaml", "txt", "sh"].iter().any(|known| e == *known))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Targets of the links of a Markdown text that stay in the repository; fenced blocks hold none.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("\n```").step_by(2);
    let targets = prose.flat_map(|prose| prose.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("http")).collect()
}

/// Documents that code and manifests name by their path from the top folder.
fn mentions(text: &str) -> Vec<&str> {
    let path = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
    let words = text.split(|c| !path(c)).map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.starts_with("docs/") && word.contains(".md")).collect()
}

fn leads_somewhere(from: &Path, file: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { file.to_owned() } else { from.join(path) };
    if anchor.is_empty() {
        return target.exists();
    }
    fs::read_to_string(target).is_ok_and(|text| headings(&text).any(|heading| slug(heading) == anchor))
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("\n```").step_by(2).flat_map(str::lines);
    prose.filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim())
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Pages that the index of their folder does not name.
pub fn missing_in_indexes(root: &Path) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    for (folder, index) in INDEXES {
        let named = fs::read_to_string(root.join(index))?;
        let at = root.join(index);
        let named: BTreeSet<_> = links(&named)
            .into_iter()
            .filter_map(|link| at.parent()?.join(link).canonicalize().ok())
            .collect();
        for page in files(&root.join(folder))?.into_iter().filter(|page| *page != at) {
            if !page.canonicalize().is_ok_and(|page| named.contains(&page)) {
                missing.push(format!(
                    "{index} does not name {}",
                    page.strip_prefix(root).unwrap_or(&page).display()
                ));
            }
        }
    }
    Ok(missing)
}

/// Decisions whose date, title or status differs from their row of the index.
pub fn decisions(root: &Path) -> Result<Vec<String>, Error> {
    let folder = root.join("docs/decisions");
    let index = fs::read_to_string(folder.join("README.md"))?;
    let mut wrong = Vec::new();
    for page in files(&folder)? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("20") {
            continue;
        }
        let text = fs::read_to_string(&page)?;
        let field =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("(none)").to_owned();
        let (title, date, status) = (field("# "), field("- Date: "), field("- Status: "));
        let row = format!("| {date} | [{title}]({name}) | {status} |");
        if !name.starts_with(&date) || !index.contains(&row) {
            wrong.push(format!("docs/decisions/README.md has no row {row}"));
        }
    }
    Ok(wrong)
}

/// Reasons of `Ready` that docs/how-to/troubleshoot.md lacks or invents. It may have rows for reasons of failed instances too.
pub fn reasons(root: &Path) -> Result<Vec<String>, Error> {
    let page = fs::read_to_string(root.join("docs/how-to/troubleshoot.md"))?;
    let expected: BTreeSet<&str> = ReadyReason::ALL.map(ReadyReason::as_str).into();
    let of_ready = |name: &&str| expected.contains(*name) || FailureReason::parse(name).is_none();
    let rows = names(&page).into_iter().filter(of_ready).collect();
    Ok(differences(&rows, "docs/how-to/troubleshoot.md", &expected))
}

fn differences(rows: &BTreeSet<&str>, file: &str, expected: &BTreeSet<&str>) -> Vec<String> {
    let verdict = |name: &&str| if rows.contains(*name) { "is no such name" } else { "is missing" };
    let differing = expected.symmetric_difference(rows);
    differing.map(|name| format!("{file}: {name} {}", verdict(name))).collect()
}

/// Names in backquotes in the first column of tables.
fn names(text: &str) -> BTreeSet<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').step_by(2)).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    #[test]
    fn a_link_without_a_page_or_a_heading_is_found() {
        // Joined, so that this file does not itself name a document that is not there.
        let gone = ["docs", "gone.md"].join("/");
        let tree = tree(&[
            (
                "notes/a.md",
                "# A\n\n## Two `words`, here\n\n[b](b.md) [c](c.md) [two](#two-words-here) [w](https://w)\n```\n[x](y)\n```\n",
            ),
            ("notes/b.md", "[a](a.md#two-words-here) [none](a.md#three)\n"),
            ("src/x.rs", &format!("// {gone}. And notes/b.md\n")),
        ]);
        assert_eq!(
            broken_links(tree.path()).unwrap(),
            [
                "notes/a.md: c.md leads nowhere".to_owned(),
                "notes/b.md: a.md#three leads nowhere".to_owned(),
                format!("src/x.rs: {gone} leads nowhere")
            ]
        );
    }

    #[test]
    fn a_page_that_no_index_names_is_found() {
        for (unnamed, (_, its_index)) in INDEXES.into_iter().enumerate() {
            let tree = tree(&INDEXES.map(|(_, index)| (index, "")));
            for (n, (folder, index)) in INDEXES.into_iter().enumerate() {
                let page = tree.path().join(folder).join("page.md");
                fs::create_dir_all(page.parent().unwrap()).unwrap();
                fs::write(&page, "").unwrap();
                if n != unnamed {
                    let index = tree.path().join(index);
                    let text = fs::read_to_string(&index).unwrap();
                    fs::write(&index, format!("{text} [page]({})", page.display())).unwrap();
                }
            }
            let expected = format!("{its_index} does not name {}/page.md", INDEXES[unnamed].0);
            assert_eq!(missing_in_indexes(tree.path()).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_decision_whose_row_says_another_status_is_found() {
        let folder = tree(&[]);
        let (at, page) =
            (folder.path().join("docs/decisions"), "# Title\n\n- Date: 2026-01-02\n- Status: accepted\n");
        let row = |status: &str| format!("| 2026-01-02 | [Title](2026-01-02-x.md) | {status} |");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("2026-01-02-x.md"), page).unwrap();
        for (status, wrong) in [("accepted", 0), ("proposed", 1)] {
            fs::write(at.join("README.md"), row(status)).unwrap();
            let found = decisions(folder.path()).unwrap();
            assert_eq!(found.len(), wrong, "{found:?}");
            assert!(found.iter().all(|line| line.ends_with(&row("accepted"))));
        }
    }

    #[test]
    fn a_reason_that_the_page_lacks_or_invents_is_found() {
        let rows = names("| `A` | `C` |\n| `B`, `F` | x |\n| no status | x |\n");
        assert_eq!(rows, BTreeSet::from(["A", "B", "F"]));
        let expected = BTreeSet::from(["A", "E", "F"]);
        assert_eq!(differences(&rows, "p", &expected), ["p: B is no such name", "p: E is missing"]);
    }
}
