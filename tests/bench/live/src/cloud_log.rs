//! What the cloud's log tells of calls: how many, how many of them refused, how many in a second.

use std::time::Duration;

use clouddc_simulator::{Entry, Operation};

use crate::{
    figure::{Figure, Sample, number},
    scenario::{MEASURED, SETTLING, Scenario, Throttle},
};

/// Whether it is one of DeleteInstances.
#[must_use]
pub fn is_delete(entry: &Entry) -> bool {
    entry.operation == Operation::DeleteInstances
}

/// Whether it is one of ListInstances or ShowInstanceStatus.
#[must_use]
pub fn is_read(entry: &Entry) -> bool {
    matches!(entry.operation, Operation::ListInstances | Operation::ShowInstanceStatus)
}

/// Calls and refusals of a run.
#[must_use]
pub fn figures(log: &[Entry], scenario: &Scenario) -> Sample {
    let mut sample =
        Sample::from([(Figure::DeleteCalls, number(log.iter().filter(|e| is_delete(e)).count()))]);
    if scenario.power_off {
        let calls = log.iter().filter(|entry| entry.operation == Operation::ChangeServerPowerState);
        sample.insert(Figure::PowerCalls, number(calls.count()));
    }
    if scenario.runs_to_the_end() {
        return sample;
    }
    // A scripted refusal comes before any limit.
    let met: Vec<&Entry> = log.iter().filter(|entry| entry.fault.is_none()).collect();
    let class = |is: fn(&Entry) -> bool| met.iter().copied().filter(|e| is(e)).collect::<Vec<_>>();
    let (deletes, reads) = (measured(&class(is_delete)), measured(&class(is_read)));
    let mut enter = |figure, value: Option<f64>| value.map(|value| sample.insert(figure, value));
    // Only where there was more to do than is granted does the rate tell anything.
    if scenario.listing {
        enter(Figure::DeleteGoodput, Some(goodput(&deletes, Throttle::DELETES)));
    } else {
        enter(Figure::ReadGoodput, Some(goodput(&reads, Throttle::READS)));
    }
    enter(Figure::DeleteRefusals, refusals(&deletes));
    enter(Figure::ReadRefusals, refusals(&reads));
    enter(Figure::Refusals, refusals(&met));
    sample
}

/// The calls of the time that is measured, which begins a minute after the first of them.
fn measured<'a>(calls: &[&'a Entry]) -> Vec<&'a Entry> {
    let Some(first) = calls.first() else { return Vec::new() };
    let since = |entry: &Entry| Duration::from_millis(entry.received_ms.saturating_sub(first.received_ms));
    let within = |entry: &&Entry| (SETTLING..SETTLING + MEASURED).contains(&since(entry));
    calls.iter().copied().filter(within).collect()
}

fn refused(entry: &Entry) -> bool {
    entry.status == Some(429)
}

fn goodput(calls: &[&Entry], granted_per_second: f64) -> f64 {
    let through = calls.iter().filter(|entry| !refused(entry)).count();
    number(through) / (MEASURED.as_secs_f64() * granted_per_second)
}

/// In percent; none of no calls.
fn refusals(calls: &[&Entry]) -> Option<f64> {
    let refused = calls.iter().filter(|entry| refused(entry)).count();
    (!calls.is_empty()).then(|| number(refused) / number(calls.len()) * 100.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use clouddc_simulator::Delivery;

    use super::*;

    /// A request of these ids that came at this second and was answered 100 ms later.
    pub(crate) fn entry(operation: Operation, second: u64, ids: &[&str], status: u16) -> Entry {
        Entry {
            seq: 0,
            received_ms: second * 1_000,
            received_unix_ms: 0,
            operation,
            method: String::new(),
            path: String::new(),
            project: None,
            token: None,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            action: None,
            instance_ids: Vec::new(),
            fault: None,
            effect_ms: Some(second * 1_000),
            applied: false,
            applied_ids: Vec::new(),
            powered_ids: Vec::new(),
            status: Some(status),
            error_code: None,
            returned_ids: Vec::new(),
            request_id: String::new(),
            finished_ms: Some(second * 1_000 + 100),
            delivery: Delivery::Delivered,
        }
    }

    /// A figure to three decimals, which is what sums of fractions are good for.
    pub(crate) fn shown(sample: &Sample, figure: Figure) -> String {
        format!("{:.3}", sample[&figure])
    }

    fn scenario(name: &str) -> Scenario {
        Scenario::all().into_iter().find(|scenario| scenario.name == name).unwrap()
    }

    #[test]
    fn goodput_and_refusals_count_from_a_minute_after_the_first_call() {
        let delete = |second, status| entry(Operation::DeleteInstances, second, &[], status);
        let mut log = vec![delete(100, 202)];
        log.extend((101..160).map(|second| delete(second, 429)));
        // One a second is granted; every fourth is refused.
        log.extend((160..400).map(|second| delete(second, if second % 4 == 0 { 429 } else { 202 })));
        log.extend((400..500).map(|second| delete(second, 429)));
        log.push(entry(Operation::ListInstances, 500, &[], 200));
        let figures = figures(&log, &scenario("second"));
        assert_eq!(shown(&figures, Figure::DeleteGoodput), "0.750");
        assert_eq!(shown(&figures, Figure::DeleteRefusals), "25.000");
        assert_eq!(figures.get(&Figure::ReadRefusals), None, "its first minute is not over");
        assert_eq!(shown(&figures, Figure::Refusals), "54.613", "59, 60 and 100 of 401");
        assert!(!figures.contains_key(&Figure::ReadGoodput), "little was there to read");
    }

    #[test]
    fn a_scripted_refusal_is_no_call_that_was_let_through() {
        let mut log: Vec<Entry> =
            (0..400).map(|second| entry(Operation::ShowInstanceStatus, second, &[], 200)).collect();
        log.extend((0..400).map(|second| Entry {
            fault: Some("no listing".to_owned()),
            ..entry(Operation::ListInstances, second, &[], 403)
        }));
        let figures = figures(&log, &scenario("second-reads"));
        assert_eq!(shown(&figures, Figure::ReadGoodput), "0.200", "one of five a second");
        assert_eq!(shown(&figures, Figure::Refusals), "0.000");
    }

    #[test]
    fn of_a_run_to_the_end_the_delete_calls_count() {
        let log = [
            entry(Operation::DeleteInstances, 1, &["a"], 202),
            entry(Operation::ListInstances, 2, &["a"], 200),
            entry(Operation::DeleteInstances, 3, &["a"], 429),
        ];
        assert_eq!(figures(&log, &scenario("objects")), Sample::from([(Figure::DeleteCalls, 2.0)]));
        let log =
            [log.to_vec(), vec![entry(Operation::ChangeServerPowerState, 0, &["server"], 200)]].concat();
        let both = Sample::from([(Figure::DeleteCalls, 2.0), (Figure::PowerCalls, 1.0)]);
        assert_eq!(figures(&log, &scenario("power-off")), both);
    }
}
