//! The calls that one reader is to make: which is next, and which calls follow from the end of one.
//!
//! A read of up to 100 ids begins with a list. Its further pages, the parts of a list that failed and the instances that
//! the list left out are calls of the same read, made before those of a later one: read side by side, each read would take
//! as long as all, and its first readings would be too old for a delete call when its last one came.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{
    call::{Call, Cause, FailedCall, Fetched, Purpose, ReadId, ReadRequest},
    coalesce::{Finished, LookId, Target},
    list_size::ListSize,
    read::Read,
    suspects::Suspects,
};
use crate::engine::{InstanceId, outcome::LookFailure};

/// Bound on the calls for suspects in flight. They may all hang until `--request-timeout`, and must leave room for others.
const SUSPECTS_AT_ONCE: usize = 4;

/// With which call a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A list of its ids.
    List,
    /// A list of one of its ids, to find out whether an outage is over.
    Scout,
}

/// The reads that have begun, and their calls.
#[derive(Default)]
pub struct ReadQueue {
    last: ReadId,
    reads: BTreeMap<ReadId, Read>,
    suspects: Suspects,
    /// Calls for suspects in flight.
    suspected: usize,
    list_size: ListSize,
}

impl ReadQueue {
    /// When the next call could have been made; `None` if none may be made.
    pub fn ready(&self) -> Option<Instant> {
        self.reads.values().find_map(|read| read.next(|call| self.may(call))).map(|call| call.ready)
    }

    fn may(&self, call: &Call) -> bool {
        call.purpose != Purpose::Suspect || self.suspected < SUSPECTS_AT_ONCE
    }

    /// Takes the next call. The caller makes it and passes its end to [`Self::ended`].
    pub fn next(&mut self) -> Option<Call> {
        let room = self.suspected < SUSPECTS_AT_ONCE;
        let may = |call: &Call| room || call.purpose != Purpose::Suspect;
        let call = self.reads.values_mut().find_map(|read| read.take(may))?;
        self.suspected += usize::from(call.purpose == Purpose::Suspect);
        Some(call)
    }

    /// Begins a read of up to 100 ids that could have been made at `ready`.
    pub fn begin(&mut self, targets: Vec<Target>, opening: Opening, ready: Instant) {
        self.last += 1;
        let now = Instant::now();
        let ids = targets.iter().map(|target| target.id);
        let (suspects, ids): (Vec<_>, Vec<_>) = ids.partition(|id| self.suspects.has(*id, now));
        let mut calls: Vec<_> = match (opening, ids.as_slice()) {
            (Opening::Scout, [one, rest @ ..]) if !rest.is_empty() => {
                let purpose = Purpose::Scout { rest: rest.to_vec(), failed: 0 };
                vec![(purpose, ReadRequest::list(vec![*one]))]
            }
            (Opening::List | Opening::Scout, ids) => {
                let lists = ids.chunks(self.list_size.most(now)).map(|ids| ReadRequest::list(ids.to_vec()));
                lists.map(|list| (Purpose::Read, list)).collect()
            }
        };
        calls.extend(suspects.into_iter().map(|id| (Purpose::Suspect, ReadRequest::Show(id))));
        self.reads.insert(self.last, Read::new(self.last, targets, calls, ready));
    }

    /// Marks an instance of a call's read as read, and returns the looks that want it.
    pub fn read(&mut self, call: &Call, id: InstanceId) -> &[LookId] {
        self.reads.get_mut(&call.read).map_or(&[], |read| read.read(id))
    }

    /// Notes how a call ended, and queues the calls that follow.
    pub fn ended(&mut self, call: Call, end: Result<Fetched, FailedCall>) {
        self.suspected -= usize::from(call.purpose == Purpose::Suspect);
        match (&call.request, &end) {
            (ReadRequest::Show(id), Ok(_)) => self.suspects.clear(*id),
            (ReadRequest::Show(id), Err(FailedCall { cause: Cause::Ids | Cause::ReplySize, .. })) => {
                self.suspects.add(*id, Instant::now());
            }
            (ReadRequest::List { ids, .. }, Ok(_)) => self.list_size.answered(ids.len()),
            (ReadRequest::Show(_) | ReadRequest::List { .. }, Err(_)) => {}
        }
        if let Some(read) = self.reads.get_mut(&call.read) {
            read.ended(call, end);
        }
    }

