//! The calls that one reader is to make: which is next, and which calls follow from the end of one.
//!
//! A read of up to 100 ids begins with a list. Its further pages, the halves of a list that was too large and the
//! instances that the list left out are calls of the same read, made before those of a later one: read side by side, each
//! read would take as long as all, and its first readings would be too old for a delete call when its last one came.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::{
    call::{Call, FailedCall, Fetched, ReadId, ReadRequest},
    coalesce::{Finished, LookId, Target},
};
use crate::engine::{InstanceId, outcome::LookFailure, outcome::Trouble};

/// Bound on the pages of one list. 100 ids at the least documented size of ten rows fill ten pages; more than a few
/// beyond that are a cloud that goes round in circles.
const PAGES: usize = 16;
/// Failures in a row after which the rest of a read is not tried one by one: it is the cloud, not an instance.
pub const HOPELESS: usize = 8;
/// A read that has begun.
struct Read {
    targets: Vec<Target>,
    /// Its next calls, in order.
    waiting: VecDeque<Call>,
    in_flight: usize,
    failure: Option<LookFailure>,
    /// Failed calls for single instances since the last one that succeeded.
    failed_in_a_row: usize,
    /// No further call follows.
    given_up: bool,
}

impl Read {
    /// Ends with this failure, once the calls in flight are over.
    fn give_up(&mut self, failure: LookFailure) {
        self.failure = Some(failure);
        self.given_up = true;
        self.waiting.clear();
    }

    /// Queues a call that is made once more before the others of its read.
    fn push_again(&mut self, mut call: Call) {
        if !self.given_up {
            call.ready = Instant::now();
            self.waiting.push_front(call);
        }
    }

    fn push(&mut self, id: ReadId, requests: impl IntoIterator<Item = ReadRequest>) {
        if !self.given_up {
            let now = Instant::now();
            self.waiting.extend(requests.into_iter().map(|request| Call::new(id, request, now)));
        }
    }

    fn list_failed(&mut self, id: ReadId, mut missing: Vec<InstanceId>, failed: FailedCall) {
        if failed.too_large && missing.len() > 1 {
            let half = missing.split_off(missing.len() / 2);
            self.push(id, [missing, half].map(ReadRequest::list));
        } else if failed.too_large
            || matches!(failed.failure.trouble, Trouble::Forbidden | Trouble::RequestRefused)
        {
            // One instance may be readable where a list is not: listing is a permission of its own, one unknown id may
            // have the whole list refused (no page of the vendor says whether it is left out), and one fits under the cap.
            self.push(id, missing.into_iter().map(ReadRequest::Show));
        } else {
            self.give_up(failed.failure);
        }
    }

    /// What stands in the way of one instance keeps no other from being read, unless it stands in the way of all.
    fn show_failed(&mut self, failure: LookFailure) {
        self.failed_in_a_row += 1;
        let of_one = matches!(failure.trouble, Trouble::RequestRefused | Trouble::CloudUnreachable);
        if of_one && self.failed_in_a_row < HOPELESS {
            self.failure.get_or_insert(failure);
        } else {
            self.give_up(failure);
        }
    }
}

/// The reads that have begun, and their calls.
#[derive(Default)]
pub struct ReadQueue {
    last: ReadId,
    reads: BTreeMap<ReadId, Read>,
}

impl ReadQueue {
    /// When the next call could have been made; `None` if none waits.
    pub fn ready(&self) -> Option<Instant> {
        self.reads.values().find_map(|read| read.waiting.front()).map(|call| call.ready)
    }

    /// Takes the next call. The caller makes it and passes its end to [`Self::ended`].
    pub fn next(&mut self) -> Option<Call> {
        let read = self.reads.values_mut().find(|read| !read.waiting.is_empty())?;
        let call = read.waiting.pop_front()?;
        read.in_flight += 1;
        Some(call)
    }

