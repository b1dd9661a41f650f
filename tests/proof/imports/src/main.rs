//! `make lint` runs this: prints each circle of imports and each import of a higher layer in the crates of this checkout, or of
//! one that is its argument.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use imports::{CRATES, check};

fn main() -> ExitCode {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let root = std::env::args_os().nth(1).map_or_else(own, PathBuf::from);
    let mut sound = true;
    for one in &CRATES {
        match check(&root, one) {
            Ok((findings, files)) if findings.is_empty() => {
                println!("{}: no circle and no import of a higher layer in {files} files", one.folder);
            }
            Ok((findings, _)) => {
                sound = false;
                eprintln!("{}:", one.folder);
                for finding in &findings {
                    eprintln!("{finding}");
                }
            }
            Err(error) => {
                sound = false;
                eprintln!("{}: {error}", one.folder);
            }
        }
    }
    if sound {
        return ExitCode::SUCCESS;
    }
    eprintln!("The layers are the tables in tests/proof/imports/src/layers.rs.");
    ExitCode::FAILURE
}
