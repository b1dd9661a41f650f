//! What this process has seen of one object: reads of its instances, its own calls, and what stands in its way.
//!
//! It is lost with the process, and every rule holds without it: an empty memory only makes the engine look again and
//! wait longer.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{job::Job, ledger::Ledger, look_first, marks::Marks};
use crate::engine::{
    backoff::backoff,
    id::InstanceId,
    reply::{Note, Reply, Retry, Trouble},
    settings::{SECRET_REREAD, Settings},
    state::Seen,
    time::{Mono, Now},
};

/// What reads have shown of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// The newest read, and when it was sent.
    pub last: Option<(Seen, Mono)>,
    /// When the first of an unbroken series of not-found reads was sent, which goes on until now.
    pub not_found_since: Option<Mono>,
    /// Since when no read brought a state that allows sending or ending.
    pub unusable_since: Option<Mono>,
    /// A look was asked for, and has not been answered.
    pub asked: Option<Mono>,
}

/// A delete call of this process for this object, from the moment at which its intent was first written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCall {
    /// The claim that its intent was stored with.
    pub claim: String,
    /// Its ids.
    pub ids: Vec<InstanceId>,
    /// How far it is.
    pub state: CallState,
}

/// How far a call of this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Its intent may be stored; the request was never sent, and won't be.
    NotSent,
    /// The request may be on the wire.
    InFlight,
    /// It ended.
    Ended {
        /// When.
        at: Mono,
        /// With what.
        reply: Reply,
        /// A write that holds the outcome was acknowledged.
        recorded: bool,
    },
}

/// A trouble, and when to try again in spite of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What was heard of it.
    pub note: Note,
    /// How often in a row.
    pub failures: u32,
    /// Not before this.
    pub retry_at: Mono,
    /// The same for people; fixed when the trouble came up, so that it changes no status by itself.
    pub retry_time: Time,
    /// resourceVersion of the Secret that was in use; another one is tried at once.
    pub secret_version: Option<String>,
}

/// What this process has seen of one object.
#[derive(Clone, Debug)]
pub struct Memory {
    ids: Vec<InstanceId>,
    /// Positions in `ids`, by id.
    by_id: Vec<u32>,
    sightings: Vec<Sighting>,
    generation: i64,
    generation_since: Mono,
    /// Looks sent before this don't count for a call: the object was closed to calls then, or not known.
    pub gate: Mono,
    /// Calls of this process, by batch number.
    pub calls: BTreeMap<u32, OwnCall>,
    /// Batches that another process stored: their claim, and when this process first saw them.
    foreign: HashMap<u32, (Option<String>, Mono)>,
    /// What stands in the way of looking.
    pub look_trouble: Option<Standing>,
    /// What stands in the way of calling.
    pub call_trouble: Option<Standing>,
    /// When the next look at the instances on their way is due.
    pub next_poll: Mono,
    /// When ends found by looking were last written.
    pub ends_written: Option<Mono>,
}

impl Memory {
    /// The memory of an object that this process sees for the first time.
    #[must_use]
    pub fn new(job: &Job, now: Mono) -> Self {
        let mut memory = Self {
            ids: Vec::new(),
            by_id: Vec::new(),
            sightings: Vec::new(),
            generation: job.generation,
            generation_since: now,
            gate: now,
            calls: BTreeMap::new(),
            foreign: HashMap::new(),
            look_trouble: None,
            call_trouble: None,
            next_poll: now,
            ends_written: None,
        };
        memory.take_ids(job);
        memory
    }

    fn take_ids(&mut self, job: &Job) {
        self.ids.clone_from(&job.ids);
        self.by_id = (0..super::ledger::count(job.ids.len())).collect();
        let ids = &self.ids;
        self.by_id.sort_unstable_by_key(|&position| ids.get(position as usize));
        self.sightings = vec![Sighting::default(); job.ids.len()];
    }

    /// Takes note of a live read of the object, before it is decided upon.
    pub fn observe(&mut self, job: &Job, ledger: &Ledger, marks: &Marks, now: Mono, settings: &Settings) {
        if self.ids != job.ids {
            self.take_ids(job);
            self.gate = now;
        }
        if !job.allows_calls() || job.generation != self.generation {
            self.gate = now;
        }
        if job.generation != self.generation {
            self.generation = job.generation;
            self.generation_since = now;
        }
        for row in ledger.rows.iter().filter(|r| !r.progress.ended()) {
            if let Some(number) = row.progress.batch()
                && self.own(number, ledger).is_none()
                && self.first_seen(number, ledger).is_none()
            {
                let claim = ledger.batch(number).map(|b| b.claim.clone());
                self.foreign.insert(number, (claim, now));
            }
        }
        for (position, row) in ledger.rows.iter().enumerate() {
            let Some(since) = self.sightings.get(position).and_then(|s| s.not_found_since) else { continue };
            let ended = look_first::last_end(row, ledger, self, marks, settings);
            if let (Some(sighting), Some(ended)) = (self.sightings.get_mut(position), ended) {
                // The series counts from its first read after the last call ended.
                if since <= ended {
                    let last = sighting.last.as_ref().map(|(_, sent)| *sent);
                    sighting.not_found_since = last.filter(|sent| *sent > ended).or(Some(since));
                }
            }
        }
    }

