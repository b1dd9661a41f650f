//! The *batch* rule: full batches of the account's size and one rest, in the order of the spec.

use std::collections::{HashMap, HashSet};

use super::{
    facts::{Facts, RowFacts},
    look_first::{Verdict, verdict},
};
use crate::{
    api::FailureReason,
    engine::{
        id::InstanceId,
        object::state::ledger::{Ledger, Progress, Row},
        settings::READ_SIZE,
        state::{Live, Seen},
        time::Mono,
    },
};

/// The ids of the next delete calls, sorted by what must happen before they can be sent.
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
    /// Positions of rows that wait for the end of another call, or for the time in which no read is
    /// a proof.
    pub held: Vec<usize>,
    /// The first moment at which a held id may be looked at for a call.
    pub held_until: Option<Mono>,
    /// Positions of rows whose newest read allows neither sending nor ending.
    pub unusable: Vec<usize>,
    /// Rows whose attempts are used up.
    pub spent: Vec<(usize, FailureReason)>,
}

/// An id that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Position of its row.
    pub position: usize,
    /// The id.
    pub id: InstanceId,
    /// The state that its look showed.
    pub live: Live,
    /// When that look was sent.
    pub look_sent: Mono,
}

/// Sorts the rows by what must happen before they can be sent, as far as the next wave needs it.
/// The caller has asked whether the object allows calls at all.
#[must_use]
pub fn candidates(ledger: &Ledger, facts: &Facts<'_>, batch_size: usize) -> Candidates {
    let mut candidates = Candidates::default();
    let wave = facts.settings.parallel_calls.max(1) * batch_size;
    // While the calls of a wave run, the next wave is looked at and the one after it is lined up,
    // so that one write stores an outcome and the next intent.
    let enough = if facts.memory.calls_in_flight() { 2 * wave } else { wave };
    let apart: HashSet<InstanceId> = facts.memory.bisection.parts().into_iter().flatten().collect();
    let pending = |row: &Row| matches!(row.progress, Progress::Pending);
    let mut pending_left = ledger.rows.iter().filter(|row| pending(row)).count();
    for row_facts in facts.open_rows(ledger) {
        // A look is filled up to whole reads, and takes a rest along that would be less than one.
        let whole_reads = candidates.look.len().is_multiple_of(READ_SIZE) && pending_left >= READ_SIZE;
        pending_left -= usize::from(pending(row_facts.row));
        // Ids that are sent apart are few, and may stand anywhere.
        let full = candidates.in_line() >= enough && (candidates.look.is_empty() || whole_reads);
        if full && !apart.contains(&row_facts.row.id) {
            if apart.is_empty() {
                break;
            }
            continue;
        }
        candidates.sort_in(&row_facts, verdict(&row_facts, facts));
    }
    candidates
}

impl Candidates {
    /// Number of ids that may be sent, or may be after their look.
    fn in_line(&self) -> usize {
        self.ready.len() + self.look.len() + self.asked
    }

    fn sort_in(&mut self, row_facts: &RowFacts<'_>, verdict: Verdict) {
        let RowFacts { position, row, observation, .. } = *row_facts;
        // The account's schedule looks at an accepted id until a read shows it alive. Then the id
        // may have to be sent again.
        let away = matches!(row.progress, Progress::Accepted { .. })
            && !matches!(observation.last, Some((Seen::Live(_), _)));
        match verdict {
            Verdict::Ended => {}
            Verdict::Send { live, sent } => {
                self.ready.push(Ready { position, id: row.id, live, look_sent: sent });
            }
            Verdict::Look | Verdict::Unreadable | Verdict::Settling { .. } | Verdict::Busy if away => {}
            Verdict::Look if observation.asked.is_some() => {
                self.asked += 1;
                self.unready.insert(row.id);
            }
            Verdict::Look => {
                self.look.push(row.id);
                self.unready.insert(row.id);
            }
            Verdict::Settling { until } => {
                self.held.push(position);
                self.held_until = Some(self.held_until.map_or(until, |held| held.min(until)));
            }
            Verdict::Busy | Verdict::Held | Verdict::Unreadable => self.held.push(position),
            Verdict::Unusable => self.unusable.push(position),
            // Waits for its second not-found read, or for the write that takes it out.
            Verdict::OnItsWay => {}
            Verdict::Spent(reason) => self.spent.push((position, reason)),
        }
    }

