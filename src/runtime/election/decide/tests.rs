mod contest;

use super::*;

const ME: &str = "me";

fn at(seconds: f64) -> Mono {
    Mono::at(Duration::from_secs_f64(seconds))
}

fn lease(version: &str, holder: Option<&str>) -> Lease {
    Lease {
        version: version.to_owned(),
        holder: holder.map(str::to_owned),
        duration: Some(Duration::from_secs(15)),
    }
}

fn candidate() -> Candidate {
    Candidate::new(ME.to_owned(), TIMES)
}

fn leader() -> Candidate {
    let mut leader = candidate();
    leader.written(lease("1", Some(ME)), at(100.0));
    leader
}

fn take(version: &str) -> NextStep {
    NextStep::Write(Write::Take(version.to_owned()))
}

fn renew(version: &str) -> NextStep {
    NextStep::Write(Write::Renew(version.to_owned()))
}

#[test]
fn what_a_first_read_leads_to() {
    assert_eq!(candidate().next(at(0.0)), NextStep::Read);
    let table = [
        (None, NextStep::Write(Write::Create)),
        (Some(lease("7", None)), take("7")),
        // It took the lease, and the reply was lost: what counts is an acknowledged write.
        (Some(lease("7", Some(ME))), renew("7")),
        (Some(lease("7", Some("other"))), NextStep::Wait(at(3.0))),
        (
            Some(Lease { duration: Some(Duration::from_secs(1)), ..lease("7", Some("other")) }),
            NextStep::Wait(at(2.0)),
        ),
    ];
    for (read, next) in table {
        let mut candidate = candidate();
        candidate.read(read.clone(), at(1.0), 0);
        assert_eq!((candidate.next(at(1.0)), candidate.until()), (next, None), "{read:?}");
    }
}

#[test]
fn a_lease_is_over_after_its_time_without_a_write_as_seen_by_oneself() {
    let mut standby = candidate();
    standby.read(Some(lease("7", Some("other"))), at(1.0), 0);
    for seconds in [3, 5, 7, 9, 11, 13, 15] {
        assert_eq!(standby.next(at(f64::from(seconds))), NextStep::Read);
        standby.read(Some(lease("7", Some("other"))), at(f64::from(seconds)), 0);
    }
    assert_eq!(standby.next(at(15.5)), NextStep::Wait(at(16.0)), "no later than its end");
    assert_eq!(standby.next(at(16.0)), take("7"));
    // The holder wrote meanwhile: its time begins anew, with the read that shows it.
    standby.conflict(at(16.1), 0);
    assert_eq!(standby.next(at(16.1)), NextStep::Read);
    standby.read(Some(lease("8", Some("other"))), at(16.2), 0);
    assert_eq!(standby.next(at(18.2)), NextStep::Read);
    assert_eq!(standby.next(at(31.1)), NextStep::Read);
    assert_eq!(standby.next(at(31.2)), take("8"));
}

#[test]
fn the_time_that_the_lease_states_counts() {
    for (stated, over) in [(Some(60), 61.0), (Some(1), 2.0), (None, 16.0)] {
        let mut standby = candidate();
        let duration = stated.map(Duration::from_secs);
        standby.read(Some(Lease { duration, ..lease("7", Some("other")) }), at(1.0), 0);
        assert_ne!(standby.next(at(over - 0.001)), take("7"), "{stated:?}");
        assert_eq!(standby.next(at(over)), take("7"), "{stated:?}");
    }
}

#[test]
fn a_leader_writes_again_and_leads_on_from_the_moment_at_which_it_sent_the_write() {
    let mut leader = leader();
    assert_eq!((leader.until(), leader.next(at(100.0))), (Some(at(110.0)), NextStep::Wait(at(102.0))));
    assert_eq!(leader.next(at(102.0)), renew("1"));
    // The reply came a second later.
    leader.written(lease("2", Some(ME)), at(102.0));
    assert_eq!((leader.until(), leader.next(at(103.0))), (Some(at(112.0)), NextStep::Wait(at(104.0))));
    assert_eq!(leader.next(at(104.0)), renew("2"));
}

#[test]
fn a_leader_whose_writes_fail_tries_until_its_time_is_over() {
    let mut leader = leader();
    for seconds in [102.0, 104.0, 106.0, 108.0] {
        assert_eq!(leader.next(at(seconds)), renew("1"));
        leader.failed(at(seconds), 0);
    }
    assert_eq!(leader.next(at(108.5)), NextStep::Wait(at(110.0)));
    leader.failed(at(109.0), 0);
    assert_eq!(
        leader.next(at(109.5)),
        NextStep::Wait(at(110.0)),
        "woken when it is over, not at the next try"
    );
    assert_eq!(leader.next(at(110.0)), NextStep::Lost(Loss::NotRenewed));
    // Stopped for a minute: not even a read first.
    assert_eq!(self::leader().next(at(160.0)), NextStep::Lost(Loss::NotRenewed));
}

#[test]
fn what_a_leader_makes_of_a_conflict() {
    let table = [
        // Its own write whose reply was lost, or an annotation by hand.
        (Some(lease("9", Some(ME))), renew("9")),
        (Some(lease("9", Some("other"))), NextStep::Lost(Loss::Taken("other".to_owned()))),
        (Some(lease("9", None)), NextStep::Lost(Loss::Cleared)),
        (None, NextStep::Write(Write::Create)),
    ];
    for (read, next) in table {
        let mut leader = leader();
        leader.conflict(at(102.1), 0);
        assert_eq!(leader.next(at(102.1)), NextStep::Read);
        leader.read(read.clone(), at(102.2), 0);
        assert_eq!(leader.next(at(102.2)), next, "{read:?}");
        assert_eq!(leader.until(), Some(at(110.0)), "a read is no term");
    }
}

#[test]
fn a_deleted_lease_is_made_again() {
    let mut leader = leader();
    leader.gone(at(102.1));
    assert_eq!(leader.next(at(102.1)), NextStep::Write(Write::Create));
    // Another was faster.
    leader.conflict(at(102.2), 0);
    leader.read(Some(lease("9", Some("other"))), at(102.3), 0);
    assert_eq!(leader.next(at(102.3)), NextStep::Lost(Loss::Taken("other".to_owned())));
}

#[test]
fn one_conflict_after_the_other_is_no_hot_loop() {
    let mut leader = leader();
    leader.conflict(at(102.0), 0);
    assert_eq!(leader.next(at(102.0)), NextStep::Read);
    leader.read(Some(lease("2", Some(ME))), at(102.0), 0);
    assert_eq!(leader.next(at(102.0)), renew("2"));
    leader.conflict(at(102.0), 0);
    assert_eq!(leader.next(at(102.0)), NextStep::Wait(at(104.0)));
}

#[test]
fn standbys_spread_their_reads_by_up_to_half() {
    let mut standby = candidate();
    let mut waits = Vec::new();
    for random in [0, 999_999, 1_000_000, u64::MAX] {
        standby.read(Some(lease("7", Some("other"))), at(1.0), random);
        let NextStep::Wait(moment) = standby.next(at(1.0)) else { panic!("waits") };
        waits.push((moment - at(1.0)).as_millis());
    }
    assert_eq!(waits[..3], [2000, 2999, 2000]);
    assert!((2000..3000).contains(&waits[3]));
    assert_eq!(standby.other_holder(), Some("other"));
    assert_eq!(leader().other_holder(), None);
}

#[test]
fn a_leader_stops_before_another_one_may_begin() {
    assert!(TIMES.renew < TIMES.lease && TIMES.retry * 2 < TIMES.renew);
}
