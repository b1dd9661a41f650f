//! The record, sorted for a judge's questions.

use std::collections::{BTreeMap, BTreeSet};

use clouddc_simulator::Operation;
use serde_json::Value;

use super::looks::Looks;
use crate::record::{Call, CloudReply, Get, Moment, Outcome, Put, Record, list, text};

/// What a read showed of one instance to one process.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the caller began.
    pub started: Moment,
    /// When the request left.
    pub sent: Moment,
    /// When the reply came.
    pub answered: Moment,
    /// When the look that it belongs to was over, and with that known to the object; none if it never was.
    pub known: Option<Moment>,
    /// The state; `not found` for a 404 of the service.
    pub state: String,
    /// The name, if the read told it.
    pub name: Option<String>,
    /// The server, if the read told it.
    pub server: Option<String>,
}

impl Seen {
    /// Whether the state is one in which an instance may be sent.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "running" | "stopped") || self.is_error()
    }

    /// `error`, in either vocabulary.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.state.as_str(), "error" | "failed")
    }

    /// `terminated`, in either vocabulary.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self.state.as_str(), "terminated" | "teminated")
    }

    /// Its deletion goes on, or is over.
    #[must_use]
    pub fn is_on_its_way(&self) -> bool {
        self.state == "shutting-down" || self.is_terminated()
    }
}

/// A batch whose intent a write stored: its number, claim and ids.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The write, by its place in the record.
    pub put: usize,
    /// Batch number.
    pub number: u64,
    /// Its ids.
    pub ids: BTreeSet<String>,
}

/// A call that left and deletes or powers off, with the intent that it rests on.
pub struct Sent<'a> {
    /// It powers off, and does not delete.
    pub powers_off: bool,
    /// The instances that it means: those on the servers that it names, as its sender last read them.
    pub ids: Vec<String>,
    /// Its place in the record.
    pub number: usize,
    /// The call.
    pub call: &'a Call,
    /// When it left.
    pub left: Moment,
    /// None: there is none, against S3.
    pub intent: Option<&'a Put>,
    /// Its batch number.
    pub batch: u64,
    /// The read on which the intent was decided.
    pub decision: Option<&'a Get>,
}

/// The record, sorted.
pub struct View<'a> {
    /// The record.
    pub record: &'a Record,
    /// Calls that left and delete or power off, in that order.
    pub sent: Vec<Sent<'a>>,
    /// By uid and claim: the process whose write was the first that held it.
    pub makers: BTreeMap<(&'a str, &'a str), usize>,
    /// By process and id, in the order of the replies.
    pub seen: BTreeMap<(usize, String), Vec<Seen>>,
}

impl<'a> View<'a> {
    /// Sorts a record.
    #[must_use]
    pub fn of(record: &'a Record) -> Self {
        let mut intents = intents(record);
        let mut sent: Vec<Sent<'a>> = Vec::new();
        let seen = seen(record);
        for (number, call) in record.calls.iter().enumerate().filter(|(_, c)| changes(c.operation)) {
            let Some(left) = call.left else { continue };
            let powers_off = call.operation == Operation::ChangeServerPowerState;
            let named = if powers_off { on_servers(&seen, call) } else { call.ids.clone() };
            let ids: BTreeSet<String> = named.iter().cloned().collect();
            let found = intents.iter().rposition(|intent| {
                let put = record.puts.get(intent.put);
                put.is_some_and(|put| {
                    put.process == call.process
                        && put.acknowledged().is_some_and(|at| at < call.started)
                        && intent.ids == ids
                })
            });
            // Used up: a second call can't rest on the same intent.
            let intent = found.map(|at| intents.remove(at));
            let put = intent.as_ref().and_then(|intent| record.puts.get(intent.put));
            let decision = put.and_then(|put| last_get(record, put.process, put, put.sent));
            let batch = intent.map_or(0, |intent| intent.number);
            sent.push(Sent { powers_off, ids: named, number, call, left, intent: put, batch, decision });
        }
        sent.sort_by_key(|sent| sent.left);
        let mut makers = BTreeMap::new();
        for put in &record.puts {
            for batch in list(&put.status, "/batches") {
                makers.entry((put.uid.as_str(), text(batch, "/claim"))).or_insert(put.process);
            }
        }
        Self { record, sent, makers, seen }
    }

    /// The same, of looks that were over before a moment.
    pub fn known_before(&self, process: usize, id: &str, before: Moment) -> impl Iterator<Item = &Seen> {
        self.seen_before(process, id, before)
            .filter(move |seen| seen.known.is_some_and(|known| known < before))
    }

    /// What reads showed of an instance to a process whose reply came before a moment.
    pub fn seen_before(
        &self,
        process: usize,
        id: &str,
        before: Moment,
    ) -> impl DoubleEndedIterator<Item = &Seen> + Clone {
        let all = self.seen.get(&(process, id.to_owned())).map_or(&[][..], Vec::as_slice);
        all.iter().filter(move |seen| seen.answered < before)
    }
}