    /// Number of calls that these ids come to, those that still need a look included.
    #[must_use]
    pub fn calls(&self, apart: &[Vec<InstanceId>], batch_size: usize) -> usize {
        self.shares(apart).iter().map(|share| share.in_line().div_ceil(batch_size)).sum()
    }

    /// The ids in line that share calls: those of each part, and last all others.
    fn shares(&self, apart: &[Vec<InstanceId>]) -> Vec<Share> {
        let parts = part_of_each(apart);
        let mut shares = vec![Share::default(); apart.len() + 1];
        let mut enter = |id: &InstanceId, enter: fn(&mut Share, InstanceId)| {
            let share = parts.get(id).copied().unwrap_or(apart.len());
            if let Some(share) = shares.get_mut(share) {
                enter(share, *id);
            }
        };
        self.ready.iter().for_each(|ready| enter(&ready.id, |share, _| share.settled += 1));
        self.look.iter().for_each(|id| enter(id, |share, id| share.look.push(id)));
        let look: HashSet<&InstanceId> = self.look.iter().collect();
        let asked = self.unready.iter().filter(|id| !look.contains(id));
        asked.for_each(|id| enter(id, |share, _| share.settled += 1));
        shares
    }

    /// Keeps only the ids to look at that `calls` calls need, those that are sent apart first. An
    /// object that may make its whole wave keeps them all.
    pub fn look_no_further(
        &mut self,
        apart: &[Vec<InstanceId>],
        calls: usize,
        (batch_size, parallel): (usize, usize),
    ) {
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

/// The number of the part that each id which is sent apart belongs to.
fn part_of_each(apart: &[Vec<InstanceId>]) -> HashMap<InstanceId, usize> {
    let parts = apart.iter().enumerate();
    parts.flat_map(|(part, ids)| ids.iter().map(move |id| (*id, part))).collect()
}

/// The batches of the next wave, at most `most`: first those that are sent apart, then full ones.
/// The rest is sent only when nothing can fill it up any more.
#[must_use]
pub fn wave(
    candidates: &Candidates,
    apart: &[Vec<InstanceId>],
    batch_size: usize,
    most: usize,
) -> Vec<Vec<Ready>> {
    // One pass over the ids, however many parts there are. The last share is of those that are not sent apart.
    let parts = part_of_each(apart);
    let part = |id: &InstanceId| parts.get(id).copied().unwrap_or(apart.len());
    let mut shares = vec![(Vec::new(), 0_usize); apart.len() + 1];
    for ready in &candidates.ready {
        if let Some((own, _)) = shares.get_mut(part(&ready.id)) {
            own.push(*ready);
        }
    }
    for id in &candidates.unready {
        if let Some((_, waiting)) = shares.get_mut(part(id)) {
            *waiting += 1;
        }
    }
    let mut batches = Vec::new();
    for (number, (ready, waiting)) in shares.iter().enumerate() {
        // A part goes whole, in more than one call where the cloud has meanwhile refused batches of its size.
        let goes = |batch: &&[Ready]| *waiting == 0 || (number == apart.len() && batch.len() == batch_size);
        batches.extend(ready.chunks(batch_size).filter(goes).map(<[Ready]>::to_vec));
    }
    batches.truncate(most);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            state::memory::{CallState, OwnCall},
            tests::case::{Case, MICRO, at, case_of, then},
        },
        settings::{BATCH_SIZE, PATIENCE},
    };

    fn line_up(case: &Case) -> Candidates {
        case.clone().judge(at(then()), |ledger, facts| candidates(ledger, facts, BATCH_SIZE))
    }

    #[test]
    fn the_look_reaches_one_wave_far_and_two_while_calls_run() {
        let mut case = case_of(1_000);
        assert_eq!(line_up(&case).look.len(), 200, "four calls of fifty");
        let call = OwnCall { claim: "mine".into(), ids: vec![], state: CallState::InFlight };
        case.memory.calls.insert(7, call);
        assert_eq!(line_up(&case).look.len(), 400);
    }

    #[test]
    fn an_accepted_id_is_in_line_only_when_a_read_allows_it() {
        let mut case = case_of(2);
        case.ledger.rows[0].progress = Progress::Accepted { batch: None, resent: false };
        let candidates = line_up(&case);
        assert_eq!(candidates.look, [case.spec.ids[1]], "the other one is polled");
        assert!(candidates.held.is_empty() && !candidates.unready.contains(&case.spec.ids[0]));
        case.memory.saw(case.spec.ids[0], Seen::Live(Live::Error), then());
        assert_eq!(line_up(&case).ready.len(), 1);
    }

