//! The name of the Lease, which only the processes of one shard share, and the unique identity of this process.

use ring::digest::{SHA256, digest};

use crate::{api::CONTROLLER_NAME, random::Random, scope::Scope};

/// Characters of the host's name in an identity, at most.
const HOST: usize = 64;

/// The name of the Lease for a scope.
///
/// It is `instance-deletion-controller` for all objects. For a narrower scope a hyphen and 16 hexadecimal digits follow: the
/// start of the SHA-256 of the sorted namespaces, each followed by a newline, and the selector's sorted requirements, joined by
/// commas. Namespaces and selectors hold no newline, so two scopes never give the same text.
#[must_use]
pub fn lease_name(scope: &Scope) -> String {
    if scope.namespaces().is_empty() && scope.selector().is_empty() {
        return CONTROLLER_NAME.to_owned();
    }
    let mut text = String::new();
    for namespace in scope.namespaces() {
        text += namespace;
        text += "\n";
    }
    text += &scope.selector().to_string();
    let hash = digest(&SHA256, text.as_bytes());
    let number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{CONTROLLER_NAME}-{number:016x}")
}

/// The identity of this process as a holder: the host's (pod's) name and random digits, since a restarted process on the same
/// host is a new holder. `None` if the system gives no random numbers.
#[must_use]
pub fn identity(random: &Random) -> Option<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let host: String = host.trim().chars().take(HOST).collect();
    let host = if host.is_empty() { "unknown" } else { &host };
    random.claim().map(|random| format!("{host}_{random}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespaces: &[&str], selector: &str) -> String {
        let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
        lease_name(&Scope::new(namespaces, selector.parse().unwrap()))
    }

    #[test]
    fn one_scope_has_one_name_however_its_flags_are_written() {
        assert_eq!(name(&[], ""), "instance-deletion-controller");
        // A later version must compute the same name: otherwise two processes lead during an update.
        assert_eq!(name(&["fleet"], ""), "instance-deletion-controller-fc39cc0b220781c7");
        assert_eq!(name(&[], "team=fleet"), "instance-deletion-controller-6e420327d0e138d8");
        assert_eq!(name(&["b", "a", "b"], "y!=2, x==1"), name(&["a", "b"], "x=1,y!=2"));
    }

    #[test]
    fn other_scopes_have_other_names_that_kubernetes_takes() {
        let all = [
            name(&[], ""),
            name(&["a"], ""),
            name(&["b"], ""),
            name(&["a", "b"], ""),
            name(&["ab"], ""),
            name(&[], "a"),
            name(&["a"], "b"),
            name(&[], "a=b"),
            name(&[], "a!=b"),
            name(&[], "a in (b)"),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        for name in &all {
            assert!(name.len() <= 63, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn two_processes_of_one_host_have_two_names() {
        let (one, other) = (identity(&Random::system()).unwrap(), identity(&Random::system()).unwrap());
        assert_ne!(one, other);
        let host = |identity: &str| identity.rsplit_once('_').map(|(host, _)| host.to_owned()).unwrap();
        assert_eq!(host(&one), host(&other));
        assert!(!host(&one).is_empty());
        assert_eq!(identity(&Random::from_source(|| None)), None);
    }
}
