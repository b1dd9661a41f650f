//! The instances of all projects and the rules of deletion and power: no sockets, no clock; time is passed in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use serde_json::Value;

use crate::{
    calendar::rfc3339,
    clock::millis,
    errors::ApiError,
    facts::{Facts, RowFacts},
    instance::{Course, Instance, Rules, Status},
    options::{EndTime, Options},
    paging::{ListQuery, ServerQuery},
    power::{Power, PowerAction, PowerCourse, Servers},
    random::{Random, is_uuid},
};

/// "list of instance IDs, ≤ 50" (BatchDeleteOptions), and as many servers (PowerAction).
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
    servers: Servers,
}

/// A server as its instances make it.
#[derive(Debug)]
struct Occupied {
    server: String,
    /// The instance that was added to it last.
    latest: String,
    /// Whether an instance is on it.
    in_use: bool,
}

impl Occupied {
    fn manage_state(&self) -> &'static str {
        if self.in_use { "in-use" } else { "ready" }
    }
}

impl Project {
    /// Ends the power actions whose time has come.
    fn settle_power(&mut self, now: Duration, rules: &Rules) {
        for at in self.servers.end(now) {
            let Some(course) = self.servers.course(at).cloned() else { continue };
            let PowerCourse { action, server, instance: Some(id), ends: Some(ends), fails, .. } = course
            else {
                continue;
            };
            let instance = self.by_id.get_mut(&id).filter(|instance| instance.facts().server.id == server);
            let Some(instance) = instance else { continue };
            if fails {
                instance.fail_power_off(ends);
            } else if instance.follow_power(action.leaves_on(), ends, rules) {
                self.servers.changed(at, ends);
            }
        }
    }

    /// The state of an instance was given to it: the power of its server follows.
    fn power_follows(&mut self, id: &str, now: Duration) {
        let Some(instance) = self.by_id.get(id) else { return };
        let server = instance.facts().server.id.clone();
        self.servers.abandon(&server, id);
        match instance.actual(now).map(|status| status.state.as_str()) {
            Some("running") => self.servers.set(&server, true, None),
            Some("stopped") => self.servers.set(&server, false, None),
            _ => {}
        }
    }

    /// The instances on each of these servers, in the order in which they were added. A server without an entry is unknown.
    fn tenants(&mut self, servers: &[String], now: Duration, rules: &Rules) -> HashMap<String, Vec<String>> {
        let wanted: HashSet<&String> = servers.iter().collect();
        let mut tenants: HashMap<String, Vec<String>> = HashMap::new();
        for id in self.by_order.values() {
            let Some(instance) = self.by_id.get_mut(id) else { continue };
            if !wanted.contains(&instance.facts().server.id) {
                continue;
            }
            instance.settle(now, rules);
            let on_it = tenants.entry(instance.facts().server.id.clone()).or_default();
            if !instance.gone(now) {
                on_it.push(id.clone());
            }
        }
        tenants
    }

    /// All servers, each once, in the order of the instances. A server stays when its instance is terminated.
    fn occupied(&mut self, now: Duration, rules: &Rules) -> Vec<Occupied> {
        let mut all: Vec<Occupied> = Vec::new();
        let mut places = HashMap::new();
        for id in self.by_order.values() {
            let Some(instance) = self.by_id.get_mut(id) else { continue };
            instance.settle(now, rules);
            let server = instance.facts().server.id.clone();
            let at = *places.entry(server.clone()).or_insert(all.len());
            if at == all.len() {
                all.push(Occupied { server, latest: String::new(), in_use: false });
            }
            if let Some(one) = all.get_mut(at) {
                one.latest.clone_from(id);
                one.in_use |= !instance.gone(now);
            }
        }
        all
    }

    /// PhysicalServer of a server.
    fn server_row(&self, project: &str, one: &Occupied, form: RowFacts) -> Value {
        let Some(instance) = self.by_id.get(&one.latest) else { return Value::Null };
        let facts = instance.facts();
        let power = self.servers.power(&one.server);
        facts.server.row(project, one.manage_state(), &power, &facts.created_at, form)
    }
}

