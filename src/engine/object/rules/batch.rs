//! The batch rule: batches of exactly 50 and one rest, in the order of the spec (design §3, rule 3).

use std::collections::HashSet;

use super::look_first::{Verdict, verdict};
use crate::{
    api::FailureReason,
    engine::{
        account::call_history::CallHistory,
        id::InstanceId,
        object::state::{
            ledger::{Ledger, Progress},
            memory::Memory,
            spec::DeletionSpec,
        },
        settings::{READ_SIZE, Settings},
        state::{Live, Seen},
        time::Mono,
    },
};

/// What there is to send, and what must happen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Ids that may be sent now, in the order of the spec: position, id, state that the look showed, when it was sent.
    pub ready: Vec<Ready>,
    /// Ids next in line that need a look first and are not being looked at yet.
    pub look: Vec<InstanceId>,
    /// Ids next in line whose look has been asked for.
    pub asked: usize,
    /// Ids of `look`, and those whose look has been asked for.
    pub unready: HashSet<InstanceId>,
    /// Positions of rows that wait for the end of another call, or for the time in which no read is a proof.
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

/// Sorts the rows by what must happen before they can be sent, as far as the next wave needs it. The caller has asked
/// whether the object allows calls at all.
#[must_use]
pub fn queue(
    spec: &DeletionSpec,
    ledger: &Ledger,
    memory: &Memory,
    call_history: &CallHistory,
    (now, batch_size): (Mono, usize),
    settings: &Settings,
) -> Queue {
    let mut queue = Queue::default();
    let wave = settings.parallel_calls.max(1) * batch_size;
    // While the calls of a wave run, the next one is looked at and the one after that is in line, so that an outcome and the
    // next intent are one write.
    let enough = if memory.calls_in_flight() { 2 * wave } else { wave };
    let apart: HashSet<InstanceId> = memory.bisection.parts().iter().flatten().copied().collect();
    for (position, row) in ledger.rows.iter().enumerate() {
        let in_line = queue.ready.len() + queue.look.len() + queue.asked;
        // A look is filled up to whole reads, and takes a rest along that would be less than one.
        let whole = || queue.look.len().is_multiple_of(READ_SIZE) && pending(ledger, position) >= READ_SIZE;
        // Ids that are sent apart are few, and may stand anywhere.
        if in_line >= enough && (queue.look.is_empty() || whole()) && !apart.contains(&row.id) {
            if apart.is_empty() {
                break;
            }
            continue;
        }
        // An accepted id is looked at by the account's schedule, until a read shows it alive: then it may be its turn again.
        let observation = memory.observation(position);
        let away = matches!(row.progress, Progress::Accepted { .. })
            && !matches!(observation.last, Some((Seen::Live(_), _)));
        match verdict(position, spec, ledger, memory, call_history, now, settings) {
            Verdict::Ended => {}
            Verdict::Send { live, sent } => {
                queue.ready.push(Ready { position, id: row.id, live, look_sent: sent });
            }
            Verdict::Look | Verdict::Settling { .. } | Verdict::Busy if away => {}
            Verdict::Look if observation.asked.is_some() => {
                queue.asked += 1;
                queue.unready.insert(row.id);
            }
            Verdict::Look => {
                queue.look.push(row.id);
                queue.unready.insert(row.id);
            }
            Verdict::Settling { until } => {
                queue.held.push(position);
                queue.held_until = Some(queue.held_until.map_or(until, |h| h.min(until)));
            }
            Verdict::Busy | Verdict::Held => queue.held.push(position),
            Verdict::Unusable => queue.unusable.push(position),
            // Waits for its second not-found read, or for the write that takes it out.
            Verdict::OnItsWay => {}
            Verdict::Spent(reason) => queue.spent.push((position, reason)),
        }
    }
    queue
}

/// Rows from this position on that no call names yet.
fn pending(ledger: &Ledger, position: usize) -> usize {
    let rest = ledger.rows.get(position..).unwrap_or_default();
    rest.iter().filter(|row| matches!(row.progress, Progress::Pending)).take(READ_SIZE).count()
}

