//! The *batch* rule: full batches of the account's size and one rest, in the order of the spec.

use std::collections::{HashMap, HashSet};

use super::{
    facts::{Facts, RowFacts},
    look_first::{Verdict, verdict},
    power_off::{may_be_powered_off, others_come, powers_off},
    rollout::{room, takes_room},
};
use crate::{
    api::{CallKind, FailureReason},
    engine::{
        by_kind::ByKind,
        id::{InstanceId, ServerId},
        object::state::{
            ledger::{Ledger, Progress, Row},
            memory::Memory,
        },
        settings::READ_SIZE,
        state::{Live, Seen},
        time::Mono,
    },
};

/// The ids of the next calls, sorted by what must happen before they can be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Ids that may be sent now, in the order of the spec.
    pub ready: Vec<Ready>,
    /// Ids that need a look first, and for which no look has been asked.
    pub look: Vec<InstanceId>,
    /// Number of ids for which a look has been asked.
    pub asked: usize,
    /// The ids of `look`, and those for which a look has been asked.
    pub unready: HashSet<InstanceId>,
    /// Those of them that may have to be powered off after their look.
    pub may_power_off: HashSet<InstanceId>,
    /// The servers of those that are powered off now. A call names each once.
    pub servers: HashSet<ServerId>,
    /// Others will have to be deleted soon: a delete call that is not full waits for them.
    pub others_come: bool,
    /// Positions of rows that wait for the end of another call, or for the time in which no read is
    /// a proof.
    pub held: Vec<usize>,
    /// The first moment at which a held id may be looked at for a call, or a powered off one.
    pub held_until: Option<Mono>,
    /// Positions of rows whose newest read allows neither sending nor ending.
    pub unusable: Vec<usize>,
    /// Number of ids whose reads lack a fact that a check asks for, as where listing is forbidden.
    pub unjudged: usize,
    /// Rows that are given up.
    pub spent: Vec<(usize, FailureReason)>,
}

/// An id that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// In a call of this kind.
    pub kind: CallKind,
    /// Position of its row.
    pub position: usize,
    /// The id.
    pub id: InstanceId,
    /// The state that its look showed.
    pub live: Live,
    /// When that look was sent.
    pub look_sent: Mono,
    /// Its server, by the look, if it is to be powered off.
    pub server: Option<ServerId>,
    /// If the cloud refuses its deletion for its state, it is powered off.
    pub or_powers_off: bool,
}

/// The ids of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// What the call asks for.
    pub kind: CallKind,
    /// Its ids.
    pub members: Vec<Ready>,
}

/// Which rows are lined up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those that `spec.rollout` lets be sent.
    Rollout,
    /// All: no new call is made any more, and the rows are ended.
    All,
}

/// Sorts the rows by what must happen before they can be sent, as far as the next wave needs it.
/// The caller has asked whether the object allows calls at all.
#[must_use]
pub fn candidates(ledger: &Ledger, facts: &Facts<'_>, batch_size: usize, reach: Reach) -> Candidates {
    let mut candidates = Candidates::default();
    let (limit, mut room) = match reach {
        Reach::Rollout => (facts.spec.limit(), room(ledger, facts)),
        Reach::All => (usize::MAX, usize::MAX),
    };
    let wave = facts.settings.parallel_calls.max(1) * batch_size;
    // While the calls of a wave run, the next wave is looked at and the one after it is lined up,
    // so that one write stores an outcome and the next intent.
    let enough = if facts.memory.calls_in_flight() { 2 * wave } else { wave };
    let apart = Apart::of(facts.memory);
    let apart: HashSet<InstanceId> = apart.0.each().into_iter().flatten().flatten().copied().collect();
    let pending = |row: &Row| matches!(row.progress, Progress::Pending | Progress::PoweredOff { .. });
    candidates.others_come = others_come(ledger, facts);
    let mut pending_left = ledger.rows.iter().take(limit).filter(|row| pending(row)).count().min(room);
    for row_facts in facts.open_rows(ledger) {
        if row_facts.position >= limit {
            break;
        }
        let new = !takes_room(row_facts.row);
        if new && room == 0 {
            continue;
        }
        // A look is filled up to whole reads, and takes a rest along that would be less than one.
        let whole_reads = candidates.look.len().is_multiple_of(READ_SIZE) && pending_left >= READ_SIZE;
        pending_left = pending_left.saturating_sub(usize::from(pending(row_facts.row)));
        // Ids that are sent apart are few, and may stand anywhere.
        let full = candidates.in_line() + candidates.unjudged >= enough
            && (candidates.look.is_empty() || whole_reads);
        if full && !apart.contains(&row_facts.row.id) {
            candidates.others_come |= facts.spec.soak().is_some() && candidates.in_line() >= enough;
            if apart.is_empty() {
                break;
            }
            continue;
        }
        let before = candidates.in_line();
        candidates.sort_in(&row_facts, verdict(&row_facts, facts), facts);
        if new && candidates.in_line() > before {
            room -= 1;
        }
    }
    let powers_off = |ready: &Ready| ready.kind == CallKind::PowerOff;
    candidates.others_come |= facts.spec.soak().is_some() && candidates.ready.iter().any(powers_off);
    candidates
}

