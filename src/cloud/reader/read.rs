//! One read of up to 100 ids: the calls that it still needs, and which follow from the end of one.
//!
//! A list may fail for a reason that lies in one of its ids, or in its length. So a list that fails is split, as long as
//! the cloud answers others, down to single ids: no instance keeps another from being read.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use super::{
    call::{Call, Cause, FailedCall, Fetched, Purpose, ReadId, ReadRequest},
    coalesce::{Finished, LookId, Target},
    list_size::Sizes,
};
use crate::engine::{
    InstanceId,
    outcome::{LookFailure, Trouble},
};

/// Bound on the pages of one list. 100 ids at the least documented size of ten rows fill ten pages; more than a few
/// beyond that are a cloud that goes round in circles.
const PAGES: usize = 16;
/// Failures in a row after which the rest of a read is not tried one by one: it is the cloud, not an instance.
pub const HOPELESS: usize = 8;
/// The same where reading seems to be forbidden altogether: a list and two instances.
const FORBIDDEN: usize = 3;
/// The same for a read whose lists are split. Lists that hold one of many unreadable ids fail in a row until the first
/// single id is reached.
const HOPELESS_PARTS: usize = 32;
/// Parts of a list that failed. Two would find one bad id with no fewer calls, and in twice the time.
const PARTS: usize = 4;
/// Lists of one id that may fail before no further list is made. The first may name an id that can't be read.
const SCOUTS: usize = 2;

/// How the lists of a read ended.
#[derive(Default)]
struct Lists {
    /// Ids of the smallest list that failed.
    failed: Option<usize>,
    /// Ids of the largest list that was answered.
    answered: usize,
    /// Whether the cloud refused one, rather than not answering it.
    refused: bool,
    /// Whether one failed for a reason that may lie in its ids.
    doubted: bool,
}

/// A read that has begun.
pub struct Read {
    id: ReadId,
    began: Instant,
    /// Those whose read is not over.
    targets: Vec<Target>,
    /// Its next calls, in order.
    waiting: VecDeque<Call>,
    in_flight: usize,
    /// Failed calls for lists or instances since the last one that succeeded.
    failed_in_a_row: usize,
    /// Why no further call follows.
    given_up: Option<LookFailure>,
    /// Targets that are over, and not taken yet.
    over: Vec<Finished>,
    lists: Lists,
    /// Whether the cloud has answered a call of this read.
    answered: bool,
    missed_some: bool,
}

impl Read {
    /// A read of these ids in these calls.
    pub fn new(id: ReadId, targets: Vec<Target>, calls: Vec<(Purpose, ReadRequest)>, ready: Instant) -> Self {
        let call = |(purpose, request)| Call::new(id, request, purpose, ready);
        Self {
            id,
            began: Instant::now(),
            targets,
            waiting: calls.into_iter().map(call).collect(),
            in_flight: 0,
            failed_in_a_row: 0,
            given_up: None,
            over: Vec::new(),
            lists: Lists::default(),
            answered: false,
            missed_some: false,
        }
    }

    /// The next call that `may` be made.
    pub fn next(&self, may: impl Fn(&Call) -> bool) -> Option<&Call> {
        self.waiting.iter().find(|call| may(call))
    }

    /// Takes the next call that `may` be made.
    pub fn take(&mut self, may: impl Fn(&Call) -> bool) -> Option<Call> {
        let at = self.waiting.iter().position(may)?;
        self.in_flight += 1;
        self.waiting.remove(at)
    }