/// The batches of the next wave, at most `most`: first those that are sent apart, then full ones, and the rest only when
/// nothing can fill it up any more.
#[must_use]
pub fn wave(queue: &Queue, apart: &[Vec<InstanceId>], batch_size: usize, most: usize) -> Vec<Vec<Ready>> {
    let mut ready = queue.ready.clone();
    let mut batches = Vec::new();
    let mut unready = queue.unready.len();
    for part in apart {
        let members: HashSet<&InstanceId> = part.iter().collect();
        let (own, others): (Vec<_>, Vec<_>) = ready.into_iter().partition(|r| members.contains(&r.id));
        ready = others;
        let waiting = part.iter().filter(|id| queue.unready.contains(id)).count();
        unready -= waiting;
        if waiting == 0 && !own.is_empty() {
            // A part can be larger than a size that was learned meanwhile.
            batches.extend(own.chunks(batch_size).map(<[Ready]>::to_vec));
        }
    }
    let whole = ready.chunks(batch_size).filter(|batch| batch.len() == batch_size || unready == 0);
    batches.extend(whole.map(<[Ready]>::to_vec));
    batches.truncate(most);
    batches
}

/// How many calls this queue comes to, as far as it reaches: of ids that may be sent, and of ids that need a look before.
#[must_use]
pub fn calls(queue: &Queue, apart: &[Vec<InstanceId>], batch_size: usize) -> usize {
    let in_line = queue.ready.len() + queue.look.len() + queue.asked;
    if in_line == 0 { 0 } else { apart.len() + in_line.div_ceil(batch_size) }
}

