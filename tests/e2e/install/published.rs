//! What is published agrees with what the manifests, the chart and the documents say of it.

use std::{fs, path::Path};

use harness::project;

/// The image, wherever it is named: the manifests use the name as it stands, and documents put the reader's `REGISTRY/` before it.
const IMAGE: &str = "instance-deletion-controller";
const REFERENCE: &str = concat!("instance-deletion-controller:", env!("CARGO_PKG_VERSION"));
/// Folders and files that name the image. `docs/results` has the names of its dates.
const PLACES: [&str; 10] = [
    "deploy",
    "docs/explanation",
    "docs/how-to",
    "docs/reference",
    "docs/tutorial",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
    ".github",
];

fn read(file: &str) -> String {
    fs::read_to_string(project().join(file)).unwrap()
}

fn texts(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            texts(&entry.unwrap().path(), found);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        found.push((path.display().to_string(), text));
    }
}

/// References to the image in a text: the name with a tag or a digest, and what stands before it.
fn references(text: &str) -> Vec<&str> {
    let part = |byte: char| byte.is_ascii_alphanumeric() || "/.-_:@$".contains(byte);
    let words = text.split(|byte: char| !part(byte)).map(|word| word.trim_end_matches(['.', ':']));
    let tagged = |word: &&str| {
        let (_, rest) = word.rsplit_once(IMAGE).unwrap_or_default();
        rest.starts_with(':') || rest.starts_with('@')
    };
    // `docker://REGISTRY/…`: the transport is no part of a reference.
    words.filter(tagged).map(|word| word.rsplit_once("//").map_or(word, |(_, reference)| reference)).collect()
}

#[test]
fn the_image_has_one_reference_in_manifests_chart_and_documents() {
    let mut found = Vec::new();
    for place in PLACES {
        texts(&project().join(place), &mut found);
    }
    let mut named = 0;
    for (file, text) in &found {
        for reference in references(text) {
            let name = reference.strip_prefix("REGISTRY/").unwrap_or(reference);
            assert!(name == REFERENCE || name.starts_with(&format!("{IMAGE}@")), "{file}: {reference}");
            named += usize::from(name == REFERENCE);
        }
    }
    assert!(named > 3, "{named} references");
    let base = read("deploy/base/deployment.yaml");
    assert!(base.contains(&format!("image: {REFERENCE}\n")));
    let values = read("deploy/helm/instance-deletion-controller/values.yaml");
    assert!(
        values.contains(&format!(
            "  repository: {IMAGE}\n  # -- The chart's appVersion if empty.\n  tag: \"\"\n"
        ))
    );
}

#[test]
fn chart_image_and_program_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/helm/instance-deletion-controller/Chart.yaml");
    assert!(chart.contains(&format!("\nversion: {version}\nappVersion: {version}\n")));
    assert!(read("deploy/image/Containerfile").contains(&format!("\nARG VERSION={version}\n")));
}

#[test]
fn pods_run_on_the_architectures_that_are_built() {
    let makefile = read("Makefile");
    let built = makefile.lines().find_map(|line| line.strip_prefix("ARCHITECTURES := ")).unwrap();
    let list = built.split(' ').collect::<Vec<_>>().join(", ");
    let values = read("deploy/helm/instance-deletion-controller/values.yaml");
    assert!(values.contains(&format!("  architectures: [{list}]\n")));
    let base = read("deploy/base/deployment.yaml");
    assert!(base.contains(&format!("{{key: kubernetes.io/arch, operator: In, values: [{list}]}}")));
}

#[test]
fn each_definition_is_published_alone_too() {
    let script = read("deploy/release.sh");
    assert!(script.contains("cp crds/clouddc.dev_*.yaml \"$out/\"\n"));
    let definitions = fs::read_dir(project().join("crds")).unwrap();
    let names = definitions.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| name != "kustomization.yaml").collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        assert!(
            name.starts_with("clouddc.dev_") && read("docs/how-to/release.md").contains(&format!("`{name}`")),
            "{name}"
        );
    }
}
