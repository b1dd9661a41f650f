//! The ledger: the durable record of each id of the spec, as the status holds it.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        BatchStatus, CallKind, FailureReason, FailureStatus, InstanceDeletionStatus, InstancePhase,
        InstanceStatus, Summary,
    },
    engine::{id::InstanceId, outcome::CloudMessage, settings::BATCH_ROWS, state::StateText, time::Now},
};

/// How far one id is. It only goes forward: `Pending` → `PoweringOff` → `PoweredOff` → `Submitted` → `Accepted` → an end. A
/// further call, under a higher number, may power an instance off again that is not `Accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No call names the id.
    Pending,
    /// The call of this batch, which powers the instance off, may have been sent.
    PoweringOff {
        /// The last batch that names the id.
        batch: u32,
    },
    /// A read showed the instance off.
    PoweredOff {
        /// The batch that powered it off; none if it was off already.
        batch: Option<u32>,
    },
    /// The delete call of this batch may have been sent.
    Submitted {
        /// The last batch that names the id.
        batch: u32,
    },
    /// A 2xx returned the id, or a read showed the instance shutting down.
    Accepted {
        /// The last batch that names the id; none if something else deleted the instance.
        batch: Option<u32>,
        /// The outcome of that batch, a further attempt, is not recorded for this id yet.
        resent: bool,
    },
    /// A read showed the instance terminated.
    Terminated {
        /// The last batch that named the id.
        batch: Option<u32>,
        /// When the controller saw that.
        ended_at: Option<Time>,
    },
    /// The cloud does not know the id, as two reads confirm.
    NotFound {
        /// The last batch that named the id.
        batch: Option<u32>,
        /// When the controller saw that.
        ended_at: Option<Time>,
    },
    /// The id is given up.
    Failed {
        /// The last batch that named the id.
        batch: Option<u32>,
        /// Why.
        reason: FailureReason,
        /// When that was decided.
        ended_at: Option<Time>,
    },
}

impl Progress {
    /// Whether the id has its end: its record does not change any more.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self, Self::Terminated { .. } | Self::NotFound { .. } | Self::Failed { .. })
    }

    /// The last batch that names the id.
    #[must_use]
    pub fn batch(&self) -> Option<u32> {
        match *self {
            Self::Pending => None,
            Self::PoweringOff { batch } | Self::Submitted { batch } => Some(batch),
            Self::PoweredOff { batch }
            | Self::Accepted { batch, .. }
            | Self::Terminated { batch, .. }
            | Self::NotFound { batch, .. }
            | Self::Failed { batch, .. } => batch,
        }
    }
}

/// The record of one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The id.
    pub id: InstanceId,
    /// How far the id is.
    pub progress: Progress,
    /// Attempts to delete it that recorded outcomes have used.
    pub attempts: u32,
    /// Attempts to power it off that recorded outcomes have used.
    pub power_offs: u32,
    /// When a read first showed it off, by the wall clock.
    pub powered_off_at: Option<Time>,
    /// The last state that a read showed, where the progress doesn't imply it. On a `NotFound` row
    /// that no call named, it tells that the cloud knew the instance.
    pub cloud_state: Option<StateText>,
}

/// The record of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// A row for each id of the spec, in its order.
    pub rows: Vec<Row>,
    /// A row for each call, oldest first, the newest [`BATCH_ROWS`].
    pub batches: Vec<BatchStatus>,
    /// Why rows failed, by reason and code of the cloud; the counts add up to the failed rows.
    pub failures: Vec<FailureStatus>,
}

/// A batch number above all that calls can have reached. This controller did not write a larger
/// one, and counting on from it would leave the schema.
const MOST_BATCHES: u32 = 1_000_000_000;
/// Most failure rows with a code of the cloud; further failures are counted by their reason alone.
/// With one row for each reason, a status has at most the 20 rows that the schema allows.
const FAILURE_CODES: usize = 12;