    /// Marks an instance as read, and returns the looks that want it.
    pub fn read(&mut self, id: InstanceId) -> &[LookId] {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == id) else { return &[] };
        target.read = true;
        &target.looks
    }

    /// The looks that wait for this read, once a list of it has failed for a reason that may lie in its ids: they wait
    /// longer than usual.
    pub fn delayed(&self) -> BTreeSet<LookId> {
        let targets = self.targets.iter().filter(|_| self.lists.doubted);
        targets.flat_map(|target| target.looks.iter().copied()).collect()
    }

    /// Takes the targets that are over.
    pub fn take_over(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.over)
    }

    /// Whether all targets are over.
    pub fn is_over(&self) -> bool {
        self.targets.is_empty() && self.waiting.is_empty() && self.in_flight == 0
    }

    /// The sizes of the lists of a read that is over, if lists failed and every id was read in smaller ones.
    pub fn split_sizes(&self) -> Option<Sizes> {
        let Lists { failed, answered, refused, doubted: _ } = self.lists;
        let failed = failed.filter(|_| !self.missed_some)?;
        Some(Sizes { failed, answered, refused, began: self.began })
    }

    /// Notes how a call ended, and queues the calls that follow.
    pub fn ended(&mut self, mut call: Call, end: Result<Fetched, FailedCall>) {
        self.in_flight -= 1;
        let end = match end {
            Err(failed) if self.given_up.is_none() && call.again(&failed) => {
                call.ready = Instant::now();
                return self.waiting.push_front(call);
            }
            end => end,
        };
        if end.is_ok() {
            (self.failed_in_a_row, self.answered) = (0, true);
        }
        match (call.request, end) {
            (ReadRequest::List { ids, missing, markers }, Ok(page)) => {
                self.listed((ids, missing, markers), call.purpose, page);
            }
            (ReadRequest::List { ids, missing, .. }, Err(failed)) => {
                let shown: Vec<_> = ids.iter().copied().filter(|id| !missing.contains(id)).collect();
                self.done(&shown, None);
                self.list_failed(missing, call.purpose, failed);
            }
            (ReadRequest::Show(id), Ok(_)) => self.done(&[id], None),
            (ReadRequest::Show(id), Err(failed)) => self.show_failed(id, &call.purpose, failed),
        }
    }

    /// Ends with this failure, once the calls in flight are over.
    pub fn give_up(&mut self, failure: &LookFailure) {
        self.given_up = Some(failure.clone());
        for call in std::mem::take(&mut self.waiting) {
            self.unmade(&call.request, &call.purpose);
        }
    }

    fn listed(
        &mut self,
        (ids, mut missing, mut markers): (Vec<InstanceId>, Vec<InstanceId>, Vec<String>),
        purpose: Purpose,
        page: Fetched,
    ) {
        let Fetched { readings, next } = page;
        self.lists.answered = self.lists.answered.max(ids.len());
        missing.retain(|id| readings.iter().all(|reading| reading.id != *id));
        // A repeated marker would go round for ever. What no page shows is read one by one.
        let further = !missing.is_empty() && markers.len() + 1 < PAGES;
        if let Some(next) = next.filter(|next| further && !markers.contains(next)) {
            markers.push(next);
            return self.push([ReadRequest::List { ids, missing, markers }], &purpose);
        }
        let shown: Vec<_> = ids.into_iter().filter(|id| !missing.contains(id)).collect();
        self.done(&shown, None);
        // The cloud has just answered: if one of these can't be read, that says nothing about others.
        self.push(missing.into_iter().map(ReadRequest::Show), &Purpose::Part);
        match purpose {
            Purpose::Scout { rest, failed: 0 } => self.push([ReadRequest::list(rest)], &Purpose::Read),
            Purpose::Scout { rest, .. } => self.split(&rest, PARTS),
            Purpose::Read | Purpose::Part | Purpose::Suspect => {}
        }
    }

    fn list_failed(&mut self, missing: Vec<InstanceId>, purpose: Purpose, failed: FailedCall) {
        let FailedCall { failure, cause, .. } = failed;
        let failure = self.given_up.clone().unwrap_or(failure);
        let trouble = failure.trouble;
        self.failed_in_a_row += 1;
        self.lists.doubted |= cause == Cause::Ids;
        self.lists.refused |= cause == Cause::ReplySize || trouble == Trouble::RequestRefused;
        if !matches!(purpose, Purpose::Scout { .. }) {
            let smallest = self.lists.failed.map_or(missing.len(), |smallest| smallest.min(missing.len()));
            self.lists.failed = Some(smallest);
        }
        let single = missing.len() == 1;
        match (cause, purpose) {
            (Cause::Other, purpose) => self.hopeless(missing, &purpose, &failure),
            (Cause::ReplySize, Purpose::Scout { rest, .. }) => {
                self.push(missing.into_iter().map(ReadRequest::Show), &Purpose::Part);
                self.split(&rest, PARTS);
            }
            (Cause::ReplySize, _) if !single => self.split(&missing, 2),
            (Cause::ReplySize, _) => self.show(missing, &Purpose::Part),
            // One instance may be readable where a list is not: listing is a permission of its own, and no page of the
            // vendor says whether an unknown id is left out of a list or has it refused.
            (Cause::Ids, Purpose::Scout { mut rest, .. }) if trouble == Trouble::Forbidden => {
                rest.extend(missing);
                self.show(rest, &Purpose::Read);
            }
            (Cause::Ids, _) if trouble == Trouble::Forbidden => self.show(missing, &Purpose::Read),
            (Cause::Ids, Purpose::Scout { mut rest, failed }) => {
                rest.extend(missing);
                match trouble {
                    _ if failed < SCOUTS => self.scout(rest, failed + 1),
                    Trouble::RequestRefused => self.show(rest, &Purpose::Read),
                    _ => self.hopeless(rest, &Purpose::Read, &failure),
                }
            }
            (Cause::Ids, Purpose::Part) if self.failed_in_a_row >= HOPELESS_PARTS => {
                self.hopeless(missing, &Purpose::Part, &failure);
            }
            (Cause::Ids, Purpose::Part) if !single => self.split(&missing, PARTS),
            (Cause::Ids, Purpose::Part) => self.show(missing, &Purpose::Part),
            (Cause::Ids, Purpose::Read | Purpose::Suspect) if !single => self.scout(missing, 1),
            (Cause::Ids, Purpose::Read | Purpose::Suspect) if trouble == Trouble::RequestRefused => {
                self.show(missing, &Purpose::Part);
            }
            (Cause::Ids, Purpose::Read | Purpose::Suspect) => self.done(&missing, Some(&failure)),
        }
    }

    /// Ends the read of one instance. The others go on, unless the failure concerns them too.
    fn show_failed(&mut self, id: InstanceId, purpose: &Purpose, failed: FailedCall) {
        let FailedCall { failure, cause, .. } = failed;
        let failure = self.given_up.clone().unwrap_or(failure);
        self.failed_in_a_row += 1;
        let all = match purpose {
            _ if cause == Cause::Other => true,
            Purpose::Read | Purpose::Scout { .. } => {
                let forbidden = failure.trouble == Trouble::Forbidden && !self.answered;
                self.failed_in_a_row >= if forbidden { FORBIDDEN } else { HOPELESS }
            }
            Purpose::Part => self.failed_in_a_row >= HOPELESS_PARTS,
            // What failed lately may fail again, however many there are.
            Purpose::Suspect => false,
        };
        self.done(&[id], Some(&failure));
        if all {
            self.give_up(&failure);
        }
    }

    /// Makes a list of one of these ids, to find out whether the cloud answers any. Another one each time, in this read
    /// and in later ones: it may be this one that can't be read. Scouts that failed stand last.
    fn scout(&mut self, mut rest: Vec<InstanceId>, failed: usize) {
        let untried = rest.len().saturating_sub(failed.saturating_sub(1)).max(1);
        let turn = usize::try_from(self.id).unwrap_or_default() % untried;
        let id = rest.remove(turn);
        self.push_first(vec![ReadRequest::list(vec![id])], &Purpose::Scout { rest, failed });
    }

    /// Reads these ids in `parts` lists, before the calls that wait: the sooner the read reaches single ids, the sooner a
    /// readable one shows that the cloud answers.
    fn split(&mut self, ids: &[InstanceId], parts: usize) {
        let size = ids.len().div_ceil(parts).max(1);
        let requests = ids.chunks(size).map(|part| match part {
            [id] => ReadRequest::Show(*id),
            ids => ReadRequest::list(ids.to_vec()),
        });
        self.push_first(requests.collect(), &Purpose::Part);
    }

    fn show(&mut self, ids: Vec<InstanceId>, purpose: &Purpose) {
        self.push(ids.into_iter().map(ReadRequest::Show), purpose);
    }

    fn push(&mut self, requests: impl IntoIterator<Item = ReadRequest>, purpose: &Purpose) {
        let now = Instant::now();
        for request in requests {
            if self.given_up.is_some() {
                self.unmade(&request, purpose);
            } else {
                self.waiting.push_back(Call::new(self.id, request, purpose.clone(), now));
            }
        }
    }

    fn push_first(&mut self, requests: Vec<ReadRequest>, purpose: &Purpose) {
        let behind = std::mem::take(&mut self.waiting);
        self.push(requests, purpose);
        self.waiting.extend(behind);
    }

    /// Gives the read up after a list failed that was to read these ids.
    fn hopeless(&mut self, missing: Vec<InstanceId>, purpose: &Purpose, failure: &LookFailure) {
        self.give_up(failure);
        self.unmade(&ReadRequest::list(missing), purpose);
    }

    /// Ends the targets of a call that is not made.
    fn unmade(&mut self, request: &ReadRequest, purpose: &Purpose) {
        let failure = self.given_up.clone();
        if let Purpose::Scout { rest, .. } = purpose {
            self.done(rest, failure.as_ref());
        }
        if let ReadRequest::List { ids, .. } = request {
            // The pages before have shown some of them.
            self.done(ids, failure.as_ref());
        }
        self.done(request.wanted(), failure.as_ref());
    }

    /// Notes that the read of these ids is over. Those that were read have no failure, whatever is said here.
    fn done(&mut self, ids: &[InstanceId], failure: Option<&LookFailure>) {
        let (over, left) =
            std::mem::take(&mut self.targets).into_iter().partition(|target| ids.contains(&target.id));
        self.targets = left;
        let targets: Vec<Target> = over;
        if !targets.is_empty() {
            self.missed_some |= targets.iter().any(|target| !target.read);
            self.over.push(Finished { targets, failure: failure.cloned() });
        }
    }
}