impl Candidates {
    /// Number of ids that may be sent, or may be after their look.
    fn in_line(&self) -> usize {
        self.ready.len() + self.look.len() + self.asked
    }

    fn sort_in(&mut self, row_facts: &RowFacts<'_>, verdict: Verdict, facts: &Facts<'_>) {
        let RowFacts { position, row, observation, .. } = *row_facts;
        // The account's schedule looks at an accepted id until a read shows it alive. Then the id
        // may have to be sent again.
        let away = matches!(row.progress, Progress::Accepted { .. })
            && !matches!(observation.last, Some((Seen::Live(_), _)));
        match verdict {
            Verdict::Ended => {}
            Verdict::Send { kind, live, sent } => {
                self.may_go(row_facts, (kind, live, sent), facts);
            }
            Verdict::Look | Verdict::Unreadable | Verdict::Settling { .. } | Verdict::Busy if away => {}
            Verdict::Look => {
                match observation.asked {
                    Some(_) => self.asked += 1,
                    None => self.look.push(row.id),
                }
                self.unready.insert(row.id);
                if may_be_powered_off(row, facts) {
                    self.may_power_off.insert(row.id);
                }
            }
            Verdict::Soaking { until } => {
                self.held_until = Some(self.held_until.map_or(until, |held| held.min(until)));
            }
            Verdict::Settling { until } => {
                self.held.push(position);
                self.held_until = Some(self.held_until.map_or(until, |held| held.min(until)));
            }
            Verdict::Busy | Verdict::Held | Verdict::Unreadable => self.held.push(position),
            Verdict::Unusable => self.unusable.push(position),
            // Waits for its second not-found read, or for the write that takes it out.
            Verdict::OnItsWay => {}
            // It is read again once its read is old. Where single facts are odd, the ids behind it go on.
            Verdict::FactsUnknown(_) => self.unjudged += usize::from(observation.facts.is_none()),
            Verdict::Spent(reason) => self.spent.push((position, reason)),
        }
    }

    /// Enters an id that may be sent. One whose server another id of the wave has too waits: the list contradicts itself.
    fn may_go(
        &mut self,
        row_facts: &RowFacts<'_>,
        (kind, live, look_sent): (CallKind, Live, Mono),
        facts: &Facts<'_>,
    ) {
        let RowFacts { position, row, observation, .. } = *row_facts;
        let server = observation.facts.as_ref().and_then(|facts| facts.server_id.clone());
        let server = server.filter(|_| kind == CallKind::PowerOff);
        if server.as_ref().is_some_and(|server| !self.servers.insert(server.clone())) {
            self.held.push(position);
            return;
        }
        let or_powers_off = kind == CallKind::Delete && powers_off(row, live, facts.spec);
        self.ready.push(Ready { kind, position, id: row.id, live, look_sent, server, or_powers_off });
    }

    /// Number of calls that these ids come to, those that still need a look included.
    #[must_use]
    pub fn calls(&self, apart: &Apart, batch_size: usize) -> usize {
        self.shares(apart).iter().map(|share| share.in_line().div_ceil(batch_size)).sum()
    }

    /// The ids in line that share calls: those of each part, then the others that are powered off, and last the others that are
    /// deleted, with all those of which only a look can tell.
    fn shares(&self, apart: &Apart) -> Vec<Share> {
        let places = apart.places();
        let mut shares = vec![Share::default(); apart.count() + 2];
        let mut enter = |kind: CallKind, id: &InstanceId, enter: fn(&mut Share, InstanceId)| {
            let share = places.of(kind).get(id).copied().unwrap_or_else(|| apart.rest(kind));
            if let Some(share) = shares.get_mut(share) {
                enter(share, *id);
            }
        };
        self.ready.iter().for_each(|ready| enter(ready.kind, &ready.id, |share, _| share.settled += 1));
        let of_look = |id: &InstanceId| kind_of(id, &places);
        self.look.iter().for_each(|id| enter(of_look(id), id, |share, id| share.look.push(id)));
        let look: HashSet<&InstanceId> = self.look.iter().collect();
        let asked = self.unready.iter().filter(|id| !look.contains(id));
        asked.for_each(|id| enter(of_look(id), id, |share, _| share.settled += 1));
        shares
    }