impl Ledger {
    /// Reads the record of these ids. Rows of other ids are dropped: the spec does not cover them.
    ///
    /// A row that contradicts itself is read as the later of what it may mean: a `Submitted` row
    /// without a batch may have been sent, in a batch of unknown number (0).
    #[must_use]
    pub fn read(ids: &[InstanceId], status: &InstanceDeletionStatus) -> Self {
        // A status in the spec's order, as this controller writes it, needs no index.
        let in_order = status.instances.len() == ids.len()
            && status.instances.iter().zip(ids).all(|(row, id)| InstanceId::parse(&row.id) == Ok(*id));
        let index: HashMap<InstanceId, &InstanceStatus> = if in_order {
            HashMap::new()
        } else {
            status.instances.iter().filter_map(|row| Some((InstanceId::parse(&row.id).ok()?, row))).collect()
        };
        let rows = ids
            .iter()
            .enumerate()
            .map(|(position, &id)| {
                let stored = if in_order { status.instances.get(position) } else { index.get(&id).copied() };
                stored.map_or_else(|| Row::new(id), |row| Row::read(id, row))
            })
            .collect();
        let batches = status.batches.iter().filter(|b| b.number <= MOST_BATCHES).cloned().collect();
        let mut ledger = Self { rows, batches, failures: status.failures.clone() };
        ledger.recount_failures();
        ledger
    }

    /// Makes the counts of failures agree with the rows, whatever the stored status says.
    fn recount_failures(&mut self) {
        let mut counts: BTreeMap<FailureReason, u32> = BTreeMap::new();
        for row in &self.rows {
            if let Progress::Failed { reason, .. } = row.progress {
                *counts.entry(reason).or_default() += 1;
            }
        }
        self.failures.retain(|failure| counts.contains_key(&failure.reason));
        for (reason, count) in counts {
            let of_reason = || self.failures.iter().filter(|f| f.reason == reason);
            if of_reason().fold(0_u32, |sum, f| sum.saturating_add(f.count)) == count {
                continue;
            }
            let first = of_reason().next().cloned();
            self.failures.retain(|f| f.reason != reason);
            let known = first.unwrap_or(FailureStatus { reason, code: None, message: None, count });
            self.failures.push(FailureStatus { count, ..known });
        }
    }

    /// Gives a row up. `message` is what the cloud said, if that was the cause.
    pub fn fail(
        &mut self,
        position: usize,
        reason: FailureReason,
        message: Option<&CloudMessage>,
        now: &Now,
    ) {
        let Some(row) = self.rows.get_mut(position).filter(|row| !row.progress.ended()) else { return };
        row.progress = Progress::Failed { batch: row.progress.batch(), reason, ended_at: Some(now.time()) };
        if reason == FailureReason::PoweredOnAgain {
            row.powered_off_at = None;
        }
        let code = message.and_then(|message| message.code.clone());
        let full = self.failures.iter().filter(|f| f.code.is_some()).count() >= FAILURE_CODES;
        let known = self.failures.iter_mut().find(|f| f.reason == reason && f.code == code);
        if let Some(known) = known {
            known.count += 1;
            return;
        }
        let code = code.filter(|_| !full);
        let known = self.failures.iter_mut().find(|f| f.reason == reason && f.code == code);
        if let Some(known) = known {
            known.count += 1;
            return;
        }
        let message = message.map(|message| message.text.clone()).filter(|text| !text.is_empty());
        self.failures.push(FailureStatus { reason, code, message, count: 1 });
    }

    /// Writes the record into a status. A record in which nothing has happened yet is written
    /// without rows.
    pub fn write(&self, status: &mut InstanceDeletionStatus) {
        let untouched = self.rows.iter().all(|r| matches!(r.progress, Progress::Pending) && r.attempts == 0);
        status.instances = if untouched { Vec::new() } else { self.rows.iter().map(Row::write).collect() };
        status.batches.clone_from(&self.batches);
        status.failures.clone_from(&self.failures);
    }