    /// Begins a read of up to 100 ids that could have been made at `ready`.
    pub fn begin(&mut self, targets: Vec<Target>, ready: Instant) {
        self.last += 1;
        let list = ReadRequest::list(targets.iter().map(|target| target.id).collect());
        let first = Call::new(self.last, list, ready);
        let read = Read {
            targets,
            waiting: VecDeque::from([first]),
            in_flight: 0,
            failure: None,
            failed_in_a_row: 0,
            given_up: false,
        };
        self.reads.insert(self.last, read);
    }

    /// Marks an instance of a call's read as read, and returns the looks that want it.
    pub fn read(&mut self, call: &Call, id: InstanceId) -> &[LookId] {
        let targets = self.reads.get_mut(&call.read).map(|read| &mut read.targets);
        let Some(target) = targets.into_iter().flatten().find(|target| target.id == id) else { return &[] };
        target.read = true;
        &target.looks
    }

    /// Notes how a call ended, and queues the calls that follow.
    pub fn ended(&mut self, mut call: Call, end: Result<Fetched, FailedCall>) {
        let id = call.read;
        let Some(read) = self.reads.get_mut(&id) else { return };
        read.in_flight -= 1;
        let end = match end {
            Err(failed) if call.again(&failed) => return read.push_again(call),
            end => end,
        };
        match (call.request, end) {
            (ReadRequest::List { ids, mut missing, mut markers }, Ok(Fetched { readings, next })) => {
                missing.retain(|id| readings.iter().all(|reading| reading.id != *id));
                // A repeated marker would go round for ever. What no page shows is read one by one.
                let further = !missing.is_empty() && markers.len() + 1 < PAGES;
                if let Some(next) = next.filter(|next| further && !markers.contains(next)) {
                    markers.push(next);
                    read.push(id, [ReadRequest::List { ids, missing, markers }]);
                } else {
                    read.push(id, missing.into_iter().map(ReadRequest::Show));
                }
            }
            (ReadRequest::List { missing, .. }, Err(failed)) => read.list_failed(id, missing, failed),
            (ReadRequest::Show(_), Ok(_)) => read.failed_in_a_row = 0,
            (ReadRequest::Show(_), Err(failed)) => read.show_failed(failed.failure),
        }
    }

    /// Ends all reads with this failure, each once its calls in flight are over.
    pub fn give_up(&mut self, failure: &LookFailure) {
        for read in self.reads.values_mut() {
            read.give_up(failure.clone());
        }
    }