    #[test]
    fn an_accepted_id_that_was_seen_alive_is_looked_at_again_as_soon_as_a_read_can_allow_a_call() {
        let settings = Case::pending().settings;
        let accepted = Progress::Accepted { batch: None, resent: false };
        let patience = settings.settle * PATIENCE;
        for (last, since, until) in [
            (Live::Running, patience, None),
            (Live::Running, patience.saturating_sub(MICRO), Some(then() + MICRO)),
            (Live::Error, settings.settle, None),
            (Live::Error, settings.settle.saturating_sub(MICRO), Some(then() + MICRO)),
        ] {
            // The id was accepted `since` ago, and the read came right after.
            let moment = Mono::at(then().since_start().saturating_sub(since));
            let case =
                Case::new(accepted.clone()).last_call(&Seen::ShuttingDown, moment).seen(last, moment + MICRO);
            let candidates = line_up(&case);
            let look = if until.is_none() { vec![case.id()] } else { vec![] };
            assert_eq!((candidates.look, candidates.held_until), (look, until), "{last:?} {since:?}");
        }
        let case =
            Case::new(accepted).last_call(&Seen::ShuttingDown, then()).read(Seen::ShuttingDown, then());
        assert_eq!(line_up(&case), Candidates::default(), "on its way as it should be");
    }

    fn candidates_of(ready: usize, look: usize, asked: usize) -> Candidates {
        let ready = (0..ready)
            .map(|position| Ready {
                position,
                id: InstanceId::from_u128(position as u128),
                live: Live::Running,
                look_sent: Mono::START,
            })
            .collect();
        let look: Vec<_> = (0..look).map(|n| InstanceId::from_u128(10_000 + n as u128)).collect();
        let waiting = (0..asked).map(|n| InstanceId::from_u128(20_000 + n as u128));
        let unready = look.iter().copied().chain(waiting).collect();
        Candidates { ready, look, asked, unready, ..Candidates::default() }
    }

    #[test]
    fn s02_full_batches_and_one_rest_in_order() {
        // Ready, to look at, being looked at, permits.
        type Given = (usize, usize, usize, usize);
        let table: [(Given, &[usize]); 12] = [
            ((0, 0, 0, 4), &[]),
            ((1, 0, 0, 4), &[1]),
            ((50, 0, 0, 4), &[50]),
            ((51, 0, 0, 4), &[50, 1]),
            ((51, 0, 0, 1), &[50]),
            ((120, 0, 0, 4), &[50, 50, 20]),
            ((120, 0, 0, 2), &[50, 50]),
            ((120, 80, 0, 4), &[50, 50]),
            ((120, 0, 80, 4), &[50, 50]),
            ((20, 10, 0, 4), &[]),
            ((200, 0, 0, 4), &[50, 50, 50, 50]),
            ((49, 0, 1, 4), &[]),
        ];
        for ((ready, look, asked, most), expected) in table {
            let candidates = candidates_of(ready, look, asked);
            let wave = wave(&candidates, &[], BATCH_SIZE, most);
            let sizes: Vec<usize> = wave.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{ready} {look} {asked} {most}");
            let sent: Vec<usize> = wave.into_iter().flatten().map(|r| r.position).collect();
            assert!(sent.iter().copied().eq(0..sent.len()), "in the order of the spec, each once");
        }
    }