    /// The batch with this number.
    #[must_use]
    pub fn batch(&self, number: u32) -> Option<&BatchStatus> {
        // Numbers follow each other in a record that nobody edited: one look instead of a search
        // for each row.
        let first = self.batches.first()?.number;
        let guessed = self.batches.get(number.wrapping_sub(first) as usize).filter(|b| b.number == number);
        guessed.or_else(|| self.batches.iter().rev().find(|b| b.number == number))
    }

    /// Whether the record says that the call of this batch certainly had no effect.
    #[must_use]
    pub fn had_no_effect(&self, number: u32) -> bool {
        self.batch(number).is_some_and(|batch| batch.no_effect == Some(true))
    }

    /// A number above every number in the record.
    #[must_use]
    pub fn next_batch(&self) -> u32 {
        let of_rows = self.rows.iter().filter_map(|r| r.progress.batch()).max().unwrap_or(0);
        let of_batches = self.batches.iter().map(|b| b.number).max().unwrap_or(0);
        of_rows.max(of_batches).saturating_add(1)
    }

    /// Adds a batch row and forgets the oldest beyond [`BATCH_ROWS`].
    pub fn push_batch(&mut self, batch: BatchStatus) {
        self.batches.push(batch);
        let surplus = self.batches.len().saturating_sub(BATCH_ROWS);
        self.batches.drain(..surplus);
    }

    /// Whether every id has its end.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.rows.iter().all(|r| r.progress.ended())
    }

    /// Whether the cloud ever knew one of the ids: a row that is not `NotFound`, that a call named,
    /// or whose instance a read found before.
    #[must_use]
    pub fn ever_known(&self) -> bool {
        let unnamed = |row: &Row| matches!(row.progress, Progress::NotFound { batch: None, .. });
        self.rows.iter().any(|row| !unnamed(row) || row.cloud_state.is_some())
    }

    /// Number of rows in each phase.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { total: count(self.rows.len()), ..Summary::default() };
        for row in &self.rows {
            match row.progress {
                Progress::Pending => summary.pending += 1,
                Progress::PoweringOff { .. } => summary.powering_off += 1,
                Progress::PoweredOff { .. } => summary.powered_off += 1,
                Progress::Submitted { .. } => summary.submitted += 1,
                Progress::Accepted { .. } => summary.accepted += 1,
                Progress::Terminated { .. } => summary.terminated += 1,
                Progress::NotFound { .. } => summary.not_found += 1,
                Progress::Failed { .. } => summary.failed += 1,
            }
        }
        summary
    }
}

/// A batch number, or 0 for one that no call can have had.
fn sane(number: u32) -> u32 {
    if number > MOST_BATCHES { 0 } else { number }
}