    /// Takes the reads that are over.
    pub fn finished(&mut self) -> Vec<Finished> {
        let over =
            |(id, read): (&ReadId, &Read)| (read.waiting.is_empty() && read.in_flight == 0).then_some(*id);
        let over: Vec<_> = self.reads.iter().filter_map(over).collect();
        let reads = over.into_iter().filter_map(|id| self.reads.remove(&id));
        reads.map(|Read { targets, failure, .. }| Finished { targets, failure }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cloud::reader::{
            call::THROTTLED,
            look::{Reading, own_failure},
        },
        engine::{
            Mono,
            account::outage::Contact,
            state::{Live, Seen},
        },
    };

    fn ids(ids: std::ops::Range<u128>) -> Vec<InstanceId> {
        ids.map(InstanceId::from_u128).collect()
    }

    /// Begins a read of these ids and takes its list.
    fn list(queue: &mut ReadQueue, range: std::ops::Range<u128>) -> Call {
        let targets = ids(range).into_iter().map(|id| Target { id, looks: vec![0], read: false });
        queue.begin(targets.collect(), Instant::now());
        queue.next().unwrap()
    }

    /// A page that shows these ids, and the marker of the next one.
    fn fetched(range: std::ops::Range<u128>, next: Option<&str>) -> Fetched {
        let reading = |id| Reading { id, seen: Seen::Live(Live::Running), sent: Mono::START };
        Fetched { readings: ids(range).into_iter().map(reading).collect(), next: next.map(str::to_owned) }
    }

    fn failed(trouble: Trouble) -> FailedCall {
        FailedCall { contact: Contact::of_trouble(trouble), ..FailedCall::not_sent(own_failure(trouble, "")) }
    }

    fn show(id: u128) -> ReadRequest {
        ReadRequest::Show(InstanceId::from_u128(id))
    }

    /// What the waiting calls ask for, in order. They are taken.
    fn waiting(queue: &mut ReadQueue) -> Vec<ReadRequest> {
        std::iter::from_fn(|| queue.next()).map(|call| call.request).collect()
    }

    #[test]
    fn calls_of_an_earlier_read_go_first() {
        let mut queue = ReadQueue::default();
        let (first, second) = (list(&mut queue, 0..3), list(&mut queue, 10..12));
        queue.ended(second, Ok(fetched(10..11, None)));
        queue.ended(first, Ok(fetched(0..1, None)));
        assert_eq!(waiting(&mut queue), [show(1), show(2), show(11)]);
        assert!(queue.finished().is_empty(), "their calls are in flight");
    }

    /// How a list ends, the calls that follow from it, and the trouble of a failed read.
    type Row = (Result<Fetched, FailedCall>, Vec<ReadRequest>, Option<Trouble>);

    #[test]
    fn what_follows_from_a_list() {
        let halves =
            |ranges: [std::ops::Range<u128>; 2]| ranges.map(|range| ReadRequest::list(ids(range))).to_vec();
        let next = ReadRequest::List { ids: ids(0..4), missing: ids(1..4), markers: vec!["m".to_owned()] };
        let too_large = FailedCall { too_large: true, ..failed(Trouble::CloudUnreachable) };
        let table: [Row; 7] = [
            (Ok(fetched(0..4, Some("m"))), vec![], None),
            (Ok(fetched(0..1, Some("m"))), vec![next], None),
            (Ok(fetched(0..3, None)), vec![show(3)], None),
            (Err(too_large), halves([0..2, 2..4]), None),
            (Err(failed(Trouble::Forbidden)), (0..4).map(show).collect(), None),
            (Err(failed(Trouble::RequestRefused)), (0..4).map(show).collect(), None),
            (Err(failed(Trouble::CloudUnreachable)), vec![], Some(Trouble::CloudUnreachable)),
        ];
        for (end, follows, trouble) in table {
            let mut queue = ReadQueue::default();
            let call = list(&mut queue, 0..4);
            let said = format!("{end:?}");
            queue.ended(call, end);
            let over = queue.finished();
            assert_eq!(over.is_empty(), !follows.is_empty(), "{said}");
            let failure = over.into_iter().find_map(|finished| finished.failure);
            assert_eq!(failure.map(|failure| failure.trouble), trouble, "{said}");
            assert_eq!(waiting(&mut queue), follows, "{said}");
        }
    }

    #[test]
    fn c07_a_throttled_call_is_made_again_three_times_before_the_others_of_its_read() {
        let mut queue = ReadQueue::default();
        let call = list(&mut queue, 0..2);
        queue.ended(call, Ok(fetched(0..0, None)));
        let mut call = queue.next().unwrap();
        for _ in 0..THROTTLED {
            queue.ended(call, Err(failed(Trouble::Throttled { retry_after: None })));
            call = queue.next().unwrap();
            assert_eq!(call.request, show(0));
        }
        queue.ended(call, Err(failed(Trouble::Throttled { retry_after: None })));
        assert_eq!(queue.finished().len(), 1, "given up, with the call that waited");
    }

    #[test]
    fn a_read_that_is_given_up_is_over_when_its_calls_in_flight_are() {
        let mut queue = ReadQueue::default();
        let call = list(&mut queue, 0..3);
        queue.ended(call, Ok(fetched(0..0, None)));
        let (one, other) = (queue.next().unwrap(), queue.next().unwrap());
        queue.give_up(&own_failure(Trouble::CloudUnreachable, "an outage"));
        assert!(queue.next().is_none() && queue.finished().is_empty());
        queue.ended(one, Err(failed(Trouble::Throttled { retry_after: None })));
        assert!(queue.next().is_none(), "no call is made again");
        queue.ended(other, Ok(fetched(1..2, None)));
        let over = queue.finished();
        assert_eq!(over[0].failure.as_ref().unwrap().message.text, "an outage");
    }
}