/// One page of ListServers.
#[derive(Debug)]
pub(crate) struct ServerPage {
    /// Ids and rows.
    pub(crate) rows: Vec<(String, Value)>,
    /// Whether there is a further page.
    pub(crate) more: bool,
    pub(crate) total: usize,
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
                row_facts: options.row_facts,
                running_deletable: options.running_deletable,
                error_deletable: options.error_deletable,
                refusals_named: options.refusals_named,
                power_end: options.power_end.clone(),
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
        let created = rfc3339(self.started_unix_ms + millis(now));
        let project = self.projects.entry(project.to_owned()).or_default();
        project.by_id.insert(id.to_owned(), Instance::new(id, order, status, now, &created, &self.rules));
        project.by_order.insert(order, id.to_owned());
        project.power_follows(id, now);
    }

    /// Adds a running instance on the server of another one. False if there is no such instance, or if its server is in use
    /// or its power is being changed.
    pub(crate) fn reuse_server(&mut self, project: &str, of: &str, id: &str, now: Duration) -> bool {
        let Some(before) = self.settled(project, of, now) else { return false };
        let before = before.facts().clone();
        let (server, rules) = (before.server.id.clone(), self.rules.clone());
        let Some(peopled) = self.projects.get_mut(project) else { return false };
        let tenants = peopled.tenants(std::slice::from_ref(&server), now, &rules);
        if peopled.servers.busy(&server) || tenants.get(&server).is_none_or(|ids| !ids.is_empty()) || id == of
        {
            return false;
        }
        self.add(project, id, Status::new("running"), now);
        let Some(facts) = self.facts(project, id).cloned() else { return false };
        self.set_facts(project, id, Facts { server: before.server, ..facts }, now)
    }

    pub(crate) fn remove(&mut self, project: &str, id: &str) -> bool {
        let Some(project) = self.projects.get_mut(project) else { return false };
        let Some(instance) = project.by_id.remove(id) else { return false };
        project.by_order.remove(&instance.order);
        project.servers.abandon(&instance.facts().server.id, id);
        true
    }

    /// Adds the instance if there is none.
    pub(crate) fn set(&mut self, project: &str, id: &str, status: Status, now: Duration) {
        let rules = self.rules.clone();
        match self.settled(project, id, now) {
            Some(instance) => instance.set(status, now, &rules),
            None => self.add(project, id, status, now),
        }
        if let Some(project) = self.projects.get_mut(project) {
            project.power_follows(id, now);
        }
    }

    /// How the power-offs of an instance's server go. False when there is no such instance.
    pub(crate) fn set_power_course(
        &mut self,
        project: &str,
        id: &str,
        end: Option<EndTime>,
        failures: Option<u32>,
        now: Duration,
    ) -> bool {
        let Some(instance) = self.settled(project, id, now) else { return false };
        instance.power_end = end.or(instance.power_end.take());
        instance.power_off_failures = failures.unwrap_or(instance.power_off_failures);
        true
    }

    /// An operator powers an instance on or off, at once: what is under way changes nothing any more. False when there is no
    /// such instance, or when it is neither running nor stopped.
    pub(crate) fn switch(&mut self, project: &str, id: &str, on: bool, now: Duration) -> bool {
        let Some(instance) = self.settled(project, id, now).filter(|instance| !instance.gone(now)) else {
            return false;
        };
        let (obeys, server) = (instance.switch(on, now), instance.facts().server.id.clone());
        let action = if on { PowerAction::On } else { PowerAction::Off };
        if let Some(project) = self.projects.get_mut(project).filter(|_| obeys) {
            project.servers.set(&server, on, Some(action));
        }
        obeys
    }

    /// The power of the server that an instance is on.
    pub(crate) fn power(&mut self, project: &str, id: &str, now: Duration) -> Option<Power> {
        let server = self.settled(project, id, now)?.facts().server.id.clone();
        Some(self.projects.get(project)?.servers.power(&server))
    }

    /// All power calls that were accepted for servers of a project, one by one.
    pub(crate) fn power_courses(&mut self, project: &str, now: Duration) -> Vec<PowerCourse> {
        let Some(project) = self.projects.get_mut(project) else { return Vec::new() };
        project.settle_power(now, &self.rules);
        project.servers.courses().to_vec()
    }

    /// The instances that are on these servers now.
    pub(crate) fn on_servers(&mut self, project: &str, servers: &[String], now: Duration) -> Vec<String> {
        let Some(project) = self.projects.get_mut(project) else { return Vec::new() };
        let tenants = project.tenants(servers, now, &self.rules);
        servers.iter().filter_map(|server| tenants.get(server)).flatten().cloned().collect()
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

    pub(crate) fn facts(&self, project: &str, id: &str) -> Option<&Facts> {
        self.projects.get(project)?.by_id.get(id).map(Instance::facts)
    }

    /// False when there is no such instance.
    pub(crate) fn set_facts(&mut self, project: &str, id: &str, facts: Facts, now: Duration) -> bool {
        let Some(instance) = self.settled(project, id, now) else { return false };
        let before = instance.facts().server.id.clone();
        let moved = before != facts.server.id;
        instance.set_facts(facts, now);
        if let Some(project) = self.projects.get_mut(project).filter(|_| moved) {
            project.servers.abandon(&before, id);
            project.power_follows(id, now);
        }
        true
    }

    fn settled(&mut self, project: &str, id: &str, now: Duration) -> Option<&mut Instance> {
        let project = self.projects.get_mut(project)?;
        project.settle_power(now, &self.rules);
        let instance = project.by_id.get_mut(id)?;
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
        let once = id_set("instance_id_set", ids, |id| is_uuid(id))?;
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
            (true, false) => Err(ApiError::instances_not_ready(&refused, self.rules.refusals_named)),
            (false, _) => Err(ApiError::instances_not_found(&unknown)),
        }
    }

    /// Whether ChangeServerPowerState accepts these servers; one bad id refuses the whole call. Returns each id once.
    pub(crate) fn check_power(
        &mut self,
        project: &str,
        ids: &[String],
        now: Duration,
    ) -> Result<Vec<String>, ApiError> {
        let mut nobody = Project::default();
        let project = self.projects.get_mut(project).unwrap_or(&mut nobody);
        project.settle_power(now, &self.rules);
        let known = project.tenants(ids, now, &self.rules);
        let once = id_set("server_id_set", ids, |id| known.contains_key(id) || is_uuid(id))?;
        let unknown: Vec<String> = once.iter().filter(|id| !known.contains_key(*id)).cloned().collect();
        let busy: Vec<String> = once.iter().filter(|id| project.servers.busy(id)).cloned().collect();
        match (unknown.is_empty(), busy.is_empty()) {
            (true, true) => Ok(once),
            (true, false) => Err(ApiError::servers_not_ready(&busy)),
            (false, _) => Err(ApiError::servers_not_found(&unknown)),
        }
    }

    /// What an accepted call does. Returns the instances that the actions switch, or would if none failed.
    pub(crate) fn begin_power(
        &mut self,
        project: &str,
        servers: &[String],
        action: PowerAction,
        now: Duration,
    ) -> Vec<String> {
        let rules = &self.rules;
        let Some(project) = self.projects.get_mut(project) else { return Vec::new() };
        let tenants = project.tenants(servers, now, rules);
        let mut obeying = Vec::new();
        for server in servers {
            let tenant = tenants.get(server).and_then(|on_it| on_it.last()).cloned();
            let instance = tenant.as_ref().and_then(|id| project.by_id.get_mut(id));
            let end = instance
                .as_ref()
                .and_then(|one| one.power_end.clone())
                .unwrap_or_else(|| rules.power_end.clone());
            let takes = end.draw(rules.seed, server, project.servers.actions(server));
            let mut fails = false;
            if let Some(instance) = instance.filter(|instance| instance.obeys(action)) {
                obeying.push(instance.id.clone());
                if action == PowerAction::Off {
                    fails = instance.power_off_failures > 0;
                    instance.power_off_failures -= u32::from(fails);
                    instance.begin_power_off(now, rules);
                }
            }
            project.servers.begin(PowerCourse {
                action,
                server: server.clone(),
                instance: tenant,
                accepted: now,
                ends: takes.map(|takes| now + takes),
                fails,
                changed: None,
            });
        }
        obeying
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
        project.settle_power(now, &self.rules);
        orders.retain(|order| {
            let instance = project.by_order.get(order).and_then(|id| project.by_id.get_mut(id));
            instance.is_some_and(|instance| {
                instance.settle(now, &self.rules);
                let state = instance.shown(now).map(|status| status.state.as_str());
                (query.server_ids.is_empty() || query.server_ids.contains(&instance.facts().server.id))
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

    /// ListServers: each server once, in the order of the instances.
    pub(crate) fn servers(&mut self, project_id: &str, query: &ServerQuery, now: Duration) -> ServerPage {
        let Some(project) = self.projects.get_mut(project_id) else {
            return ServerPage { rows: Vec::new(), more: false, total: 0 };
        };
        project.settle_power(now, &self.rules);
        let mut all = project.occupied(now, &self.rules);
        all.retain(|one| query.manage_state.as_deref().is_none_or(|state| state == one.manage_state()));
        let total = all.len();
        let after =
            |marker: &String| all.iter().position(|one| one.server == *marker).map_or(total, |at| at + 1);
        let first = query.marker.as_ref().map_or(0, after);
        let row = |one: Occupied| {
            let row = project.server_row(project_id, &one, self.rules.row_facts);
            (one.server, row)
        };
        let rows: Vec<_> = all.into_iter().skip(first).take(query.limit).map(row).collect();
        ServerPage { more: first + rows.len() < total, rows, total }
    }

    /// ShowServer.
    pub(crate) fn show_server(
        &mut self,
        project_id: &str,
        server: &str,
        now: Duration,
    ) -> Result<Value, ApiError> {
        let unknown = || ApiError::servers_not_found(&[server.to_owned()]);
        let project = self.projects.get_mut(project_id).ok_or_else(unknown)?;
        project.settle_power(now, &self.rules);
        let all = project.occupied(now, &self.rules);
        let one = all.iter().find(|one| one.server == server).ok_or_else(unknown)?;
        Ok(project.server_row(project_id, one, self.rules.row_facts))
    }

    /// An item for an instance this project does not have.
    pub(crate) fn foreign_item(&self, id: &str, now: Duration) -> Value {
        let status = Status::new("running");
        let created = rfc3339(self.started_unix_ms + millis(now));
        let instance = Instance::new(id, 0, status.clone(), now, &created, &self.rules);
        instance.list_item(&status, self.started_unix_ms, &self.rules)
    }
}

/// The ids of a batch, each once.
fn id_set(name: &str, ids: &[String], good: impl Fn(&String) -> bool) -> Result<Vec<String>, ApiError> {
    if ids.is_empty() {
        return Err(ApiError::missing(name));
    }
    if ids.len() > MOST_IN_BATCH {
        return Err(ApiError::invalid(&format!("{name}: more than {MOST_IN_BATCH}")));
    }
    if let Some(bad) = ids.iter().find(|id| !good(id)) {
        return Err(ApiError::invalid(&format!("{name}: {bad}")));
    }
    let mut once: Vec<String> = Vec::with_capacity(ids.len());
    for id in ids {
        if !once.contains(id) {
            once.push(id.clone());
        }
    }
    Ok(once)
}
