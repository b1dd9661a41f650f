//! The layers of the crates that are published.

/// A layer: its files may import those of lower layers and of their own part, and no others.
#[derive(Debug)]
pub struct Layer {
    /// What it is called in findings.
    pub name: &'static str,
    /// Files and folders (with a `/` at the end), from the folder of the sources on. Parts of one layer do not import one another. A file belongs
    /// to the part that names the most of its path.
    pub parts: &'static [&'static str],
}

/// A crate and its layers.
#[derive(Debug)]
pub struct Crate {
    /// Its name in paths.
    pub name: &'static str,
    /// Where its sources are, from the root of the project on.
    pub folder: &'static str,
    /// From the lowest to the highest. A file that no part names is a finding.
    pub layers: &'static [Layer],
    /// Pairs. The first does not import the second, though its layer is higher.
    pub apart: &'static [(&'static str, &'static str)],
}

/// The crates that are published.
pub const CRATES: [Crate; 2] = [
    Crate {
        name: "instance_deletion_controller",
        folder: "src",
        layers: CONTROLLER,
        apart: &[
            // The client of the cloud knows nothing of Kubernetes.
            ("cloud/", "api/"),
            ("cloud/", "scope/"),
            // `main.rs` alone puts the two together.
            ("runtime/", "controller/"),
        ],
    },
    Crate { name: "kubectl_idel", folder: "plugin/src", layers: PLUGIN, apart: &[] },
];

const CONTROLLER: &[Layer] = &[
    Layer {
        name: "foundations",
        parts: &["api/", "scope/", "lock.rs", "metrics.rs", "random.rs", "supervise.rs", "text.rs"],
    },
    Layer { name: "terms of the engine", parts: &["engine/"] },
    Layer { name: "decisions about an account", parts: &["engine/account/"] },
    Layer { name: "what is known of an object", parts: &["engine/object/state/"] },
    Layer { name: "rules of an object", parts: &["engine/object/rules/"] },
    Layer { name: "reports of an object", parts: &["engine/object/report/"] },
    Layer { name: "the decision about an object", parts: &["engine/object/"] },
    Layer { name: "clock", parts: &["clock.rs"] },
    Layer { name: "leadership", parts: &["leadership.rs"] },
    Layer { name: "cloud", parts: &["cloud/"] },
    Layer {
        name: "metrics and queue of the controller",
        parts: &["controller/metrics/", "controller/queue/"],
    },
    Layer { name: "API server", parts: &["controller/api_server/"] },
    Layer { name: "accounts", parts: &["controller/accounts/"] },
    Layer { name: "state of the controller", parts: &["controller/state/"] },
    Layer { name: "calls", parts: &["controller/calls/"] },
    Layer { name: "reads", parts: &["controller/reads/"] },
    Layer { name: "reconcile", parts: &["controller/reconcile/"] },
    Layer { name: "watch and drain", parts: &["controller/watch/", "controller/drain.rs"] },
    Layer { name: "controller", parts: &["controller/"] },
    Layer { name: "process", parts: &["runtime/"] },
    Layer { name: "crate", parts: &["lib.rs"] },
    Layer { name: "program", parts: &["main.rs"] },
];

const PLUGIN: &[Layer] = &[
    Layer { name: "foundations", parts: &["args.rs", "failure.rs", "table.rs"] },
    Layer {
        name: "what commands share",
        parts: &["cluster.rs", "manifest.rs", "output.rs", "ownership.rs", "progress.rs"],
    },
    Layer { name: "what commands work on", parts: &["inventory.rs", "targets.rs"] },
    Layer { name: "commands", parts: &["commands/"] },
    Layer { name: "command line", parts: &["cli.rs"] },
    Layer { name: "crate", parts: &["lib.rs"] },
    Layer { name: "program", parts: &["main.rs"] },
];

/// Numbers of the layer and of the part that a file belongs to.
pub(crate) fn place(layers: &[Layer], file: &str) -> Option<(usize, usize)> {
    let parts = layers.iter().enumerate().flat_map(|(rank, layer)| {
        layer.parts.iter().enumerate().map(move |(number, part)| (*part, (rank, number)))
    });
    parts.filter(|(part, _)| is_in(file, part)).max_by_key(|(part, _)| part.len()).map(|(_, place)| place)
}

/// Whether a file is this one, or in this folder.
pub(crate) fn is_in(file: &str, part: &str) -> bool {
    part == file || (part.ends_with('/') && file.starts_with(part))
}
