//! The instances of all projects and the rules of deletion: no sockets, no clock; time is passed in.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::Value;

use crate::{
    errors::ApiError,
    instance::{Course, Instance, Rules, Status},
    options::{EndTime, Options},
    paging::ListQuery,
    random::{Random, is_uuid},
};

/// "list of instance IDs, ≤ 50" (BatchDeleteOptions).
const MOST_IN_BATCH: usize = 50;

/// First millisecond in ids: the one of the vendor's example id.
const FIRST_ID_MS: u64 = 0x0198_170e_4ca7;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    started_unix_ms: u64,
    random: Random,
    ids_made: u64,
    orders_given: u64,
    projects: HashMap<String, Project>,
}

#[derive(Debug, Default)]
struct Project {
    by_id: HashMap<String, Instance>,
    by_order: BTreeMap<u64, String>,
}

/// One page of ListInstances; places are `ListQuery::after` of that page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Ids and items.
    pub(crate) rows: Vec<(String, Value)>,
    pub(crate) next: Option<u64>,
    pub(crate) previous: Option<u64>,
    pub(crate) total: usize,
}

impl World {
    pub(crate) fn new(options: &Options, started_unix_ms: u64) -> Self {
        Self {
            rules: Rules {
                seed: options.seed,
                end: options.end.clone(),
                vanish_after: options.vanish_after,
                visibility_lag: options.visibility_lag,
                user_data_bytes: options.user_data_bytes,
                running_deletable: options.running_deletable,
                error_deletable: options.error_deletable,
                vocabulary: options.vocabulary,
            },
            started_unix_ms,
            random: Random::new(options.seed),
            ids_made: 0,
            orders_given: 0,
            projects: HashMap::new(),
        }
    }

    /// An id no instance has.
    pub(crate) fn fresh_id(&mut self) -> String {
        self.ids_made += 1;
        self.random.uuid(7, Some(FIRST_ID_MS + self.ids_made))
    }

    /// An instance of the same id is replaced.
    pub(crate) fn add(&mut self, project: &str, id: &str, status: Status, now: Duration) {
        self.remove(project, id);
        self.orders_given += 1;
        let order = self.orders_given;
        let project = self.projects.entry(project.to_owned()).or_default();
        project.by_id.insert(id.to_owned(), Instance::new(id, order, status, now, &self.rules));
        project.by_order.insert(order, id.to_owned());
    }

    pub(crate) fn remove(&mut self, project: &str, id: &str) -> bool {
        let Some(project) = self.projects.get_mut(project) else { return false };
        let Some(instance) = project.by_id.remove(id) else { return false };
        project.by_order.remove(&instance.order);
        true
    }

    /// Adds the instance if there is none.
    pub(crate) fn set(&mut self, project: &str, id: &str, status: Status, now: Duration) {
        let rules = self.rules.clone();
        match self.settled(project, id, now) {
            Some(instance) => instance.set(status, now, &rules),
            None => self.add(project, id, status, now),
        }
    }

    /// False when there is no such instance.
    pub(crate) fn set_course(
        &mut self,
        project: &str,
        id: &str,
        end: Option<EndTime>,
        failures: Option<u32>,
        now: Duration,
    ) -> bool {
        let Some(instance) = self.settled(project, id, now) else { return false };
        instance.end = end.or(instance.end.take());
        instance.failures = failures.unwrap_or(instance.failures);
        true
    }

    fn settled(&mut self, project: &str, id: &str, now: Duration) -> Option<&mut Instance> {
        let instance = self.projects.get_mut(project)?.by_id.get_mut(id)?;
        instance.settle(now, &self.rules);
        Some(instance)
    }

    /// What is so, whatever reads show.
    pub(crate) fn actual(&mut self, project: &str, id: &str, now: Duration) -> Option<Status> {
        self.settled(project, id, now)?.actual(now).cloned()
    }

    /// Ids and actual states of a project, in the order in which they were added.
    pub(crate) fn all(&mut self, project: &str, now: Duration) -> Vec<(String, Status)> {
        let ids: Vec<String> =
            self.projects.get(project).map_or(Vec::new(), |one| one.by_order.values().cloned().collect());
        ids.into_iter().filter_map(|id| Some((id.clone(), self.actual(project, &id, now)?))).collect()
    }

    /// Courses of a project's deletions, by id.
    pub(crate) fn courses(&self, project: &str) -> HashMap<String, Course> {
        let instances = self.projects.get(project).into_iter().flat_map(|project| &project.by_id);
        instances.filter_map(|(id, instance)| Some((id.clone(), instance.course?))).collect()
    }

