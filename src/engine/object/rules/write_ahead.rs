//! The *write-ahead* rule: the intent of a wave is in the record, with a claim, before any of its
//! calls leaves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::batch::{Lot, Ready};
use crate::{
    api::{BatchStatus, CallKind},
    engine::{
        object::state::{
            ledger::{Ledger, Progress, Row, count},
            wave::{Batch, Member, Wave},
        },
        time::Mono,
    },
};

/// Enters the intent of a wave into the record. `claim` is random and new for each wave: nothing
/// else tells this process's intent from an equal one of another process. `first` is the number of
/// its first batch, from [`Memory::next_batch`](super::super::state::memory::Memory::next_batch).
#[must_use]
pub fn intend(
    ledger: &mut Ledger,
    batches: Vec<Lot>,
    (first, claim): (u32, &str),
    guards_read: Mono,
    time: &Time,
) -> Wave {
    let look_sent =
        batches.iter().flat_map(|lot| &lot.members).map(|r| r.look_sent).min().unwrap_or_default();
    let batches = (first..)
        .zip(batches)
        .map(|(number, Lot { kind, members })| {
            let mut batch = Batch { number, kind, members: Vec::with_capacity(members.len()) };
            for member in &members {
                if let Some(row) = ledger.rows.get_mut(member.position) {
                    batch.members.push(named(member, row, kind));
                    row.progress = match (kind, &row.progress) {
                        (CallKind::PowerOff, _) => Progress::PoweringOff { batch: number },
                        // The phase only goes forward: the new batch number stands for the further
                        // attempt.
                        (CallKind::Delete, Progress::Accepted { .. }) => {
                            Progress::Accepted { batch: Some(number), resent: true }
                        }
                        (CallKind::Delete, _) => Progress::Submitted { batch: number },
                    };
                    if kind == CallKind::PowerOff {
                        // It runs, whatever it was before.
                        row.powered_off_at = None;
                    }
                }
            }
            ledger.push_batch(BatchStatus {
                number,
                kind: Some(kind).filter(|kind| *kind != CallKind::Delete),
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
    Wave { claim: claim.to_owned(), batches, look_sent, guards_read }
}

/// One id of a call of this kind, with what its row says before the call.
fn named(ready: &Ready, row: &Row, kind: CallKind) -> Member {
    Member {
        id: ready.id,
        live: ready.live,
        attempts: row.used(kind),
        server: ready.server.clone(),
        or_powers_off: ready.or_powers_off,
    }
}
