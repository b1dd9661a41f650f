//! The batch rule: batches of exactly 50 and one rest, in the order of the spec (design §3, rule 3).

use super::{
    job::Job,
    ledger::{Ledger, Progress},
    look_first::{Verdict, verdict},
    marks::Marks,
    memory::Memory,
};
use crate::{
    api::FailureReason,
    engine::{
        id::InstanceId,
        settings::{BATCH_SIZE, Settings},
        state::Live,
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

/// Sorts the rows by what must happen before they can be sent, as far as the next wave needs it.
#[must_use]
pub fn queue(
    job: &Job,
    ledger: &Ledger,
    memory: &Memory,
    marks: &Marks,
    now: Mono,
    settings: &Settings,
) -> Queue {
    let mut queue = Queue::default();
    if !job.allows_calls() {
        return queue;
    }
    let enough = settings.parallel_calls.max(1) * BATCH_SIZE;
    for (position, row) in ledger.rows.iter().enumerate() {
        let in_line = queue.ready.len() + queue.look.len() + queue.asked;
        if in_line >= enough {
            break;
        }
        let accepted = matches!(row.progress, Progress::Accepted { .. });
        match verdict(position, ledger, memory, marks, now, settings) {
            Verdict::Ended => {}
            Verdict::Send { live, sent } => {
                queue.ready.push(Ready { position, id: row.id, live, look_sent: sent });
            }
            // Accepted ids are polled anyway; they are in line only when a read allows it.
            Verdict::Look | Verdict::Settling { .. } | Verdict::OnItsWay | Verdict::Busy if accepted => {}
            Verdict::Look if memory.sighting(position).asked.is_some() => queue.asked += 1,
            Verdict::Look => queue.look.push(row.id),
            Verdict::Settling { until } => {
                queue.held.push(position);
                queue.held_until = Some(queue.held_until.map_or(until, |h| h.min(until)));
            }
            Verdict::Busy => queue.held.push(position),
            Verdict::Unusable => queue.unusable.push(position),
            // Waits for its second not-found read, or for the write that takes it out.
            Verdict::OnItsWay => {}
            Verdict::Spent(reason) => queue.spent.push((position, reason)),
        }
    }
    queue
}

/// The batches of the next wave, at most `most`: full ones, and the rest only when nothing can fill it up any more.
#[must_use]
pub fn wave(queue: &Queue, most: usize) -> Vec<Vec<Ready>> {
    let may_grow = !queue.look.is_empty() || queue.asked > 0;
    queue
        .ready
        .chunks(BATCH_SIZE)
        .filter(|batch| batch.len() == BATCH_SIZE || !may_grow)
        .take(most)
        .map(<[Ready]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_of(ready: usize, look: usize, asked: usize) -> Queue {
        let ready = (0..ready)
            .map(|position| Ready {
                position,
                id: InstanceId::from_u128(position as u128),
                live: Live::Running,
                look_sent: Mono::START,
            })
            .collect();
        let look = (0..look).map(|n| InstanceId::from_u128(10_000 + n as u128)).collect();
        Queue { ready, look, asked, ..Queue::default() }
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
            let wave = wave(&queue, most);
            let sizes: Vec<usize> = wave.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{ready} {look} {asked} {most}");
            let sent: Vec<usize> = wave.into_iter().flatten().map(|r| r.position).collect();
            assert!(sent.iter().copied().eq(0..sent.len()), "in the order of the spec, each once");
        }
    }
}
