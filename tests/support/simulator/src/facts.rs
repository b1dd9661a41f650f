//! What a row of ListInstances tells beside the state, and the server that the instance is on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{power::Power, random::Random};

/// What an instance is. Tests and the admin interface change it at any time; the next read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// `name`.
    pub name: String,
    /// `vpc_id`.
    pub vpc_id: String,
    /// `tags`, in the list as `[{key, value}]`.
    pub tags: BTreeMap<String, String>,
    /// `image`.
    pub image: Image,
    /// `created_at`, RFC 3339.
    pub created_at: String,
    /// `launched_at`, RFC 3339.
    pub launched_at: String,
    /// `network_interfaces`; the first is the primary one.
    pub network_interfaces: Vec<NetworkInterface>,
    /// The server that the instance is on. Its id is `server_id`.
    pub server: Server,
    /// Fields of the row as they are shown instead, whatever their form.
    pub shown_as: BTreeMap<String, Value>,
    /// Fields that the row leaves out.
    pub left_out: BTreeSet<String>,
}

/// `image` of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Such as `Linux`.
    pub os_type: String,
}

/// One of `network_interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// Id of the subnet.
    pub subnet_id: String,
    /// Address in it.
    pub ipv4_address: String,
}

/// A physical server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `location.dc`, name of the machine room.
    pub dc: String,
    /// `location.rack`, name of the rack.
    pub rack: String,
    /// `location.unit`, place in the rack.
    pub unit: String,
    /// `tags`.
    pub tags: BTreeMap<String, String>,
}

/// Which facts the rows of ListInstances and ListServers have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowFacts {
    /// All, as documented.
    #[default]
    Documented,
    /// None: a row has its id and its states.
    Absent,
    /// All, in forms that no document has: null, numbers for text, a map for a list, times in milliseconds.
    Odd,
}

impl Facts {
    /// Facts of an instance that was given none: from the seed and its id alone, apart from the times.
    pub(crate) fn of(seed: u64, id: &str, created_at: &str) -> Self {
        let mut random = Random::for_name(seed, id, u64::MAX);
        let (server_id, vpc_id) = (random.uuid(4, None), random.uuid(4, None));
        let (subnet_id, image_id) = (random.uuid(4, None), random.uuid(4, None));
        let mut below = |n: u64| random.next() % n;
        let address = format!("10.{}.{}.{}", below(256), below(256), 1 + below(254));
        let (rack, unit) = (1 + below(20), 1 + below(42));
        let short = id.rsplit('-').next().unwrap_or(id);
        Self {
            name: format!("instance-{short}"),
            vpc_id,
            tags: BTreeMap::new(),
            image: Image {
                id: image_id,
                name: "Ubuntu 22.04 server 64bit".to_owned(),
                os_type: "Linux".to_owned(),
            },
            created_at: created_at.to_owned(),
            launched_at: created_at.to_owned(),
            network_interfaces: vec![NetworkInterface { subnet_id, ipv4_address: address }],
            server: Server {
                id: server_id,
                name: format!("server-{short}"),
                dc: "dc-1".to_owned(),
                rack: rack.to_string(),
                unit: unit.to_string(),
                tags: BTreeMap::new(),
            },
            shown_as: BTreeMap::new(),
            left_out: BTreeSet::new(),
        }
    }

    /// These facts with a JSON merge patch (RFC 7386) applied; the error says what does not fit.
    pub(crate) fn patched(&self, patch: &Value) -> Result<Self, String> {
        let mut value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        merge(&mut value, patch);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// Writes them into a row of ListInstances.
    pub(crate) fn write(&self, row: &mut Map<String, Value>, form: RowFacts) {
        let documented = json!({
            "name": self.name,
            "description": "",
            "vpc_id": self.vpc_id,
            "network_interfaces": self.network_interfaces,
            "tags": tag_list(&self.tags),
            "metadata": {},
            "image": self.image,
            "server_id": self.server.id,
            "created_at": self.created_at,
            "launched_at": self.launched_at,
        });
        let fields = match form {
            RowFacts::Documented => documented,
            RowFacts::Absent => {
                row.remove("updated_at");
                json!({})
            }
            RowFacts::Odd => json!({
                "name": null,
                "vpc_id": 7,
                "network_interfaces": "none",
                "tags": self.tags,
                "image": [],
                "server_id": {"id": self.server.id},
                "created_at": 1_752_722_670_000_u64,
                "updated_at": "yesterday",
                "launched_at": "2025-07-17 03:24:30",
            }),
        };
        if let Value::Object(fields) = fields {
            row.extend(fields);
        }
        row.extend(self.shown_as.clone());
        row.retain(|field, _| !self.left_out.contains(field));
    }
}

impl Server {
    /// PhysicalServer: a row of ListServers.
    pub(crate) fn row(
        &self,
        project: &str,
        manage_state: &str,
        power: &Power,
        onboard_time: &str,
        form: RowFacts,
    ) -> Value {
        let mut row = json!({
            "id": self.id,
            "project_id": project,
            "manage_state": manage_state,
            "power_state": power.state(),
        });
        if let Some(operation_state) = &power.operation_state {
            row["operation_state"] = json!(operation_state);
        }
        let facts = match form {
            RowFacts::Documented => json!({
                "name": self.name,
                "domain_id": "account",
                "health_state": "OK",
                "onboard_time": onboard_time,
                "location": {"dc": self.dc, "rack": self.rack, "unit": self.unit},
                "hardware_attributes": {},
                "tags": tag_list(&self.tags),
            }),
            RowFacts::Absent => json!({}),
            RowFacts::Odd => {
                json!({"name": null, "location": {"dc": null, "rack": 7, "unit": []}, "tags": {}})
            }
        };
        merge(&mut row, &facts);
        row
    }
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198170e-4ca7-7ee4-89a7-fa6318439299";

    #[test]
    fn the_facts_of_an_id_are_the_same_each_time_and_those_of_another_differ() {
        let facts = Facts::of(1, ID, "2026-01-01T00:00:00Z");
        assert_eq!(facts, Facts::of(1, ID, "2026-01-01T00:00:00Z"));
        assert_eq!(facts.name, "instance-fa6318439299");
        let other = Facts::of(1, "0198170e-4ca7-7ee4-89a7-000000000000", "2026-01-01T00:00:00Z");
        assert_ne!((facts.server, facts.vpc_id), (other.server, other.vpc_id));
    }

    #[test]
    fn a_patch_changes_what_it_names_and_one_that_does_not_fit_is_refused() {
        let facts = Facts::of(1, ID, "2026-01-01T00:00:00Z");
        let patched = facts
            .patched(&json!({"name": "db-7", "tags": {"keep": "true"}, "server": {"rack": "12"}}))
            .unwrap();
        let mut expected = facts.clone();
        expected.name = "db-7".to_owned();
        expected.tags.insert("keep".to_owned(), "true".to_owned());
        expected.server.rack = "12".to_owned();
        assert_eq!(patched, expected);
        assert_eq!(patched.patched(&json!({"tags": {"keep": null}})).unwrap().tags, BTreeMap::new());
        assert!(facts.patched(&json!({"nam": "x"})).is_err());
        assert!(facts.patched(&json!({"name": 7})).is_err());
        assert!(facts.patched(&json!({"name": null})).is_err(), "an instance has a name");
    }
}
