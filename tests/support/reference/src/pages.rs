//! The generated pages.

use std::{fs, path::Path};

use instance_deletion_controller::api::crds;

use crate::{Error, fields, flags, permissions, plugin, reasons};

/// The pages: their path from the top folder, and their text.
pub fn all(root: &Path) -> Result<[(&'static str, String); 6], Error> {
    let [deletions, guards] = crds();
    Ok([
        ("docs/reference/instancedeletion.md", fields::page(&deletions)?),
        ("docs/reference/deletionguard.md", fields::page(&guards)?),
        ("docs/reference/flags.md", flags::page()),
        ("docs/reference/kubectl-idel.md", plugin::page()),
        ("docs/reference/permissions.md", permissions::page(root)?),
        ("docs/reference/reasons.md", reasons::page()),
    ])
}

/// Writes the pages.
pub fn write(root: &Path) -> Result<(), Error> {
    for (path, text) in all(root)? {
        fs::write(root.join(path), text)?;
    }
    Ok(())
}

/// Names the pages that differ from what would be written.
pub fn drifted(root: &Path) -> Result<Vec<String>, Error> {
    let mut drifted = Vec::new();
    for (path, text) in all(root)? {
        if fs::read_to_string(root.join(path)).ok().as_deref() != Some(&text) {
            drifted.push(format!("{path} has drifted: run make generate"));
        }
    }
    Ok(drifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_edited_has_drifted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let copy = tempfile::tempdir().unwrap();
        for folder in ["docs/reference", "deploy/base"] {
            fs::create_dir_all(copy.path().join(folder)).unwrap();
        }
        for file in ["deploy/base/role.yaml", "deploy/base/users.yaml"] {
            fs::copy(root.join(file), copy.path().join(file)).unwrap();
        }
        write(copy.path()).unwrap();
        assert_eq!(drifted(copy.path()).unwrap(), Vec::<String>::new());
        let flags = copy.path().join("docs/reference/flags.md");
        let edited = fs::read_to_string(&flags).unwrap().replace("--listen", "--serve");
        fs::write(flags, edited).unwrap();
        assert_eq!(drifted(copy.path()).unwrap(), ["docs/reference/flags.md has drifted: run make generate"]);
    }
}