    /// Ends all reads with this failure, each once its calls in flight are over.
    pub fn give_up(&mut self, failure: &LookFailure) {
        for read in self.reads.values_mut() {
            read.give_up(failure);
        }
    }

    /// The looks that wait longer than usual for a read: a list of it has failed.
    pub fn delayed(&self, read: ReadId) -> BTreeSet<LookId> {
        self.reads.get(&read).map(Read::delayed).unwrap_or_default()
    }

    /// Takes the targets whose read is over.
    pub fn finished(&mut self) -> Vec<Finished> {
        let finished = self.reads.values_mut().flat_map(Read::take_over).collect();
        let now = Instant::now();
        let list_size = &mut self.list_size;
        self.reads.retain(|_, read| {
            if let Some(sizes) = read.split_sizes().filter(|_| read.is_over()) {
                list_size.split(sizes, now);
            }
            !read.is_over()
        });
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cloud::reader::{
            call::THROTTLED,
            look::{Reading, own_failure},
            read::HOPELESS,
        },
        engine::{
            Mono,
            account::outage::Contact,
            outcome::Trouble,
            state::{Live, Seen},
        },
    };

    fn ids(ids: std::ops::Range<u128>) -> Vec<InstanceId> {
        ids.map(InstanceId::from_u128).collect()
    }

    /// Begins a read of these ids and takes its list.
    fn list(queue: &mut ReadQueue, range: std::ops::Range<u128>) -> Call {
        let targets = ids(range).into_iter().map(|id| Target { id, looks: vec![0], read: false });
        queue.begin(targets.collect(), Opening::List, Instant::now());
        queue.next().unwrap()
    }

    /// A page that shows these ids, and the marker of the next one.
    fn fetched(range: std::ops::Range<u128>, next: Option<&str>) -> Fetched {
        let reading =
            |id| Reading { id, seen: Seen::Live(Live::Running), read: Mono::START.into(), facts: None };
        Fetched { readings: ids(range).into_iter().map(reading).collect(), next: next.map(str::to_owned) }
    }

    fn failed(trouble: Trouble) -> FailedCall {
        let cause = if trouble.may_be_of_one_instance() { Cause::Ids } else { Cause::Other };
        let contact = Contact::of_trouble(trouble);
        FailedCall { contact, cause, ..FailedCall::not_sent(own_failure(trouble, "")) }
    }

    fn show(id: u128) -> ReadRequest {
        ReadRequest::Show(InstanceId::from_u128(id))
    }

    /// Number of targets that are over now.
    fn targets(queue: &mut ReadQueue) -> usize {
        queue.finished().iter().map(|finished| finished.targets.len()).sum()
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
        assert_eq!(targets(&mut queue), 2, "those that were listed; the calls of the others are in flight");
    }

    /// How a list ends, the calls that follow from it, and the trouble of a failed read.
    type Row = (Result<Fetched, FailedCall>, Vec<ReadRequest>, Option<Trouble>);

    #[test]
    fn what_follows_from_a_list() {
        let halves =
            |ranges: [std::ops::Range<u128>; 2]| ranges.map(|range| ReadRequest::list(ids(range))).to_vec();
        let next = ReadRequest::List { ids: ids(0..4), missing: ids(1..4), markers: vec!["m".to_owned()] };
        let too_large = FailedCall { cause: Cause::ReplySize, ..failed(Trouble::CloudUnreachable) };
        let no_connection = FailedCall { cause: Cause::Other, ..failed(Trouble::CloudUnreachable) };
        let scout = || vec![ReadRequest::list(ids(1..2))];
        let table: [Row; 10] = [
            (Ok(fetched(0..4, Some("m"))), vec![], None),
            (Ok(fetched(0..1, Some("m"))), vec![next], None),
            (Ok(fetched(0..3, None)), vec![show(3)], None),
            (Err(too_large), halves([0..2, 2..4]), None),
            (Err(failed(Trouble::Forbidden)), (0..4).map(show).collect(), None),
            (Err(failed(Trouble::RequestRefused)), scout(), None),
            (Err(failed(Trouble::CloudUnreachable)), scout(), None),
            (Err(failed(Trouble::EndpointMisconfigured)), scout(), None),
            (Err(failed(Trouble::CredentialsRejected)), vec![], Some(Trouble::CredentialsRejected)),
            (Err(no_connection), vec![], Some(Trouble::CloudUnreachable)),
        ];
        for (end, follows, trouble) in table {
            let mut queue = ReadQueue::default();
            let call = list(&mut queue, 0..4);
            let said = format!("{end:?}");
            queue.ended(call, end);
            let over = queue.finished();
            let failure = over.into_iter().find_map(|finished| finished.failure);
            assert_eq!(failure.map(|failure| failure.trouble), trouble, "{said}");
            assert_eq!(waiting(&mut queue), follows, "{said}");
        }
    }

