use super::*;
use crate::engine::{
    object::{
        state::memory::{CallState, OwnCall},
        tests::case::{Case, MICRO, at, case_of, then},
    },
    settings::{BATCH_SIZE, PATIENCE},
};

fn line_up(case: &Case) -> Candidates {
    case.clone().judge(at(then()), |ledger, facts| candidates(ledger, facts, BATCH_SIZE, Reach::Rollout))
}

#[test]
fn the_look_reaches_one_wave_far_and_two_while_calls_run() {
    let mut case = case_of(1_000);
    assert_eq!(line_up(&case).look.len(), 200, "four calls of fifty");
    let call =
        OwnCall { kind: CallKind::Delete, claim: "mine".into(), ids: vec![], state: CallState::InFlight };
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
    let case = Case::new(accepted).last_call(&Seen::ShuttingDown, then()).read(Seen::ShuttingDown, then());
    assert_eq!(line_up(&case), Candidates::default(), "on its way as it should be");
}

/// The ids that refused delete calls have put apart.
fn apart_of(parts: &[Vec<InstanceId>]) -> Apart {
    Apart(ByKind { delete: parts.to_vec(), power_off: Vec::new() })
}

fn candidates_of(ready: usize, look: usize, asked: usize) -> Candidates {
    let ready = (0..ready)
        .map(|position| Ready {
            kind: CallKind::Delete,
            server: None,
            or_powers_off: false,
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
        let wave = wave(&candidates, &apart_of(&[]), BATCH_SIZE, most);
        let sizes: Vec<usize> = wave.iter().map(|lot| lot.members.len()).collect();
        assert_eq!(sizes, expected, "{ready} {look} {asked} {most}");
        let sent: Vec<usize> = wave.into_iter().flat_map(|lot| lot.members).map(|r| r.position).collect();
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
        let apart = apart_of(&apart);
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
    let positions = |wave: Vec<Lot>| -> Vec<Vec<usize>> {
        wave.into_iter().map(|lot| lot.members.iter().map(|r| r.position).collect()).collect()
    };
    let apart = apart_of(&[vec![id(4)], vec![id(1), id(2)]]);
    assert_eq!(
        positions(wave(&candidates, &apart, 50, 9)),
        [vec![4], vec![1, 2], vec![0, 3, 5]],
        "a part is never filled up, and its ids are in no other batch"
    );
    assert_eq!(positions(wave(&candidates, &apart, 50, 1)), [vec![4]]);
    let mut candidates = candidates_of(6, 0, 0);
    candidates.unready.insert(id(30));
    let apart = apart_of(&[vec![id(1), id(30)]]);
    assert_eq!(positions(wave(&candidates, &apart, 50, 9)), [vec![0, 2, 3, 4, 5]], "it waits for its look");
    assert_eq!(positions(wave(&candidates, &Apart::default(), 2, 9)), [vec![0, 1], vec![2, 3], vec![4, 5]]);
    assert_eq!(
        positions(wave(&candidates, &Apart::default(), 4, 9)),
        [vec![0, 1, 2, 3]],
        "the rest waits to be filled up"
    );
}

#[test]
fn what_is_sent_apart_is_looked_at_first_and_nothing_beyond_what_is_permitted() {
    let ids = |candidates: &Candidates| candidates.look.clone();
    let whole = candidates_of(0, 200, 0);
    let apart = apart_of(&[vec![whole.look[150], whole.look[7]]]);
    for (calls, expected) in [(0, 0), (1, 50), (3, 150), (4, 200), (5, 200)] {
        let mut candidates = candidates_of(0, 200, 0);
        candidates.look_no_further(&Apart::default(), calls, (50, 4));
        assert_eq!(ids(&candidates), whole.look[..expected], "{calls}");
        assert_eq!(candidates.unready.len(), 200, "what is not looked at is not ready");
    }
    let mut candidates = candidates_of(10, 200, 30);
    candidates.look_no_further(&apart, 2, (50, 4));
    assert_eq!(ids(&candidates)[..3], [whole.look[7], whole.look[150], whole.look[0]]);
    assert_eq!(candidates.look.len(), 12, "a call of two, and one of 40 and 10");
    candidates_of(60, 1, 0).look_no_further(&Apart::default(), 1, (50, 4));
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
        assert_eq!(candidates_of(ready, look, asked).calls(&apart_of(&apart[..parts]), 50), calls);
    }
}