/// Leaves only ids to look at that `calls` calls need, first those that are sent apart. An object that is permitted its whole
/// wave looks as far as the queue reaches.
pub fn look_no_further(
    queue: &mut Queue,
    apart: &[Vec<InstanceId>],
    calls: usize,
    (batch_size, parallel): (usize, usize),
) {
    if calls >= parallel {
        return;
    }
    let apart: HashSet<InstanceId> = apart.iter().flatten().copied().collect();
    queue.look.sort_by_key(|id| !apart.contains(id));
    queue.look.truncate((calls * batch_size).saturating_sub(queue.ready.len() + queue.asked));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::InstanceDeletionStatus,
        engine::{
            object::{
                state::{
                    memory::{CallState, OwnCall},
                    spec::tests::spec_of,
                },
                tests::case::{Case, MICRO, then},
            },
            settings::{BATCH_SIZE, PATIENCE},
        },
    };

    fn case_of(n: u128) -> Case {
        let spec = spec_of(n);
        let ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
        let memory = Memory::new(&spec, Mono::START);
        Case { spec, ledger, memory, ..Case::pending() }
    }

    fn line(case: &Case) -> Queue {
        let Case { spec, ledger, memory, call_history, settings } = case;
        queue(spec, ledger, memory, call_history, (then(), BATCH_SIZE), settings)
    }

    #[test]
    fn the_look_reaches_one_wave_far_and_two_while_calls_run() {
        let mut case = case_of(1_000);
        assert_eq!(line(&case).look.len(), 200, "four calls of fifty");
        let call = OwnCall { claim: "mine".into(), ids: vec![], state: CallState::InFlight };
        case.memory.calls.insert(7, call);
        assert_eq!(line(&case).look.len(), 400);
    }

    #[test]
    fn an_accepted_id_is_in_line_only_when_a_read_allows_it() {
        let mut case = case_of(2);
        case.ledger.rows[0].progress = Progress::Accepted { batch: None, resent: false };
        let queue = line(&case);
        assert_eq!(queue.look, [case.spec.ids[1]], "the other one is polled");
        assert!(queue.held.is_empty() && !queue.unready.contains(&case.spec.ids[0]));
        case.memory.saw(case.spec.ids[0], Seen::Live(Live::Error), then());
        assert_eq!(line(&case).ready.len(), 1);
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
            // It was accepted so long ago, and the read came right after.
            let at = Mono::at(then().since_start().saturating_sub(since));
            let case = Case::new(accepted.clone()).last_call(&Seen::ShuttingDown, at).seen(last, at + MICRO);
            let queue = line(&case);
            let look = if until.is_none() { vec![case.id()] } else { vec![] };
            assert_eq!((queue.look, queue.held_until), (look, until), "{last:?} {since:?}");
        }
        let case =
            Case::new(accepted).last_call(&Seen::ShuttingDown, then()).read(Seen::ShuttingDown, then());
        assert_eq!(line(&case), Queue::default(), "on its way as it should be");
    }

    fn queue_of(ready: usize, look: usize, asked: usize) -> Queue {
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
        Queue { ready, look, asked, unready, ..Queue::default() }
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
            let queue = queue_of(ready, look, asked);
            let wave = wave(&queue, &[], BATCH_SIZE, most);
            let sizes: Vec<usize> = wave.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{ready} {look} {asked} {most}");
            let sent: Vec<usize> = wave.into_iter().flatten().map(|r| r.position).collect();
            assert!(sent.iter().copied().eq(0..sent.len()), "in the order of the spec, each once");
        }
    }

    #[test]
    fn parts_are_sent_apart_and_first() {
        let id = |n: u128| InstanceId::from_u128(n);
        let queue = queue_of(6, 0, 0);
        let positions = |wave: Vec<Vec<Ready>>| -> Vec<Vec<usize>> {
            wave.into_iter().map(|batch| batch.iter().map(|r| r.position).collect()).collect()
        };
        let apart = [vec![id(4)], vec![id(1), id(2)]];
        assert_eq!(
            positions(wave(&queue, &apart, 50, 9)),
            [vec![4], vec![1, 2], vec![0, 3, 5]],
            "a part is never filled up, and its ids are in no other batch"
        );
        assert_eq!(positions(wave(&queue, &apart, 50, 1)), [vec![4]]);
        let mut queue = queue_of(6, 0, 0);
        queue.unready.insert(id(30));
        let apart = [vec![id(1), id(30)]];
        assert_eq!(positions(wave(&queue, &apart, 50, 9)), [vec![0, 2, 3, 4, 5]], "it waits for its look");
        assert_eq!(positions(wave(&queue, &[], 2, 9)), [vec![0, 1], vec![2, 3], vec![4, 5]]);
        assert_eq!(positions(wave(&queue, &[], 4, 9)), [vec![0, 1, 2, 3]], "the rest waits to be filled up");
    }

    #[test]
    fn what_is_sent_apart_is_looked_at_first_and_nothing_beyond_what_is_permitted() {
        let ids = |queue: &Queue| queue.look.clone();
        let whole = queue_of(0, 200, 0);
        let apart = [vec![whole.look[150], whole.look[7]]];
        for (calls, expected) in [(0, 0), (1, 50), (3, 150), (4, 200), (5, 200)] {
            let mut queue = queue_of(0, 200, 0);
            look_no_further(&mut queue, &[], calls, (50, 4));
            assert_eq!(ids(&queue), whole.look[..expected], "{calls}");
            assert_eq!(queue.unready.len(), 200, "what is not looked at is not ready");
        }
        let mut queue = queue_of(10, 200, 30);
        look_no_further(&mut queue, &apart, 1, (50, 4));
        assert_eq!(ids(&queue)[..3], [whole.look[7], whole.look[150], whole.look[0]]);
        assert_eq!(queue.look.len(), 10);
        look_no_further(&mut queue_of(60, 1, 0), &[], 1, (50, 4));
    }

    #[test]
    fn the_calls_that_a_queue_comes_to() {
        let apart = [vec![InstanceId::from_u128(1)]];
        for ((ready, look, asked), parts, calls) in [
            ((0, 0, 0), 0, 0),
            ((0, 0, 0), 1, 0),
            ((1, 0, 0), 0, 1),
            ((20, 20, 10), 0, 1),
            ((20, 20, 11), 0, 2),
            ((1, 0, 0), 1, 2),
        ] {
            assert_eq!(super::calls(&queue_of(ready, look, asked), &apart[..parts], 50), calls);
        }
    }
}
