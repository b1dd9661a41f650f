//! `make lint` runs this: prints each circle of imports and each import of a higher layer in `src`.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../src");
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
