//! Images for the node, built by buildah.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use control_plane::Error;

use crate::files::PAUSE;

/// An image as an archive that containerd imports.
#[derive(Debug)]
pub struct Image {
    name: String,
    archive: PathBuf,
    _folder: tempfile::TempDir,
}

impl Image {
    /// Builds a Containerfile with this folder as its context. The name has a host, or the node would look for it elsewhere.
    pub fn build(containerfile: &Path, context: &Path, name: &str) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(Error::io("making a folder for an image"))?;
        let archive = folder.path().join("image.tar");
        // Its storage is in that folder: nothing is left on the machine.
        let storage = |command: &mut Command| {
            command.args(["--storage-driver", "vfs", "--root"]).arg(folder.path().join("root"));
            command.arg("--runroot").arg(folder.path().join("run"));
        };
        let mut build = Command::new("buildah");
        storage(&mut build);
        build
            .args(["build", "--quiet", "--isolation", "chroot", "--tag", name, "--file"])
            .arg(containerfile)
            .arg(context);
        run(build)?;
        let mut push = Command::new("buildah");
        storage(&mut push);
        run(push
            .args(["push", "--quiet", name])
            .arg(format!("docker-archive:{}:{name}", archive.display())))?;
        Ok(Self { name: name.to_owned(), archive, _folder: folder })
    }

    /// Its name, as a Pod names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn archive(&self) -> &Path {
        &self.archive
    }
}

/// The image that holds a Pod's namespaces: a program that sleeps.
pub fn pause() -> Result<Image, Error> {
    let context = tempfile::tempdir().map_err(Error::io("making a folder for an image"))?;
    let path = |name: &str| context.path().join(name);
    fs::copy("/bin/busybox", path("sleep")).map_err(Error::io("copying busybox"))?;
    let text = "FROM scratch\nCOPY sleep /sleep\nUSER 65535:65535\nENTRYPOINT [\"/sleep\", \"2147483647\"]\n";
    fs::write(path("Containerfile"), text).map_err(Error::io("writing a Containerfile"))?;
    Image::build(&path("Containerfile"), context.path(), PAUSE)
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Result<(), Error> {
    let command = command.borrow_mut();
    let output = command.output().map_err(Error::io("starting buildah"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::NotReady { what: "buildah failed".to_owned(), log })
}