    #[test]
    fn l02_ready_ids_take_the_place_of_looks_only_in_their_own_call() {
        let id = |n: u128| InstanceId::from_u128(n);
        let part = |ids: std::ops::Range<u128>| ids.map(id).collect::<Vec<_>>();
        // Ready ids are 0, 1, 2, …; ids to look at 10,000, …; ids for which a look has been asked 20,000, ….
        let unfinished: Vec<_> = part(0..24).into_iter().chain(part(10_000..10_001)).collect();
        let asked: Vec<_> = part(0..24).into_iter().chain(part(20_000..20_001)).collect();
        // Candidates, parts, calls that they come to, and what is looked at for one, two, three calls.
        let table = [
            (candidates_of(50, 11, 0), vec![unfinished.clone()], 2, [1, 11, 11]),
            (candidates_of(24, 1, 0), vec![unfinished.clone()], 1, [1, 1, 1]),
            (candidates_of(24, 101, 0), vec![unfinished], 3, [1, 51, 101]),
            (candidates_of(50, 10, 1), vec![asked], 2, [0, 10, 10]),
            (candidates_of(50, 10, 0), vec![part(0..25), part(25..50)], 3, [0, 0, 10]),
            (candidates_of(0, 60, 0), vec![part(0..25), part(10_000..10_010)], 2, [10, 60, 60]),
            (candidates_of(10, 60, 0), vec![], 2, [40, 60, 60]),
            (candidates_of(0, 0, 0), vec![part(0..25)], 0, [0, 0, 0]),
        ];
        for (candidates, apart, calls, looks) in table {
            assert_eq!(candidates.calls(&apart, BATCH_SIZE), calls, "{apart:?}");
            for (permitted, expected) in (1..).zip(looks) {
                let mut candidates = candidates.clone();
                candidates.look_no_further(&apart, permitted, (BATCH_SIZE, 4));
                assert_eq!(candidates.look.len(), expected, "{permitted} calls, {apart:?}");
            }
        }
    }

    #[test]
    fn parts_are_sent_apart_and_first() {
        let id = |n: u128| InstanceId::from_u128(n);
        let candidates = candidates_of(6, 0, 0);
        let positions = |wave: Vec<Vec<Ready>>| -> Vec<Vec<usize>> {
            wave.into_iter().map(|batch| batch.iter().map(|r| r.position).collect()).collect()
        };
        let apart = [vec![id(4)], vec![id(1), id(2)]];
        assert_eq!(
            positions(wave(&candidates, &apart, 50, 9)),
            [vec![4], vec![1, 2], vec![0, 3, 5]],
            "a part is never filled up, and its ids are in no other batch"
        );
        assert_eq!(positions(wave(&candidates, &apart, 50, 1)), [vec![4]]);
        let mut candidates = candidates_of(6, 0, 0);
        candidates.unready.insert(id(30));
        let apart = [vec![id(1), id(30)]];
        assert_eq!(
            positions(wave(&candidates, &apart, 50, 9)),
            [vec![0, 2, 3, 4, 5]],
            "it waits for its look"
        );
        assert_eq!(positions(wave(&candidates, &[], 2, 9)), [vec![0, 1], vec![2, 3], vec![4, 5]]);
        assert_eq!(
            positions(wave(&candidates, &[], 4, 9)),
            [vec![0, 1, 2, 3]],
            "the rest waits to be filled up"
        );
    }

    #[test]
    fn what_is_sent_apart_is_looked_at_first_and_nothing_beyond_what_is_permitted() {
        let ids = |candidates: &Candidates| candidates.look.clone();
        let whole = candidates_of(0, 200, 0);
        let apart = [vec![whole.look[150], whole.look[7]]];
        for (calls, expected) in [(0, 0), (1, 50), (3, 150), (4, 200), (5, 200)] {
            let mut candidates = candidates_of(0, 200, 0);
            candidates.look_no_further(&[], calls, (50, 4));
            assert_eq!(ids(&candidates), whole.look[..expected], "{calls}");
            assert_eq!(candidates.unready.len(), 200, "what is not looked at is not ready");
        }
        let mut candidates = candidates_of(10, 200, 30);
        candidates.look_no_further(&apart, 2, (50, 4));
        assert_eq!(ids(&candidates)[..3], [whole.look[7], whole.look[150], whole.look[0]]);
        assert_eq!(candidates.look.len(), 12, "a call of two, and one of 40 and 10");
        candidates_of(60, 1, 0).look_no_further(&[], 1, (50, 4));
    }

    #[test]
    fn the_calls_that_candidates_come_to() {
        let apart = [vec![InstanceId::from_u128(1)]];
        for ((ready, look, asked), parts, calls) in [
            ((0, 0, 0), 0, 0),
            ((0, 0, 0), 1, 0),
            ((1, 0, 0), 0, 1),
            ((20, 20, 10), 0, 1),
            ((20, 20, 11), 0, 2),
            // Id 1 is apart, if it is in line.
            ((1, 0, 0), 1, 1),
            ((2, 0, 0), 1, 2),
            ((60, 0, 0), 1, 3),
        ] {
            assert_eq!(candidates_of(ready, look, asked).calls(&apart[..parts], 50), calls);
        }
    }
}
