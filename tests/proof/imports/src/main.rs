//! `make lint` runs this: prints each circle of imports and each import of a higher layer in `src`, or in a folder that is its
//! argument.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../src");
    let folder = std::env::args_os().nth(1).map_or_else(own, PathBuf::from);
    match imports::check(&folder, "instance_deletion_controller") {
        Ok((findings, files)) if findings.is_empty() => {
            println!("imports: no circle and no import of a higher layer in {files} files");
            ExitCode::SUCCESS
        }
        Ok((findings, _)) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("The layers are the table in tests/proof/imports/src/layers.rs.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("imports: {error}");
            ExitCode::FAILURE
        }
    }
}
