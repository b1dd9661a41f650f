//! Weeks of one process in which nothing goes wrong: objects come, end, and are deleted, while one waits all the time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use clouddc_simulator::EndTime;
use instance_deletion_controller::controller::{Context, Key, Sizes};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    faults::Faults,
    plan::{NAMESPACES, ObjectPlan, PROJECT, Plan, TOKENS, id_of},
    process::start,
    record::{Record, Writer},
    sim::{PLURAL, Sim, place_of, secret_place},
    users,
};

/// Objects that come after an object before it is deleted.
const KEPT: usize = 20;
/// Every fifth object names a Secret that no other object names, like pipelines that create one for each run.
const OWN_SECRET: usize = 5;
/// Time after which the process has forgotten a deleted object: it keeps calls for eleven times `--settle`, and unused accounts
/// for up to ten minutes.
const FORGOTTEN: Duration = Duration::from_mins(20);

/// What a process keeps at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its structures.
    pub sizes: Sizes,
    /// Tasks of the runtime: those of accounts, schedules and looks among them.
    pub tasks: usize,
}

/// What was kept in the course of some weeks.
#[derive(Clone, Debug)]
pub struct Course {
    /// Before the first object came, beside the one that waits.
    pub before: Kept,
    /// At the end of each day, with objects coming and going.
    pub days: Vec<Kept>,
    /// After the last object was deleted.
    pub after: Kept,
    /// Objects that ended as they should.
    pub succeeded: usize,
}

/// Creates, ends and deletes `objects` objects, evenly over this time.
///
/// # Panics
/// If there is no runtime to be had.
#[must_use]
pub fn run(objects: usize, time: Duration) -> Course {
    let builder = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    #[expect(clippy::expect_used, reason = "a runtime without drivers needs nothing that could be missing")]
    let runtime = builder.expect("a runtime");
    runtime.block_on(live(objects, time))
}

fn plan() -> Plan {
    let mut plan = Plan::plain(7, 1);
    plan.cloud.vanish_after = Some(Duration::from_mins(10));
    plan
}

fn object(number: usize) -> ObjectPlan {
    let mut planned = Plan::plain(7, 1).objects.remove(0);
    planned.key.name = format!("object-{number}");
    planned.ids = vec![id_of(8, 2 * number), id_of(8, 2 * number + 1)];
    if number.is_multiple_of(OWN_SECRET) {
        planned.further.insert("credentialsSecretRef".to_owned(), json!({"name": own_secret(number).name}));
    }
    planned
}

fn own_secret(number: usize) -> Key {
    Key { namespace: NAMESPACES[0].to_owned(), name: format!("pipeline-{number}") }
}

async fn live(objects: usize, time: Duration) -> Course {
    const DAY: Duration = Duration::from_hours(24);
    let sim = Sim::new(plan(), Faults::none(), false);
    sim.with(|state| state.cloud.add_token(NAMESPACES[0], TOKENS[0]));
    users::secret(&sim, 0, crate::plan::SecretAct::Restore);
    let waits = sim.plan.objects.first().cloned();
    if let Some(waits) = &waits {
        sim.with(|state| {
            for id in &waits.ids {
                state.cloud.set_state(PROJECT, id, "running", Duration::ZERO);
                state.cloud.set_course(PROJECT, id, Some(EndTime::Never), None, Duration::ZERO);
            }
        });
        users::create(&sim, waits);
    }
    let number = start(&sim);
    let context = sim.with(|s| s.processes.get(number).map(|h| h.context.clone())).unwrap_or_default();
    sleep(FORGOTTEN).await;

    let before = kept(&context);
    let gap = time / u32::try_from(objects).unwrap_or(u32::MAX);
    let (mut days, mut succeeded, started) = (Vec::new(), 0, sim.now());
    for number in 0..objects + KEPT {
        if number < objects {
            create(&sim, number);
        }
        if let Some(old) = number.checked_sub(KEPT) {
            succeeded += usize::from(has_succeeded(&sim, old));
            delete(&sim, old);
        }
        sleep(gap).await;
        let whole_days = sim.now().saturating_sub(started).as_secs() / DAY.as_secs();
        if number < objects && whole_days > days.len() as u64 {
            days.push(kept(&context));
        }
        forget(&sim);
    }
    sleep(FORGOTTEN).await;
    Course { before, days, after: kept(&context), succeeded }
}

fn kept(context: &Weak<Context>) -> Kept {
    let sizes = context.upgrade().map(|context| context.sizes()).unwrap_or_default();
    Kept { sizes, tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() }
}

fn create(sim: &Arc<Sim>, number: usize) {
    let object = object(number);
    let now = sim.now();
    sim.with(|state| {
        for id in &object.ids {
            state.cloud.set_state(PROJECT, id, "running", now);
        }
    });
    if number.is_multiple_of(OWN_SECRET) {
        let key = own_secret(number);
        let token = ByteString(TOKENS[0].as_bytes().to_vec());
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": key.name}, "data": {"token": token}});
        sim.at_api(Writer::Other, |api| api.create(&secret_place(&key), body));
    }
    users::create(sim, &object);
}

fn delete(sim: &Arc<Sim>, number: usize) {
    let object = object(number);
    sim.at_api(Writer::Other, |api| api.delete(&place_of(&object.key), &Value::Null));
    if number.is_multiple_of(OWN_SECRET) {
        sim.at_api(Writer::Other, |api| api.delete(&secret_place(&own_secret(number)), &Value::Null));
    }
}

fn has_succeeded(sim: &Arc<Sim>, number: usize) -> bool {
    let name = object(number).key.name;
    sim.with(|state| {
        let mut all = state.api.list(PLURAL);
        all.any(|(place, object)| place.name == name && object["status"]["phase"] == "Succeeded")
    })
}

/// Drops the world's own record of the run. The test does not measure it, and it would take gigabytes.
fn forget(sim: &Arc<Sim>) {
    sim.with(|state| {
        let processes = std::mem::take(&mut state.record.processes);
        state.record = Record { processes, ..Record::default() };
        state.api.forget_history();
        state.pumped = 0;
    });
}