/// A count for the status; it is at most [`crate::api::MAX_IDS`].
#[must_use]
pub fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Row {
    /// Whether no delete call of the id is known to be accepted, and it has no end.
    #[must_use]
    pub fn undecided(&self) -> bool {
        matches!(
            self.progress,
            Progress::Pending
                | Progress::PoweringOff { .. }
                | Progress::PoweredOff { .. }
                | Progress::Submitted { .. }
        )
    }

    /// Attempts of this kind that recorded outcomes have used.
    #[must_use]
    pub fn used(&self, kind: CallKind) -> u32 {
        match kind {
            CallKind::Delete => self.attempts,
            CallKind::PowerOff => self.power_offs,
        }
    }

    /// Enters that a call of this kind used an attempt, if so many were used `before` it. Entering it twice counts it once.
    pub fn use_attempt(&mut self, kind: CallKind, before: u32) {
        let used = match kind {
            CallKind::Delete => &mut self.attempts,
            CallKind::PowerOff => &mut self.power_offs,
        };
        *used = (*used).max(before.saturating_add(1));
    }

    fn new(id: InstanceId) -> Self {
        Self {
            id,
            progress: Progress::Pending,
            attempts: 0,
            power_offs: 0,
            powered_off_at: None,
            cloud_state: None,
        }
    }

    fn read(id: InstanceId, row: &InstanceStatus) -> Self {
        let (batch, ended_at) = (row.batch.map(sane), row.ended_at.clone());
        let progress = match row.phase {
            // A batch on a Pending row would mean that a call may name it.
            InstancePhase::Pending => batch.map_or(Progress::Pending, |batch| Progress::Submitted { batch }),
            InstancePhase::PoweringOff => Progress::PoweringOff { batch: batch.unwrap_or(0) },
            // Without a time nothing says how long it has been off: a read tells from when on.
            InstancePhase::PoweredOff if row.powered_off_at.is_none() => {
                Progress::PoweringOff { batch: batch.unwrap_or(0) }
            }
            InstancePhase::PoweredOff => Progress::PoweredOff { batch },
            InstancePhase::Submitted => Progress::Submitted { batch: batch.unwrap_or(0) },
            InstancePhase::Accepted => Progress::Accepted { batch, resent: row.resent.unwrap_or(false) },
            InstancePhase::Terminated => Progress::Terminated { batch, ended_at },
            InstancePhase::NotFound => Progress::NotFound { batch, ended_at },
            InstancePhase::Failed => Progress::Failed {
                batch,
                reason: row.reason.unwrap_or(FailureReason::OutcomeUnknown),
                ended_at,
            },
        };
        let accepted_once = matches!(progress, Progress::Accepted { batch: Some(_), .. });
        Self {
            id,
            attempts: row.attempts.unwrap_or(u32::from(accepted_once)),
            progress,
            power_offs: row.power_offs.unwrap_or(0),
            powered_off_at: row.powered_off_at.clone(),
            cloud_state: row.cloud_state.as_deref().map(StateText::new),
        }
    }

    fn write(&self) -> InstanceStatus {
        // The attempt that the cloud accepted is implied. On a row that no reply accepted, a 202 that left it out used one.
        let implied = match self.progress {
            Progress::Pending
            | Progress::PoweringOff { .. }
            | Progress::PoweredOff { .. }
            | Progress::Submitted { .. }
            | Progress::Accepted { batch: None, .. } => 0,
            Progress::Accepted { batch: Some(_), .. }
            | Progress::Terminated { .. }
            | Progress::NotFound { .. }
            | Progress::Failed { .. } => 1,
        };
        let mut row = InstanceStatus {
            id: self.id.to_string(),
            phase: InstancePhase::Pending,
            batch: self.progress.batch(),
            attempts: (self.attempts > implied).then_some(self.attempts),
            power_offs: (self.power_offs > 0).then_some(self.power_offs),
            powered_off_at: self.powered_off_at.clone(),
            resent: None,
            cloud_state: None,
            reason: None,
            ended_at: None,
        };
        match &self.progress {
            Progress::Pending => {}
            Progress::PoweringOff { .. } => row.phase = InstancePhase::PoweringOff,
            Progress::PoweredOff { .. } => row.phase = InstancePhase::PoweredOff,
            Progress::Submitted { .. } => row.phase = InstancePhase::Submitted,
            Progress::Accepted { resent, .. } => {
                row.phase = InstancePhase::Accepted;
                row.resent = resent.then_some(true);
            }
            Progress::Terminated { ended_at, .. } => {
                row.phase = InstancePhase::Terminated;
                (row.power_offs, row.powered_off_at) = (None, None);
                row.ended_at.clone_from(ended_at);
            }
            Progress::NotFound { ended_at, .. } => {
                row.phase = InstancePhase::NotFound;
                (row.power_offs, row.powered_off_at) = (None, None);
                row.ended_at.clone_from(ended_at);
            }
            Progress::Failed { reason, ended_at, .. } => {
                row.phase = InstancePhase::Failed;
                row.reason = Some(*reason);
                row.ended_at.clone_from(ended_at);
            }
        }
        if !self.progress.ended() || matches!(self.progress, Progress::NotFound { batch: None, .. }) {
            row.cloud_state = self.cloud_state.as_ref().map(|s| s.as_str().to_owned());
        }
        row
    }
}

#[cfg(test)]
mod tests;