/// The last read of the object that a write is about, before a moment.
#[must_use]
pub fn last_get<'a>(record: &'a Record, process: usize, put: &Put, before: Moment) -> Option<&'a Get> {
    let of_it = |get: &&Get| get.process == process && get.key == put.key && get.answered < before;
    record.gets.iter().rev().find(of_it)
}

/// Batches that writes stored for the first time.
fn intents(record: &Record) -> Vec<Intent> {
    let mut known: BTreeSet<(&str, &str, u64)> = BTreeSet::new();
    let mut intents = Vec::new();
    for (number, put) in record.puts.iter().enumerate() {
        if put.applied.is_none() {
            continue;
        }
        for batch in list(&put.status, "/batches") {
            let at = batch["number"].as_u64().unwrap_or(0);
            if !known.insert((&put.uid, text(batch, "/claim"), at)) {
                continue;
            }
            let rows = list(&put.status, "/instances").iter().filter(|row| row["batch"].as_u64() == Some(at));
            let ids = rows.map(|row| text(row, "/id").to_owned()).collect();
            intents.push(Intent { put: number, number: at, ids });
        }
    }
    intents
}

fn seen(record: &Record) -> BTreeMap<(usize, String), Vec<Seen>> {
    let mut all: BTreeMap<(usize, String), Vec<Seen>> = BTreeMap::new();
    let looks = Looks::of(record);
    for (number, call) in record.calls.iter().enumerate() {
        let (Some(sent), Some((answered, Outcome::Reply(reply)))) = (call.left, &call.outcome) else {
            continue;
        };
        let mut add = |id: &str, state: &str, (name, server): (Option<&str>, Option<&str>)| {
            // A reply of another form shows nothing.
            if state.is_empty() {
                return;
            }
            let (state, name, server) =
                (state.to_owned(), name.map(str::to_owned), server.map(str::to_owned));
            let known = looks.over(number);
            let (started, answered) = (call.started, *answered);
            let seen = Seen { started, sent, answered, known, state, name, server };
            all.entry((call.process, id.to_owned())).or_default().push(seen);
        };
        let Some(body) = reply.json() else { continue };
        match call.operation {
            Operation::ShowInstanceStatus => {
                let id = call.ids.first().map_or("", String::as_str);
                if reply.status == 404 && reply.code().starts_with("iMetal.") {
                    add(id, "not found", (None, None));
                } else if reply.status == 200 {
                    add(id, text(&body, "/state"), (None, None));
                }
            }
            Operation::ListInstances if reply.status == 200 => {
                for row in list(&body, "/instances") {
                    let facts = (row["name"].as_str(), row["server_id"].as_str());
                    add(text(row, "/id"), text(row, "/state"), facts);
                }
            }
            _ => {}
        }
    }
    for seen in all.values_mut() {
        seen.sort_by_key(|seen| seen.answered);
    }
    all
}

/// Whether an operation deletes or powers off.
#[must_use]
pub fn changes(operation: Operation) -> bool {
    matches!(operation, Operation::DeleteInstances | Operation::ChangeServerPowerState)
}

/// The instances on the servers that a call names, as its sender last read them; the server itself where it read none.
fn on_servers(seen: &BTreeMap<(usize, String), Vec<Seen>>, call: &Call) -> Vec<String> {
    let on = |server: &String| {
        let of_sender = seen.iter().filter(|((process, _), _)| *process == call.process);
        let rows = of_sender.flat_map(|((_, id), rows)| rows.iter().map(move |row| (id, row)));
        let rows = rows.filter(|(_, row)| row.answered < call.started && row.server.as_ref() == Some(server));
        rows.max_by_key(|(_, row)| row.sent).map_or_else(|| server.clone(), |(id, _)| id.clone())
    };
    call.ids.iter().map(on).collect()
}

/// Ids that a reply to a delete call lists, as far as it may be understood.
#[must_use]
pub fn listed(reply: &CloudReply) -> BTreeSet<String> {
    if !(200..300).contains(&reply.status) {
        return BTreeSet::new();
    }
    let Some(body) = reply.json() else { return BTreeSet::new() };
    list(&body, "/instances").iter().map(|row| text(row, "/id").trim().to_lowercase()).collect()
}

/// The reply that the caller heard.
#[must_use]
pub fn heard(call: &Call) -> Option<(Moment, &CloudReply)> {
    match &call.outcome {
        Some((moment, Outcome::Reply(reply))) => Some((*moment, reply)),
        _ => None,
    }
}

/// Whether the caller heard that its call was refused and had no effect.
#[must_use]
pub fn refused(call: &Call) -> bool {
    heard(call).is_some_and(|(_, reply)| matches!(reply.status, 400 | 401 | 403 | 404 | 409 | 429))
}

/// The row of an instance in an object or a status.
#[must_use]
pub fn row<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    list(status, "/instances").iter().find(|row| text(row, "/id") == id)
}

/// How far the deletion of a row is.
#[must_use]
pub fn rank(row: Option<&Value>) -> u8 {
    match row.map(|row| text(row, "/phase")) {
        None | Some("" | "Pending" | "PoweringOff" | "PoweredOff") => 0,
        Some("Submitted") => 1,
        Some("Accepted") => 2,
        Some(_) => 3,
    }
}
