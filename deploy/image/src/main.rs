//! Lays out the root of the controller's image, for a container engine to copy as it is or for a person who has none.
//!
//! An image from nothing: what is not written here is not there. No shell, no package, no other user's file.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use pem::{EncodeConfig, LineEnding, Pem};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Where the TLS library looks first.
const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";
/// For programs that ask who they are; the Deployment names the user by number.
const PASSWD: &str = "controller:x:65532:65532::/:/\n";
const GROUP: &str = "controller:x:65532:\n";

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}")]
struct Error {
    what: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(binary), Some(root), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: image-root BINARY FOLDER");
        return ExitCode::from(2);
    };
    match lay_out(&binary, &root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image-root: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lay_out(binary: &Path, root: &Path) -> Result<(), Error> {
    // What an earlier version wrote must not stay.
    if root.exists() {
        fs::remove_dir_all(root).map_err(failed("removing", root))?;
    }
    write(root, "etc/passwd", PASSWD)?;
    write(root, "etc/group", GROUP)?;
    write(root, ROOTS, &roots())?;
    let program = root.join("instance-deletion-controller");
    fs::copy(binary, &program).map_err(failed("copying", binary))?;
    mode(&program, 0o755)
}

/// The authorities, as the file that Linux distributions have.
fn roots() -> String {
    let pems: Vec<Pem> =
        TLS_SERVER_ROOT_CERTS.iter().map(|root| Pem::new("CERTIFICATE", root.as_ref())).collect();
    pem::encode_many_config(&pems, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

fn write(root: &Path, path: &str, text: &str) -> Result<(), Error> {
    let path = root.join(path);
    // Whatever the umask of who builds: the controller's user must be able to read its way.
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        fs::create_dir_all(folder).map_err(failed("making", folder))?;
        mode(folder, 0o755)?;
    }
    fs::write(&path, text).map_err(failed("writing", &path))?;
    mode(&path, 0o644)
}

fn mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, into: &mut Vec<(String, u32)>, root: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            into.push((entry.path().strip_prefix(root).unwrap().display().to_string(), mode));
            if entry.path().is_dir() {
                files(&entry.path(), into, root);
            }
        }
    }

    #[test]
    fn the_root_holds_this_and_nothing_else_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, root) = (folder.path().join("binary"), folder.path().join("root"));
        fs::write(&binary, "program").unwrap();
        fs::create_dir(&root).unwrap();
        fs::write(root.join("left-over"), "").unwrap();
        lay_out(&binary, &root).unwrap();
        let mut found = Vec::new();
        files(&root, &mut found, &root);
        found.sort();
        let expected = [
            ("etc", 0o755),
            ("etc/group", 0o644),
            ("etc/passwd", 0o644),
            ("etc/ssl", 0o755),
            ("etc/ssl/certs", 0o755),
            (ROOTS, 0o644),
            ("instance-deletion-controller", 0o755),
        ];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn the_authorities_are_mozillas_whole_list() {
        let parsed = pem::parse_many(roots()).unwrap();
        assert_eq!(parsed.len(), TLS_SERVER_ROOT_CERTS.len());
        assert!(parsed.len() > 100, "{}", parsed.len());
        assert!(parsed.iter().zip(TLS_SERVER_ROOT_CERTS).all(|(pem, der)| pem.contents() == der.as_ref()));
    }

    #[test]
    fn a_binary_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = lay_out(Path::new("/nowhere/binary"), &folder.path().join("root")).unwrap_err();
        assert!(error.to_string().starts_with("copying /nowhere/binary: "), "{error}");
    }
}