    /// Makes the calls of one read, one after the other, at a cloud whose answers depend on the request, and returns them
    /// with the ids that were not read.
    fn read_of(
        queue: &mut ReadQueue,
        range: std::ops::Range<u128>,
        answers: impl Fn(&ReadRequest) -> Option<Trouble>,
    ) -> (Vec<ReadRequest>, Vec<InstanceId>) {
        let targets = ids(range).into_iter().map(|id| Target { id, looks: vec![0], read: false });
        queue.begin(targets.collect(), Opening::List, Instant::now());
        let (mut calls, mut unread) = (Vec::new(), Vec::new());
        while let Some(call) = queue.next() {
            calls.push(call.request.clone());
            let readings = call.request.wanted().iter().map(|id| Reading {
                id: *id,
                seen: Seen::Live(Live::Running),
                read: Mono::START.into(),
                facts: None,
            });
            let end = match answers(&call.request) {
                Some(trouble) => Err(failed(trouble)),
                None => Ok(Fetched { readings: readings.collect(), next: None }),
            };
            for reading in end.iter().flat_map(|fetched| &fetched.readings) {
                queue.read(&call, reading.id);
            }
            queue.ended(call, end);
            let missed = queue.finished().into_iter().flat_map(|finished| finished.targets);
            unread.extend(missed.filter(|target| !target.read).map(|target| target.id));
        }
        assert!(queue.reads.is_empty(), "the read is over");
        (calls, unread)
    }

    fn names(request: &ReadRequest, bad: &[u128]) -> bool {
        request.wanted().iter().any(|id| bad.iter().any(|bad| *id == InstanceId::from_u128(*bad)))
    }

    const OF_ONE: [Trouble; 4] = [
        Trouble::CloudUnreachable,
        Trouble::RequestRefused,
        Trouble::Forbidden,
        Trouble::EndpointMisconfigured,
    ];

