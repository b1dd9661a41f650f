//! `make generate` writes the generated pages of docs/reference with this; `make lint` checks the documents with `--check`.

use std::{path::Path, process::ExitCode};

use reference::{documents, pages};

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let check = std::env::args().any(|argument| argument == "--check");
    let done = if check { problems(&root) } else { pages::write(&root).map(|()| Vec::new()) };
    match done {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("reference: {error}");
            ExitCode::FAILURE
        }
    }
}

fn problems(root: &Path) -> Result<Vec<String>, reference::Error> {
    Ok([pages::drifted(root)?, documents::problems(root)?].concat())
}