    /// Keeps only the ids to look at that `calls` calls need, those that are sent apart first. An
    /// object that may make its whole wave keeps them all.
    pub fn look_no_further(&mut self, apart: &Apart, calls: usize, (batch_size, parallel): (usize, usize)) {
        if calls >= parallel {
            return;
        }
        let mut left = calls;
        let mut look = Vec::new();
        for share in self.shares(apart) {
            let room = (left * batch_size).saturating_sub(share.settled);
            left = left.saturating_sub(share.in_line().div_ceil(batch_size));
            look.extend(share.look.into_iter().take(room));
        }
        self.look = look;
    }
}

/// Ids in line that share calls.
#[derive(Clone, Debug, Default)]
struct Share {
    /// Number of ids that were looked at, or for which a look has been asked.
    settled: usize,
    /// Ids that need a look first.
    look: Vec<InstanceId>,
}

impl Share {
    fn in_line(&self) -> usize {
        self.settled + self.look.len()
    }
}

/// The ids that are sent apart, each part in a call of its own, by the kind of call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apart(pub ByKind<Vec<Vec<InstanceId>>>);

/// The number of the share of each id that is sent apart.
type Places = ByKind<HashMap<InstanceId, usize>>;

impl Apart {
    /// What refusals have put apart.
    #[must_use]
    pub fn of(memory: &Memory) -> Self {
        let parts = |kind| memory.refusals.of(kind).bisection.parts();
        Self(ByKind { delete: parts(CallKind::Delete), power_off: parts(CallKind::PowerOff) })
    }

    fn count(&self) -> usize {
        self.0.each().map(Vec::len).into_iter().sum()
    }

    /// The number of the share of all other ids.
    fn rest(&self, kind: CallKind) -> usize {
        self.count() + usize::from(kind == CallKind::Delete)
    }

    fn places(&self) -> Places {
        let places = |parts: &[Vec<InstanceId>], first: usize| -> HashMap<InstanceId, usize> {
            (first..).zip(parts).flat_map(|(place, ids)| ids.iter().map(move |id| (*id, place))).collect()
        };
        let Self(ByKind { delete, power_off }) = self;
        ByKind { delete: places(delete, 0), power_off: places(power_off, delete.len()) }
    }
}

/// The kind of call that an id to be looked at is counted for.
fn kind_of(id: &InstanceId, places: &Places) -> CallKind {
    if places.power_off.contains_key(id) { CallKind::PowerOff } else { CallKind::Delete }
}

/// The batches of the next wave, at most `most`: first those that are sent apart, then those that power off, then the other
/// full ones. The rest of each kind is sent only when nothing can fill it up any more.
#[must_use]
pub fn wave(candidates: &Candidates, apart: &Apart, batch_size: usize, most: usize) -> Vec<Lot> {
    // One pass over the ids, however many parts there are.
    let places = apart.places();
    let place = |kind, id| places.of(kind).get(id).copied().unwrap_or_else(|| apart.rest(kind));
    let mut shares = vec![(Vec::new(), 0_usize); apart.count() + 2];
    for ready in &candidates.ready {
        if let Some((own, _)) = shares.get_mut(place(ready.kind, &ready.id)) {
            own.push(ready.clone());
        }
    }
    let mut waits = |share: usize| {
        if let Some((_, waiting)) = shares.get_mut(share) {
            *waiting += 1;
        }
    };
    candidates.unready.iter().for_each(|id| waits(place(CallKind::Delete, id)));
    candidates.may_power_off.iter().for_each(|id| waits(place(CallKind::PowerOff, id)));
    if candidates.others_come {
        waits(apart.rest(CallKind::Delete));
    }
    let first_rest = apart.count();
    let mut batches = Vec::new();
    for (number, (ready, waiting)) in shares.iter().enumerate() {
        // A part goes whole, in more than one call where the cloud has meanwhile refused batches of its size.
        let goes = |batch: &&[Ready]| *waiting == 0 || (number >= first_rest && batch.len() == batch_size);
        let lot = |members: &[Ready]| Some(Lot { kind: members.first()?.kind, members: members.to_vec() });
        batches.extend(ready.chunks(batch_size).filter(goes).filter_map(lot));
    }
    batches.truncate(most);
    batches
}

#[cfg(test)]
mod tests;