    pub(crate) fn projects(&self) -> Vec<String> {
        let peopled = self.projects.iter().filter(|(_, project)| !project.by_id.is_empty());
        let mut names: Vec<String> = peopled.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// ShowInstanceStatus.
    pub(crate) fn show(&mut self, project: &str, id: &str, now: Duration) -> Result<Status, ApiError> {
        self.settled(project, id, now)
            .and_then(|instance| instance.shown(now).cloned())
            .ok_or_else(|| ApiError::instances_not_found(&[id.to_owned()]))
    }

    /// Whether DeleteInstances accepts these ids; one bad id refuses the whole call. Returns each id once.
    pub(crate) fn check_delete(
        &mut self,
        project: &str,
        ids: &[String],
        now: Duration,
    ) -> Result<Vec<String>, ApiError> {
        if ids.is_empty() {
            return Err(ApiError::missing("instance_id_set"));
        }
        if ids.len() > MOST_IN_BATCH {
            return Err(ApiError::invalid(&format!("instance_id_set: more than {MOST_IN_BATCH}")));
        }
        if let Some(bad) = ids.iter().find(|id| !is_uuid(id)) {
            return Err(ApiError::invalid(&format!("instance_id_set: {bad}")));
        }
        let mut once: Vec<String> = Vec::with_capacity(ids.len());
        for id in ids {
            if !once.contains(id) {
                once.push(id.clone());
            }
        }
        let (mut unknown, mut refused) = (Vec::new(), Vec::new());
        for id in &once {
            let rules = self.rules.clone();
            match self.settled(project, id, now).filter(|instance| instance.actual(now).is_some()) {
                None => unknown.push(id.clone()),
                Some(instance) if !instance.deletable(&rules) => refused.push(id.clone()),
                Some(_) => {}
            }
        }
        match (unknown.is_empty(), refused.is_empty()) {
            (true, true) => Ok(once),
            (true, false) => Err(ApiError::instances_not_ready(&refused)),
            (false, _) => Err(ApiError::instances_not_found(&unknown)),
        }
    }

    /// What an accepted call does.
    pub(crate) fn begin_deletions(&mut self, project: &str, ids: &[String], now: Duration) {
        let rules = self.rules.clone();
        for id in ids {
            if let Some(instance) = self.settled(project, id, now) {
                instance.begin_deletion(now, &rules);
            }
        }
    }

    /// ListInstances: ids that do not exist are simply absent. Where the next page begins is moved by `moved` rows.
    pub(crate) fn list(&mut self, project: &str, query: &ListQuery, moved: isize, now: Duration) -> Page {
        let Some(project) = self.projects.get_mut(project) else {
            return Page { rows: Vec::new(), next: None, previous: None, total: 0 };
        };
        let mut orders: Vec<u64> = if query.ids.is_empty() {
            project.by_order.keys().copied().collect()
        } else {
            query.ids.iter().filter_map(|id| project.by_id.get(id).map(|one| one.order)).collect()
        };
        orders.sort_unstable();
        orders.dedup();
        orders.retain(|order| {
            let instance = project.by_order.get(order).and_then(|id| project.by_id.get_mut(id));
            instance.is_some_and(|instance| {
                instance.settle(now, &self.rules);
                let state = instance.shown(now).map(|status| status.state.as_str());
                (query.server_ids.is_empty() || query.server_ids.contains(&instance.server_id))
                    && state.is_some_and(|state| query.state.as_deref().is_none_or(|wanted| wanted == state))
            })
        });
        let item = |order: &u64| {
            let instance = project.by_id.get(project.by_order.get(order)?)?;
            let item = instance.list_item(instance.shown(now)?, self.started_unix_ms, &self.rules);
            Some((instance.id.clone(), item))
        };
        let total = orders.len();
        let first = orders.partition_point(|order| *order <= query.after);
        let end = (first + query.limit).min(total);
        let place = |row: usize| row.checked_sub(1).and_then(|row| orders.get(row)).copied().unwrap_or(0);
        Page {
            rows: orders.iter().take(end).skip(first).filter_map(item).collect(),
            next: (end < total).then(|| place(end.saturating_add_signed(moved).min(total))),
            previous: (first > 0).then(|| place(first.saturating_sub(query.limit))),
            total,
        }
    }

    /// An item for an instance this project does not have.
    pub(crate) fn foreign_item(&self, id: &str, now: Duration) -> Value {
        let status = Status::new("running");
        let instance = Instance::new(id, 0, status.clone(), now, &self.rules);
        instance.list_item(&status, self.started_unix_ms, &self.rules)
    }
}
