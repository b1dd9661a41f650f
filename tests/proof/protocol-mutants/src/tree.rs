//! A copy of the sources in which mistakes are planted, with a target folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::list::Mistake;

/// The copy.
pub struct Tree {
    /// Its root.
    pub root: PathBuf,
    /// Where it is built.
    pub target: PathBuf,
}

impl Tree {
    /// Copies what git tracks, as it stands in the working copy. A file that has not changed since the last copy is left
    /// alone, so that it is not built anew.
    pub fn copy(from: &Path) -> Result<Self, String> {
        let root = from.join("target/protocol-mutants/tree");
        let target = from.join("target/protocol-mutants/target");
        let listed = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(from)
            .output()
            .map_err(|e| format!("listing the sources: {e}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let Ok(content) = fs::read(from.join(file)) else { continue };
            let copy = root.join(file);
            if fs::read(&copy).is_ok_and(|known| known == content) {
                continue;
            }
            let failed = |e: std::io::Error| format!("copying {file}: {e}");
            fs::create_dir_all(copy.parent().unwrap_or(&root)).map_err(failed)?;
            fs::write(&copy, content).map_err(failed)?;
        }
        Ok(Self { root, target })
    }

    /// Plants a mistake until the answer is dropped.
    pub fn plant(&self, mistake: &Mistake) -> Result<Planted, String> {
        let file = self.root.join(mistake.file);
        let sound =
            fs::read_to_string(&file).map_err(|e| format!("{}: {}: {e}", mistake.name, mistake.file))?;
        let places = sound.matches(mistake.find).count();
        if places != 1 {
            return Err(format!(
                "{} is out of date: its text stands {places} times in {}",
                mistake.name, mistake.file
            ));
        }
        let planted = Planted { file, sound };
        let mistaken = planted.sound.replacen(mistake.find, mistake.replace, 1);
        fs::write(&planted.file, mistaken).map_err(|e| format!("{}: {e}", mistake.name))?;
        Ok(planted)
    }
}

/// A planted mistake.
pub struct Planted {
    file: PathBuf,
    sound: String,
}

impl Drop for Planted {
    fn drop(&mut self) {
        // If it can't be mended, the next copy of the tree does it.
        let _ = fs::write(&self.file, &self.sound);
    }
}
