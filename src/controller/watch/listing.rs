//! What a watch has said of its objects: enough to tell which of its events ask for a pass.
//!
//! The controller's own writes of a status change neither generation nor metadata and ask for none.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::{api_server::key::Key, state::objects::Revision};

/// Client-side apply stores the spec a second time here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is compared of an object: a few bytes, whatever its annotations hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the uid and of all that users write: generation, deletionTimestamp, labels, annotations.
    hash: u64,
    revision: Revision,
}

impl Fingerprint {
    /// The fingerprint of an object with this metadata.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        let mut hasher = DefaultHasher::new();
        (&meta.uid, meta.generation, &meta.labels).hash(&mut hasher);
        meta.deletion_timestamp.as_ref().map(|time| time.0.as_second()).hash(&mut hasher);
        for annotation in meta.annotations.iter().flatten().filter(|(name, _)| *name != LAST_APPLIED) {
            annotation.hash(&mut hasher);
        }
        let revision = Revision::parse(meta.resource_version.as_deref().unwrap_or_default());
        Self { hash: hasher.finish(), revision }
    }

    /// Whether an object that looked like `before` is to be read again. One of an older resourceVersion comes from a restored
    /// backup: its status is an older one too.
    fn asks_for_a_pass(self, before: Self) -> bool {
        self.hash != before.hash || self.revision.is_older_than(before.revision)
    }
}

/// The objects that a watch has shown and not taken back.
#[derive(Debug, Default)]
pub struct Listing {
    /// With the number of the last list that showed it, or that was under way.
    by_key: HashMap<Key, (Fingerprint, u32)>,
    lists: u32,
}

impl Listing {
    /// A list begins. Returns whether it is the first.
    pub fn begin(&mut self) -> bool {
        self.lists = self.lists.wrapping_add(1);
        self.lists == 1
    }

    /// An object is listed or was changed. Returns whether it asks for a pass.
    pub fn show(&mut self, key: Key, fingerprint: Fingerprint) -> bool {
        let before = self.by_key.insert(key, (fingerprint, self.lists));
        before.is_none_or(|(before, _)| fingerprint.asks_for_a_pass(before))
    }

    /// An object left the watch: it was deleted, or its labels changed. When it comes back, it asks for a pass.
    pub fn remove(&mut self, key: &Key) {
        self.by_key.remove(key);
    }

    /// A list is complete. Returns the keys that ask for a pass: of objects that it leaves out, whether the watch has shown
    /// them or `known` names them, and of those that it shows and `known` does not name.
    pub fn end(&mut self, known: HashSet<Key>) -> Vec<Key> {
        let lists = self.lists;
        let mut keys: HashSet<Key> =
            self.by_key.extract_if(|_, (_, list)| *list != lists).map(|(key, _)| key).collect();
        keys.extend(self.by_key.keys().filter(|key| !known.contains(*key)).cloned());
        keys.extend(known.into_iter().filter(|key| !self.by_key.contains_key(key)));
        keys.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "fleet".into(), name: name.into() }
    }

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn meta() -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".into()),
            generation: Some(1),
            resource_version: Some("70".into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_users_write_asks_for_a_pass_and_a_status_does_not() {
        type Edit = fn(&mut ObjectMeta);
        let table: [(&str, Edit, bool); 11] = [
            ("the same again", |_| {}, false),
            ("status", |meta| meta.resource_version = Some("71".into()), false),
            ("managed fields", |meta| meta.managed_fields = Some(Vec::default()), false),
            ("client-side apply", |meta| meta.annotations = Some(one(LAST_APPLIED, "{}")), false),
            ("spec", |meta| meta.generation = Some(2), true),
            ("annotation", |meta| meta.annotations = Some(one("a", "b")), true),
            ("label", |meta| meta.labels = Some(one("a", "b")), true),
            ("deletion", |meta| meta.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)), true),
            ("another of the same name", |meta| meta.uid = Some("v".into()), true),
            ("an older status, restored", |meta| meta.resource_version = Some("69".into()), true),
            ("a server that counts in another way", |meta| meta.resource_version = Some("x".into()), false),
        ];
        for (name, edit, expected) in table {
            let mut listing = Listing::default();
            assert!(listing.show(key("a"), Fingerprint::of(&meta())), "{name}: new");
            let mut edited = meta();
            edit(&mut edited);
            assert_eq!(listing.show(key("a"), Fingerprint::of(&edited)), expected, "{name}");
            assert!(!listing.show(key("a"), Fingerprint::of(&edited)), "{name}: again");
        }
    }

    #[test]
    fn a_label_and_an_annotation_are_told_apart() {
        let (mut label, mut annotation) = (meta(), meta());
        label.labels = Some(one("a", "b"));
        annotation.annotations = Some(one("a", "b"));
        assert_ne!(Fingerprint::of(&label).hash, Fingerprint::of(&annotation).hash);
    }

    #[test]
    fn an_object_that_comes_back_asks_for_a_pass() {
        let (mut listing, same) = (Listing::default(), Fingerprint::of(&meta()));
        let show = |listing: &mut Listing, name| listing.show(key(name), same);
        let end = |listing: &mut Listing, known: &[&str]| {
            let mut keys = listing.end(known.iter().map(|name| key(name)).collect());
            keys.sort();
            keys.into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        assert!(listing.begin());
        assert!(show(&mut listing, "a") && show(&mut listing, "b") && show(&mut listing, "c"));
        assert_eq!(end(&mut listing, &["a", "b", "c"]), [] as [&str; 0]);
        // By an event of the watch.
        listing.remove(&key("a"));
        assert!(show(&mut listing, "a"), "relabelled, or made again");
        // By a list that leaves it out. The one before was cut off.
        assert!(!listing.begin());
        assert!(!show(&mut listing, "b"));
        assert!(!listing.begin());
        assert!(!show(&mut listing, "a") && !show(&mut listing, "c"));
        assert_eq!(end(&mut listing, &["a", "b", "c"]), ["b"]);
        assert!(show(&mut listing, "b"), "it appears again");
        // What only one of both knows: a deletion that was not told, and an object that was forgotten too early.
        listing.begin();
        assert!(!show(&mut listing, "a") && !show(&mut listing, "b") && !show(&mut listing, "c"));
        assert_eq!(end(&mut listing, &["a", "b", "gone"]), ["c", "gone"]);
    }
}
