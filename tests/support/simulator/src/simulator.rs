//! The simulator as a library has it.

use std::{collections::HashMap, io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    access_keys::AccessKey,
    admin_api, cloud_server,
    facts::{Facts, RowFacts},
    fault_book::FaultHandle,
    faults::Fault,
    instance::{Course, Status},
    log::{Entry, Operation, TimedOut},
    options::{EndTime, Options},
    power::{Power, PowerCourse},
    projects::Projects,
    rate_limit::RateLimit,
    shared::Shared,
    tokens::Token,
    users::User,
};

/// A simulated CloudDC that serves until it is dropped.
///
/// It runs on a thread and runtime of its own: it goes on serving when the caller's runtime is busy or gone.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    url: String,
    admin_url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Binds both addresses and serves.
    pub async fn start(options: Options) -> io::Result<Self> {
        let (listen, admin_listen) = (options.listen, options.admin_listen);
        let shared = Arc::new(Shared::new(options));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, readied) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("clouddc-simulator".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let bound = async {
                    let cloud = TcpListener::bind(listen).await?;
                    let admin = TcpListener::bind(admin_listen).await?;
                    let addresses = (cloud.local_addr()?, admin.local_addr()?);
                    io::Result::Ok((cloud, admin, addresses))
                };
                let (cloud, admin) = match bound.await {
                    Ok((cloud, admin, addresses)) => {
                        if ready.send(Ok(addresses)).is_err() {
                            return;
                        }
                        (cloud, admin)
                    }
                    Err(error) => {
                        drop(ready.send(Err(error)));
                        return;
                    }
                };
                tokio::select! {
                    () = cloud_server::serve(cloud, Arc::clone(&served)) => {}
                    () = admin_api::serve(admin, served) => {}
                    _ = stopped => {}
                }
            });
        })?;
        let (cloud, admin) = readied.await.map_err(io::Error::other)??;
        Ok(Self {
            shared,
            url: format!("http://{cloud}"),
            admin_url: format!("http://{admin}"),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where the cloud API is, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the admin interface is.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Adds running instances; one of the same id is replaced.
    pub fn add_instances(&self, project: &str, ids: impl IntoIterator<Item = String>) {
        let (now, mut state) = (self.shared.clock.now(), self.shared.state());
        for id in ids {
            state.world.add(project, &id, Status::new("running"), now);
        }
    }

    /// Adds `n` running instances and returns their ids: version 7 UUIDs made from the seed.
    #[expect(clippy::must_use_candidate, reason = "called for the instances as well as for their ids")]
    pub fn ids(&self, project: &str, n: usize) -> Vec<String> {
        let ids = self.fresh_ids(n);
        self.add_instances(project, ids.iter().cloned());
        ids
    }

    /// Ids of the same kind that no instance has.
    #[must_use]
    pub fn fresh_ids(&self, n: usize) -> Vec<String> {
        let mut state = self.shared.state();
        (0..n).map(|_| state.world.fresh_id()).collect()
    }

    /// Sets any state by hand, at once and also for reads; a deletion under way is over. An instance that does not
    /// exist is added.
    pub fn set_state(&self, project: &str, id: &str, state: &str) {
        self.set_status(project, id, Status::new(state));
    }

    /// [`Self::set_state`] with all that ShowInstanceStatus answers.
    pub fn set_status(&self, project: &str, id: &str, status: Status) {
        self.shared.state().world.set(project, id, status, self.shared.clock.now());
    }

    /// Removes an instance as if it had never been.
    pub fn remove(&self, project: &str, id: &str) {
        self.shared.state().world.remove(project, id);
    }

    /// What an instance is; `None` if there is no such instance.
    #[must_use]
    pub fn facts(&self, project: &str, id: &str) -> Option<Facts> {
        self.shared.state().world.facts(project, id).cloned()
    }

    /// Changes what an instance is; the next read shows it. False if there is no such instance.
    #[must_use]
    pub fn change_facts(&self, project: &str, id: &str, change: impl FnOnce(&mut Facts)) -> bool {
        let (now, mut state) = (self.shared.clock.now(), self.shared.state());
        let Some(mut facts) = state.world.facts(project, id).cloned() else { return false };
        change(&mut facts);
        state.world.set_facts(project, id, facts, now)
    }

    /// Which facts the rows of ListInstances and ListServers have.
    pub fn set_row_facts(&self, form: RowFacts) {
        self.shared.state().world.rules.row_facts = form;
    }

    /// The state an instance is really in, whatever reads show; `None` once it has vanished.
    #[must_use]
    pub fn state(&self, project: &str, id: &str) -> Option<String> {
        self.status(project, id).map(|status| status.state)
    }

    /// [`Self::state`] with all that ShowInstanceStatus answers.
    #[must_use]
    pub fn status(&self, project: &str, id: &str) -> Option<Status> {
        self.shared.state().world.actual(project, id, self.shared.clock.now())
    }

    /// All instances of a project and their real states, in the order in which they were added.
    #[must_use]
    pub fn instances(&self, project: &str) -> Vec<(String, Status)> {
        self.shared.state().world.all(project, self.shared.clock.now())
    }

    /// When the deletions of a project's instances began and end, by id: also of those that have vanished, but not of one
    /// whose state was set by hand since.
    #[must_use]
    pub fn courses(&self, project: &str) -> HashMap<String, Course> {
        self.shared.state().world.courses(project)
    }

    /// How long deletions take that are accepted from now on.
    pub fn set_end(&self, end: EndTime) {
        self.shared.state().world.rules.end = end;
    }

    /// How long the next deletions of this instance take. False if there is no such instance.
    #[must_use]
    pub fn set_end_of(&self, project: &str, id: &str, end: EndTime) -> bool {
        self.shared.state().world.set_course(project, id, Some(end), None, self.shared.clock.now())
    }

    /// The next `times` deletions of this instance fall to error. False if there is no such instance.
    #[must_use]
    pub fn fail_deletions(&self, project: &str, id: &str, times: u32) -> bool {
        self.shared.state().world.set_course(project, id, None, Some(times), self.shared.clock.now())
    }

    /// How long changes of power take that are accepted from now on.
    pub fn set_power_end(&self, end: EndTime) {
        self.shared.state().world.rules.power_end = end;
    }

    /// How long the next changes of the power of this instance's server take. False if there is no such instance.
    #[must_use]
    pub fn set_power_end_of(&self, project: &str, id: &str, end: EndTime) -> bool {
        self.shared.state().world.set_power_course(project, id, Some(end), None, self.shared.clock.now())
    }

    /// The next `times` power-offs of this instance's server fail: the instance stays running. One of a server that is off
    /// already succeeds, and does not count. False if there is no such instance.
    #[must_use]
    pub fn fail_power_offs(&self, project: &str, id: &str, times: u32) -> bool {
        self.shared.state().world.set_power_course(project, id, None, Some(times), self.shared.clock.now())
    }

    /// An operator powers an instance on, at once and also for reads; what is under way changes nothing any more. False if
    /// there is no such instance, or if it is neither running nor stopped.
    #[expect(clippy::must_use_candidate, reason = "called for the power")]
    pub fn power_on(&self, project: &str, id: &str) -> bool {
        self.shared.state().world.switch(project, id, true, self.shared.clock.now())
    }

    /// An operator powers an instance off, as [`Self::power_on`] does on.
    #[expect(clippy::must_use_candidate, reason = "called for the power")]
    pub fn power_off(&self, project: &str, id: &str) -> bool {
        self.shared.state().world.switch(project, id, false, self.shared.clock.now())
    }

    /// `power_state` of the server that an instance is on, or was on last: `on` or `off`. `None` if there is no such instance.
    #[must_use]
    pub fn power_state(&self, project: &str, id: &str) -> Option<&'static str> {
        self.power(project, id).map(|power| power.state())
    }

    /// [`Self::power_state`] with the id of the server and its `operation_state`.
    #[must_use]
    pub fn power(&self, project: &str, id: &str) -> Option<Power> {
        self.shared.state().world.power(project, id, self.shared.clock.now())
    }

    /// The courses of all accepted power calls on servers of a project, one for each server, in the order in which they began:
    /// which instance was on the server, and when its state changed.
    #[must_use]
    pub fn power_courses(&self, project: &str) -> Vec<PowerCourse> {
        self.shared.state().world.power_courses(project, self.shared.clock.now())
    }

    /// The instances that are on these servers now.
    #[must_use]
    pub fn on_servers(&self, project: &str, servers: &[String]) -> Vec<String> {
        self.shared.state().world.on_servers(project, servers, self.shared.clock.now())
    }

    /// Adds a running instance on the server of another one, which has to be terminated or to have vanished, and returns its
    /// id. `None` if there is no such instance, or if its server is in use or its power is being changed.
    #[expect(clippy::must_use_candidate, reason = "called for the instance as well as for its id")]
    pub fn reuse_server(&self, project: &str, of: &str) -> Option<String> {
        let mut state = self.shared.state();
        let id = state.world.fresh_id();
        state.world.reuse_server(project, of, &id, self.shared.clock.now()).then_some(id)
    }

    /// Whether running instances may be deleted from now on.
    pub fn set_running_deletable(&self, deletable: bool) {
        self.shared.state().world.rules.running_deletable = deletable;
    }

    /// For how long reads go on showing the state before delete calls that are accepted, and changes of power that end, from now
    /// on.
    pub fn set_visibility_lag(&self, lag: Duration) {
        self.shared.state().world.rules.visibility_lag = lag;
    }

    /// The most rows of a page of ListInstances; `None`: as many as asked for.
    pub fn set_page_rows(&self, rows: Option<usize>) {
        self.shared.state().page_rows = rows;
    }

    /// Bytes of `user_data` in each row of ListInstances; 0: there is none.
    pub fn set_user_data_bytes(&self, bytes: usize) {
        self.shared.state().world.rules.user_data_bytes = bytes;
    }

    /// Moves the simulator's time forward: deletions, changes of power and issued tokens end, terminated instances vanish, rates
    /// recover, locked users and access keys are let in again. Delays of faults, the times in the log and the wall clock are real.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// Makes a token known; one of the same value is replaced.
    pub fn add_token(&self, label: &str, value: &str, projects: Projects) {
        self.shared.state().tokens.add(Token::new(label, value, projects));
    }

    /// From now on the token is refused with 401.
    pub fn revoke_token(&self, value: &str) {
        self.shared.state().tokens.revoke(|token| token.value == value);
    }

    /// Makes an access key known; one of the same id is replaced.
    pub fn add_access_key(&self, key: AccessKey) {
        self.shared.state().access_keys.add(key);
    }

    /// From now on the access key of this id is refused with 401.
    pub fn revoke_access_key(&self, id: &str) {
        self.shared.state().access_keys.revoke(|key| key.id == id);
    }

    /// Makes an IAM user known; one of the same name and domain is replaced and keeps the tokens.
    pub fn add_user(&self, user: User) {
        self.shared.state().users.add(user);
    }

    /// Removes the users of this name, and revokes their tokens.
    pub fn remove_user(&self, name: &str) {
        self.shared.state().remove_user(name, self.shared.clock.now());
    }

    /// Revokes all tokens that IAM has issued to the users of this name: they must be updated. Returns how many of
    /// them were good until now.
    #[expect(clippy::must_use_candidate, reason = "called for the revocation as well as for their number")]
    pub fn revoke_user_tokens(&self, name: &str) -> usize {
        self.shared.state().issued.revoke(name, self.shared.clock.now())
    }

    /// For how long tokens are good that are issued from now on.
    pub fn set_token_life(&self, life: Duration) {
        self.shared.state().token_life = life;
    }

    /// The name under which IAM knows a project.
    pub fn name_project(&self, id: &str, name: &str) {
        self.shared.state().project_names.insert(name.to_owned(), id.to_owned());
    }

    /// Sets the cloud's wall clock fast by so many seconds, or slow by a negative number: `Date`, the check of
    /// `X-Sdk-Date`, and the times of tokens as IAM shows them. When anything ends does not change.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.clock.set_offset(seconds);
    }

    /// Replaces the rate limits of deletes, which power calls share, and of reads; counting begins anew.
    pub fn set_limits(&self, delete: Option<RateLimit>, read: Option<RateLimit>) {
        self.shared.state().set_limits(delete, read);
    }

    /// Scripts a fault for requests that arrive from now on.
    #[expect(clippy::must_use_candidate, reason = "a fault acts without its handle")]
    pub fn script(&self, fault: Fault) -> FaultHandle {
        self.shared.state().faults.add(fault)
    }

    /// Ends all faults; requests that wait at gates go on.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// All requests since the start or the last reset, in the order of arrival.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.shared.log.entries()
    }

    /// The requests of one operation.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> Vec<Entry> {
        self.log().into_iter().filter(|entry| entry.operation == operation).collect()
    }

    /// The requests of DeleteInstances.
    #[must_use]
    pub fn delete_calls(&self) -> Vec<Entry> {
        self.calls(Operation::DeleteInstances)
    }

    /// The requests of ChangeServerPowerState. `ids` are servers, `instance_ids` the instances that were on them.
    #[must_use]
    pub fn power_calls(&self) -> Vec<Entry> {
        self.calls(Operation::ChangeServerPowerState)
    }

    /// Waits until `condition` is true of the whole log, and returns it. The log is locked meanwhile: the condition
    /// must not ask the simulator for it again.
    pub async fn wait_log(
        &self,
        condition: impl FnMut(&[Entry]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<Entry>, TimedOut> {
        self.shared.log.wait(condition, timeout).await
    }

    /// Waits until `n` requests of an operation have been replied to or dropped, and returns the finished ones.
    pub async fn wait_calls(
        &self,
        operation: Operation,
        n: usize,
        timeout: Duration,
    ) -> Result<Vec<Entry>, TimedOut> {
        let wanted = |entry: &&Entry| entry.operation == operation && entry.finished();
        let entries = self.wait_log(|entries| entries.iter().filter(wanted).count() >= n, timeout).await?;
        Ok(entries.into_iter().filter(|entry| wanted(&entry)).collect())
    }

    /// As at the start: no instances, faults, issued tokens and log entries; everything else as in the options.
    pub fn reset(&self) {
        self.shared.reset();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.take();
        // Joined, so that the ports are free and every connection is closed afterwards.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