    /// The call of this process that stored the batch with this number, if the stored claim is its own.
    #[must_use]
    pub fn own(&self, number: u32, ledger: &Ledger) -> Option<&OwnCall> {
        let call = self.calls.get(&number)?;
        // A row that the newest 128 no longer hold was ours when this process recorded it.
        let mine = ledger.batch(number).is_none_or(|stored| stored.claim == call.claim);
        mine.then_some(call)
    }

    /// When this process first saw the batch with this number, which another process stored.
    #[must_use]
    pub fn first_seen(&self, number: u32, ledger: &Ledger) -> Option<Mono> {
        let (claim, first_seen) = self.foreign.get(&number)?;
        let stored = ledger.batch(number).map(|b| b.claim.as_str());
        (claim.as_deref() == stored).then_some(*first_seen)
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn sighting(&self, position: usize) -> &Sighting {
        const NOTHING: &Sighting =
            &Sighting { last: None, not_found_since: None, unusable_since: None, asked: None };
        self.sightings.get(position).unwrap_or(NOTHING)
    }

    /// When this process first saw the object at its present generation: a plan rests on looks sent after that.
    #[must_use]
    pub fn planning_since(&self) -> Mono {
        self.generation_since
    }

    fn sighting_of(&mut self, id: InstanceId) -> Option<&mut Sighting> {
        let found = self.by_id.binary_search_by_key(&Some(&id), |&p| self.ids.get(p as usize)).ok()?;
        self.sightings.get_mut(*self.by_id.get(found)? as usize)
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        for id in ids {
            if let Some(sighting) = self.sighting_of(*id) {
                sighting.asked = Some(now);
            }
        }
    }

    /// Notes what a read that was sent at `sent` showed of one instance. An older read than the newest changes nothing.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, sent: Mono) {
        let Some(sighting) = self.sighting_of(id) else { return };
        if sighting.last.as_ref().is_some_and(|(_, newest)| *newest > sent) {
            return;
        }
        sighting.not_found_since = match seen {
            Seen::NotFound => sighting.not_found_since.or(Some(sent)),
            _ => None,
        };
        sighting.unusable_since = match seen {
            Seen::Other(_) | Seen::Unreadable => sighting.unusable_since.or(Some(sent)),
            _ => None,
        };
        sighting.last = Some((seen, sent));
    }

    /// Notes that the look at these ids has brought all it will bring.
    pub fn answered(&mut self, ids: &[InstanceId]) {
        for id in ids {
            if let Some(sighting) = self.sighting_of(*id) {
                sighting.asked = None;
            }
        }
    }

    /// Whether a call of this process is being made, or has an outcome that no acknowledged write holds.
    #[must_use]
    pub fn calls_in_flight(&self) -> bool {
        self.calls.values().any(|c| c.state == CallState::InFlight)
    }

    /// Whether an outcome waits to be recorded.
    #[must_use]
    pub fn unrecorded(&self) -> bool {
        self.calls.values().any(|c| matches!(c.state, CallState::Ended { recorded: false, .. }))
    }

    /// Takes note that the write of an outcome was acknowledged, for the batches it held.
    pub fn recorded(&mut self, batches: &[u32]) {
        for number in batches {
            if let Some(call) = self.calls.get_mut(number)
                && let CallState::Ended { recorded, .. } = &mut call.state
            {
                *recorded = true;
                call.ids = Vec::new();
            }
        }
    }
}

/// What a trouble comes to after it has come up `failures` times before.
#[must_use]
pub fn standing(
    trouble: Trouble,
    note: Note,
    before: Option<&Standing>,
    secret_version: Option<String>,
    now: &Now,
    settings: &Settings,
    random: u64,
) -> Standing {
    let failures = before.filter(|b| b.trouble.reason() == trouble.reason()).map_or(0, |b| b.failures + 1);
    // The first of its kind stands for all: another request id each time would be a status write each time.
    let same = |b: &&Standing| b.note.code == note.code && b.note.text == note.text;
    let note = before.filter(same).map(|b| b.note.clone()).unwrap_or(note);
    let wait = match (trouble.retry(), trouble) {
        (Retry::Slow | Retry::SlowOrSecretChange, _) => settings.retry_max,
        (Retry::SecretChange, _) => SECRET_REREAD,
        (Retry::Governor, Trouble::Throttled { retry_after: Some(wait) }) => wait.min(settings.retry_max),
        (Retry::Governor | Retry::Backoff, _) => {
            backoff(failures, settings.retry_min, settings.retry_max, random)
        }
    };
    let retry_at = now.mono + wait;
    Standing { trouble, note, failures, retry_at, retry_time: now.time_at(retry_at), secret_version }
}