    #[tokio::test(start_paused = true)]
    async fn x13_whatever_fails_for_one_id_the_others_are_read_and_from_then_on_at_once() {
        for trouble in OF_ONE {
            for bad in [0, 1, 37, 98, 99] {
                let mut queue = ReadQueue::default();
                let answers = |request: &ReadRequest| names(request, &[bad]).then_some(trouble);
                let (calls, unread) = read_of(&mut queue, 0..100, answers);
                assert_eq!(unread, [InstanceId::from_u128(bad)], "{trouble:?} {bad}");
                let most = if trouble == Trouble::Forbidden { 101 } else { 22 };
                assert!(calls.len() <= most, "{trouble:?} {bad}: {} calls", calls.len());
                let (calls, unread) = read_of(&mut queue, 0..100, answers);
                assert_eq!((calls.len(), unread.len()), (2, 1), "{trouble:?}: a list without it, and it");
                let (calls, unread) = read_of(&mut queue, 0..100, |_| None);
                assert_eq!((calls.len(), unread.len()), (2, 0));
                assert_eq!(read_of(&mut queue, 0..100, |_| None).0.len(), 1, "it is suspected no longer");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ids_can_not_be_read_the_others_are_in_the_end() {
        for step in [2, 3, 10, 50] {
            let bad: Vec<_> = (0..100).filter(|n| n % step == 0).collect();
            let mut queue = ReadQueue::default();
            let answers = |request: &ReadRequest| names(request, &bad).then_some(Trouble::CloudUnreachable);
            let unread = (0..4).map(|_| read_of(&mut queue, 0..100, answers).1).last().unwrap();
            assert_eq!(unread, bad.iter().map(|n| InstanceId::from_u128(*n)).collect::<Vec<_>>());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_costs_a_read_no_more_than_a_list_and_its_scouts() {
        for (trouble, most) in [
            (Trouble::CloudUnreachable, 3),
            (Trouble::EndpointMisconfigured, 3),
            (Trouble::Forbidden, 3),
            (Trouble::CredentialsRejected, 1),
            (Trouble::RequestRefused, HOPELESS),
        ] {
            let mut queue = ReadQueue::default();
            let (calls, unread) = read_of(&mut queue, 0..100, |_| Some(trouble));
            assert_eq!((calls.len(), unread.len()), (most, 100), "{trouble:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn x14_a_list_that_is_too_long_is_split_and_the_size_that_works_is_remembered() {
        let too_long = |request: &ReadRequest| (request.wanted().len() > 47).then_some(());
        for (trouble, rounds) in [(Trouble::RequestRefused, 1), (Trouble::CloudUnreachable, 2)] {
            let mut queue = ReadQueue::default();
            let mut calls = || {
                let (calls, unread) =
                    read_of(&mut queue, 0..100, |request| too_long(request).map(|()| trouble));
                assert!(unread.is_empty());
                calls.len()
            };
            for _ in 0..rounds {
                assert_eq!(calls(), 1 + 1 + 4, "the list, a scout, and four parts");
            }
            assert_eq!([calls(), calls()], [4, 4], "{trouble:?}");
            tokio::time::advance(std::time::Duration::from_hours(1)).await;
            assert_eq!([calls(), calls()], [6, 4], "tried again after a time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_that_hang_leave_room_for_others() {
        let mut queue = ReadQueue::default();
        (0..9).for_each(|n| queue.suspects.add(InstanceId::from_u128(n), Instant::now()));
        list(&mut queue, 0..10);
        let suspects = waiting(&mut queue);
        assert_eq!(suspects, (0..4).map(show).collect::<Vec<_>>());
        assert_eq!(list(&mut queue, 20..22).request, ReadRequest::list(ids(20..22)), "a later read goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_over_as_soon_as_its_own_calls_are() {
        let mut queue = ReadQueue::default();
        let call = list(&mut queue, 0..8);
        queue.ended(call, Err(failed(Trouble::CloudUnreachable)));
        let scout = queue.next().unwrap();
        queue.ended(scout, Ok(fetched(1..2, None)));
        let parts: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(parts.iter().map(|part| part.request.wanted().len()).collect::<Vec<_>>(), [2, 2, 2, 1]);
        assert_eq!(targets(&mut queue), 1);
        for part in parts.into_iter().skip(1) {
            let readings = part.request.wanted().iter().map(|id| Reading {
                id: *id,
                seen: Seen::ShuttingDown,
                read: Mono::START.into(),
                facts: None,
            });
            let page = Fetched { readings: readings.collect(), next: None };
            queue.ended(part, Ok(page));
        }
        assert_eq!(targets(&mut queue), 5, "the first part hangs, and nobody else waits for it");
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
        assert_eq!(targets(&mut queue), 2, "given up, with the call that waited");
    }

    #[test]
    fn a_read_that_is_given_up_is_over_when_its_calls_in_flight_are() {
        let mut queue = ReadQueue::default();
        let call = list(&mut queue, 0..3);
        queue.ended(call, Ok(fetched(0..0, None)));
        let (one, other) = (queue.next().unwrap(), queue.next().unwrap());
        queue.give_up(&own_failure(Trouble::CloudUnreachable, "an outage"));
        assert!(queue.next().is_none());
        assert_eq!(targets(&mut queue), 1, "the one that waited");
        queue.ended(one, Err(failed(Trouble::Throttled { retry_after: None })));
        assert!(queue.next().is_none(), "no call is made again");
        queue.ended(other, Ok(fetched(1..2, None)));
        let over = queue.finished();
        assert_eq!(over[0].failure.as_ref().unwrap().message.text, "an outage");
    }
}
