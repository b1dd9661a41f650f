//! Manifests as YAML for review: one id a line, with a comment behind it that says which machine it is.

use std::collections::BTreeMap;

use instance_deletion_controller::api::{
    Expect, InstanceDeletionSpec, NotFoundPolicy, PowerOff, PowerOffWhen, Rollout,
};

use crate::table::printable;

/// A manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Lines of comment at the top.
    pub about: Vec<String>,
    /// Name of the object.
    pub name: String,
    /// Its namespace, if it is to be in the manifest.
    pub namespace: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its spec.
    pub spec: InstanceDeletionSpec,
    /// A comment for each id, in the order of the spec; empty for none.
    pub comments: Vec<String>,
}

impl Manifest {
    /// The manifest as a YAML document.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.about {
            text += &format!("# {}\n", printable(line));
        }
        text += "apiVersion: clouddc.dev/v1alpha1\nkind: InstanceDeletion\nmetadata:\n";
        text += &format!("  name: {}\n", scalar(&self.name));
        if let Some(namespace) = &self.namespace {
            text += &format!("  namespace: {}\n", scalar(namespace));
        }
        map(&mut text, 2, "labels", &self.labels);
        self.spec(&mut text);
        text
    }

    fn spec(&self, text: &mut String) {
        let spec = &self.spec;
        *text += &format!("spec:\n  region: {}\n", scalar(&spec.region));
        *text += &format!("  projectID: {}\n", scalar(&spec.project_id));
        *text +=
            &format!("  credentialsSecretRef:\n    name: {}\n", scalar(&spec.credentials_secret_ref.name));
        if let Some(dry_run) = spec.dry_run {
            *text += &format!("  dryRun: {dry_run}\n");
        }
        if let Some(expect) = &spec.expect {
            write_expect(text, expect);
        }
        if let Some(rollout) = &spec.rollout {
            write_rollout(text, *rollout);
        }
        if let Some(power_off) = &spec.power_off {
            write_power_off(text, *power_off);
        }
        match spec.not_found_policy {
            Some(NotFoundPolicy::Succeed) => *text += "  notFoundPolicy: Succeed\n",
            Some(NotFoundPolicy::Fail) => *text += "  notFoundPolicy: Fail\n",
            None => {}
        }
        number(text, 2, "backoffLimitPerInstance", spec.backoff_limit_per_instance);
        number(text, 2, "activeDeadlineSeconds", spec.active_deadline_seconds);
        if let Some(moment) = &spec.not_after {
            *text += &format!("  notAfter: {}\n", quoted(&moment.0.to_string()));
        }
        number(text, 2, "ttlSecondsAfterFinished", spec.ttl_seconds_after_finished);
        *text += "  instanceIDs:\n";
        let comments = self.comments.iter().map(String::as_str).chain(std::iter::repeat(""));
        for (id, comment) in spec.instance_ids.iter().zip(comments) {
            let comment =
                if comment.is_empty() { String::new() } else { format!(" # {}", printable(comment)) };
            *text += &format!("  - {}{comment}\n", scalar(id));
        }
    }
}

fn write_expect(text: &mut String, expect: &Expect) {
    *text += "  expect:\n";
    if let Some(name) = &expect.name {
        *text += &format!("    name: {}\n", quoted(name));
    }
    if let Some(vpc) = &expect.vpc_id {
        *text += &format!("    vpcID: {}\n", scalar(vpc));
    }
    map(text, 4, "tags", expect.tags.as_ref().unwrap_or(&BTreeMap::new()));
    if let Some(moment) = &expect.created_before {
        *text += &format!("    createdBefore: {}\n", quoted(&moment.0.to_string()));
    }
}

fn write_rollout(text: &mut String, rollout: Rollout) {
    *text += "  rollout:\n";
    number(text, 4, "limit", rollout.limit);
    number(text, 4, "maxInFlight", rollout.max_in_flight);
    number(text, 4, "maxFailed", rollout.max_failed);
}

fn write_power_off(text: &mut String, power_off: PowerOff) {
    let when = match power_off.when {
        PowerOffWhen::IfRefused => "IfRefused",
        PowerOffWhen::Always => "Always",
    };
    *text += &format!("  powerOff:\n    when: {when}\n");
    number(text, 4, "soakSeconds", power_off.soak_seconds);
}

fn number(text: &mut String, indent: usize, field: &str, value: Option<u32>) {
    if let Some(value) = value {
        *text += &format!("{:indent$}{field}: {value}\n", "");
    }
}

fn map(text: &mut String, indent: usize, field: &str, values: &BTreeMap<String, String>) {
    if values.is_empty() {
        return;
    }
    *text += &format!("{:indent$}{field}:\n", "");
    for (key, value) in values {
        *text += &format!("{:indent$}  {}: {}\n", "", scalar(key), quoted(value));
    }
}

/// A string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A plain scalar where every reader of YAML takes it for a string, else a quoted one.
fn scalar(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let safe = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner);
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let other = word.contains(&text.to_ascii_lowercase().as_str())
        // A number, or what may be one: digits with dots, underscores or an exponent, or a date.
        || text.parse::<f64>().is_ok()
        || text.starts_with("0x")
        || text.starts_with("0o")
        || (text.len() == 10 && text.chars().all(|c| c.is_ascii_digit() || c == '-'));
    if safe && !other { text.to_owned() } else { quoted(text) }
}

/// A name for an object from free text: lower-case letters, digits and hyphens.
#[must_use]
pub fn name_from(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let end = name.len().min(200);
    name.truncate(end);
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_reader_takes_for_a_string_is_plain() {
        for plain in ["retire-rack-12", "0198170e-4ca7-7ee4-89a7-fa6318439299", "ap-southeast-3", "a.b/c"] {
            assert_eq!(scalar(plain), plain);
        }
        for text in [
            "12",
            "true",
            "No",
            "1e5",
            "0x12",
            "",
            "-",
            "a: b",
            "a #b",
            "2026-01-01",
            "*",
            "00123456789012345678901234567890",
        ] {
            assert_eq!(scalar(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn names_are_made_of_what_a_name_may_have() {
        assert_eq!(name_from("retire rack 12/A_b"), "retire-rack-12-a-b");
        assert_eq!(name_from("--x--"), "x");
    }
}
