//! The calls that change instances: what each sends, and the names by which the cloud tells of the instances.

use std::collections::HashSet;

use reqwest::Method;

use super::{
    bodies::{DeleteRequest, PowerAction, PowerRequest},
    metrics::Operation,
};
use crate::engine::{InstanceId, ServerId, settings::BATCH_SIZE};

/// A call that changes instances. The cloud knows each instance by the id that the request lists for it: its own, or that of
/// the server it is on. Outcomes are told in ids of instances.
pub struct Change {
    kind: ChangeKind,
    members: Vec<Member>,
}

/// What a call does to its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// DeleteInstances.
    Delete,
    /// ChangeServerPowerState with `power off`.
    PowerOff,
}

/// An instance of a call.
struct Member {
    instance: InstanceId,
    /// The id in the request, as the cloud spells it.
    listed: String,
    /// That id in the form in which ids are compared.
    name: String,
}

impl Change {
    /// Deletes these instances.
    pub fn delete(ids: &[InstanceId]) -> Self {
        Self::new(ChangeKind::Delete, ids.iter().map(|id| (*id, id.to_string())))
    }

    /// Powers off the servers of these instances.
    pub fn power_off(servers: &[(InstanceId, ServerId)]) -> Self {
        Self::new(ChangeKind::PowerOff, servers.iter().map(|(id, server)| (*id, server.to_string())))
    }

    fn new(kind: ChangeKind, members: impl Iterator<Item = (InstanceId, String)>) -> Self {
        let member = |(instance, listed): (_, String)| Member { instance, name: folded(&listed), listed };
        Self { kind, members: members.map(member).collect() }
    }

    /// What it does.
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// Its operation.
    pub fn operation(&self) -> Operation {
        match self.kind {
            ChangeKind::Delete => Operation::DeleteInstances,
            ChangeKind::PowerOff => Operation::ChangeServerPowerState,
        }
    }

    /// Its HTTP method.
    pub fn method(&self) -> Method {
        match self.kind {
            ChangeKind::Delete => Method::POST,
            ChangeKind::PowerOff => Method::PUT,
        }
    }

    /// Its path below the project.
    pub fn path(&self) -> &'static str {
        match self.kind {
            ChangeKind::Delete => "/instances/batch-delete",
            ChangeKind::PowerOff => "/physicalservers/power-state",
        }
    }

    /// What its reply lists, for messages.
    pub fn lists(&self) -> &'static str {
        match self.kind {
            ChangeKind::Delete => "instances",
            ChangeKind::PowerOff => "servers",
        }
    }

    /// The ids of its instances.
    pub fn ids(&self) -> Vec<InstanceId> {
        self.members.iter().map(|member| member.instance).collect()
    }

    /// The body of the request, or why the call is never sent: it names 1 to 50 instances, each once, and each by an id of its
    /// own.
    pub fn body(&self) -> Result<Vec<u8>, String> {
        let size = self.members.len();
        let instances: HashSet<_> = self.members.iter().map(|member| member.instance).collect();
        let names: HashSet<_> = self.members.iter().map(|member| &member.name).collect();
        let distinct = instances.len().min(names.len());
        if size == 0 || size > BATCH_SIZE || distinct != size {
            // The vendor does not document what an empty set means. No decision makes such a batch.
            return Err(format!("a batch of {size} ids ({distinct} distinct) is never sent"));
        }
        let listed = self.members.iter().map(|member| member.listed.as_str()).collect();
        let body = match self.kind {
            ChangeKind::Delete => serde_json::to_vec(&DeleteRequest { instance_id_set: listed }),
            ChangeKind::PowerOff => {
                serde_json::to_vec(&PowerRequest { action: PowerAction::Off, server_id_set: listed })
            }
        };
        body.map_err(|_| "the request can't be encoded".to_owned())
    }

    /// The instance that a reply means by this id. Other case or padding names the same instance.
    pub fn meant_by(&self, spelled: &str) -> Option<InstanceId> {
        let name = folded(spelled);
        self.members.iter().find(|member| member.name == name).map(|member| member.instance)
    }

    /// The instances whose ids stand in a message, each as a word of its own and in any case. The id of a server may be short,
    /// and so a part of a longer one.
    pub fn named_in(&self, message: &str) -> Vec<InstanceId> {
        let message = message.to_ascii_lowercase();
        let between = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let words: HashSet<&str> = message.split(between).collect();
        let named = self.members.iter().filter(|member| words.contains(member.name.as_str()));
        named.map(|member| member.instance).collect()
    }
}

