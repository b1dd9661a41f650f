//! The *write-ahead* rule: the intent of a wave is in the record, with a claim, before any of its
//! calls leaves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::batch::Ready;
use crate::{
    api::BatchStatus,
    engine::object::state::{
        ledger::{Ledger, Progress, count},
        wave::{Batch, Member, Wave},
    },
};

/// Enters the intent of a wave into the record. `claim` is random and new for each wave: nothing
/// else tells this process's intent from an equal one of another process. `first` is the number of
/// its first batch, from [`Memory::next_batch`](super::super::state::memory::Memory::next_batch).
#[must_use]
pub fn intend(
    ledger: &mut Ledger,
    batches: Vec<Vec<Ready>>,
    (first, claim): (u32, &str),
    time: &Time,
) -> Wave {
    let look_sent = batches.iter().flatten().map(|r| r.look_sent).min().unwrap_or_default();
    let batches = (first..)
        .zip(batches)
        .map(|(number, members)| {
            let mut batch = Batch { number, members: Vec::with_capacity(members.len()) };
            for member in &members {
                if let Some(row) = ledger.rows.get_mut(member.position) {
                    let (id, live, attempts) = (member.id, member.live, row.attempts);
                    batch.members.push(Member { id, live, attempts });
                    row.progress = match row.progress {
                        // The phase only goes forward: the new batch number stands for the further
                        // attempt.
                        Progress::Accepted { .. } => Progress::Accepted { batch: Some(number), resent: true },
                        _ => Progress::Submitted { batch: number },
                    };
                }
            }
            ledger.push_batch(BatchStatus {
                number,
                size: count(members.len()),
                returned: None,
                no_effect: None,
                claim: claim.to_owned(),
                submitted_at: time.clone(),
                request_id: None,
            });
            batch
        })
        .collect();
    Wave { claim: claim.to_owned(), batches, look_sent }
}