/// An id in the form in which ids are compared.
fn folded(spelled: &str) -> String {
    spelled.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> InstanceId {
        InstanceId::from_u128(n)
    }

    fn on(servers: &[(u128, &str)]) -> Change {
        let pairs = servers.iter().map(|(n, server)| (id(*n), ServerId::parse(server).unwrap()));
        Change::power_off(&pairs.collect::<Vec<_>>())
    }

    #[test]
    fn a_call_sends_what_the_vendor_documents() {
        let text = |change: &Change| String::from_utf8(change.body().unwrap()).unwrap();
        let delete = Change::delete(&[id(1), id(2)]);
        let expected = r#"{"instance_id_set":["00000000-0000-0000-0000-000000000001","00000000-0000-0000-0000-000000000002"]}"#;
        assert_eq!(text(&delete), expected);
        assert_eq!((delete.method(), delete.path()), (Method::POST, "/instances/batch-delete"));
        let power = on(&[(1, "SRV-a"), (2, "srv_b")]);
        assert_eq!(text(&power), r#"{"action":"power off","server_id_set":["SRV-a","srv_b"]}"#);
        assert_eq!((power.method(), power.path()), (Method::PUT, "/physicalservers/power-state"));
    }

    #[test]
    fn s02_a_batch_that_may_not_be_sent_has_no_body() {
        let many: Vec<String> = (0..51).map(|n| format!("s{n}")).collect();
        let many: Vec<(u128, &str)> = (0..).zip(many.iter().map(String::as_str)).collect();
        let ids: Vec<InstanceId> = (0..51).map(id).collect();
        let table = [
            (Change::delete(&[]), "a batch of 0 ids (0 distinct) is never sent"),
            (Change::delete(&ids), "a batch of 51 ids (51 distinct) is never sent"),
            (Change::delete(&[id(1), id(1)]), "a batch of 2 ids (1 distinct) is never sent"),
            (on(&[]), "a batch of 0 ids (0 distinct) is never sent"),
            (on(&many), "a batch of 51 ids (51 distinct) is never sent"),
            (on(&[(1, "a"), (1, "b")]), "a batch of 2 ids (1 distinct) is never sent"),
            (on(&[(1, "a"), (2, "a")]), "a batch of 2 ids (1 distinct) is never sent"),
            (on(&[(1, "a"), (2, "A"), (3, "b")]), "a batch of 3 ids (2 distinct) is never sent"),
        ];
        for (change, why) in table {
            assert_eq!(change.body(), Err(why.to_owned()));
        }
        assert!(Change::delete(&ids[..50]).body().is_ok() && on(&many[..50]).body().is_ok());
    }

    #[test]
    fn c17_a_reply_may_spell_an_id_in_other_case_or_padded() {
        let delete = Change::delete(&[id(0xab)]);
        let table = [
            (&delete, "00000000-0000-0000-0000-0000000000ab", Some(0xab)),
            (&delete, " 00000000-0000-0000-0000-0000000000AB\n", Some(0xab)),
            (&delete, "00000000-0000-0000-0000-0000000000a", None),
            (&delete, "", None),
        ];
        for (change, spelled, expected) in table {
            assert_eq!(change.meant_by(spelled), expected.map(id), "{spelled:?}");
        }
        let power = on(&[(1, "SRV-1"), (2, "srv-11"), (3, "s")]);
        let table = [
            ("SRV-1", Some(1)),
            ("srv-1", Some(1)),
            (" Srv-11 ", Some(2)),
            ("S", Some(3)),
            ("srv", None),
            ("srv-111", None),
            // The id of the instance is not the server's.
            ("00000000-0000-0000-0000-000000000001", None),
        ];
        for (spelled, expected) in table {
            assert_eq!(power.meant_by(spelled), expected.map(id), "{spelled:?}");
        }
    }

    #[test]
    fn a_message_names_an_id_that_stands_in_it_as_a_word() {
        let power = on(&[(1, "SRV-1"), (2, "srv-11"), (3, "s")]);
        let table: [(&str, &[u128]); 8] = [
            ("Physical servers ID not found: [SRV-1, srv-11]", &[1, 2]),
            ("Physical servers state is not ready: [srv-1]", &[1]),
            ("srv-11.", &[2]),
            ("id=SRV-11,id=S", &[2, 3]),
            ("Physical servers are not ready", &[]),
            ("srv-111, xsrv-1, srv-1_b", &[]),
            ("服务器srv-1不存在", &[1]),
            ("", &[]),
        ];
        for (message, expected) in table {
            let expected: Vec<_> = expected.iter().map(|n| id(*n)).collect();
            assert_eq!(power.named_in(message), expected, "{message}");
        }
        let delete = Change::delete(&[id(1), id(2)]);
        let message = "Instances not found: [00000000-0000-0000-0000-000000000002]";
        assert_eq!(delete.named_in(message), [id(2)]);
    }
}
