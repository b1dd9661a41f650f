//! `check`: reports what `run` would do with the same flags and environment, and what hinders it.
//!
//! It never writes and never calls the cloud. Of the cluster it asks which rights it has ([`rights`]), and which objects
//! ([`objects`]) and guards ([`guards`]) there are.

mod cloud;
mod guards;
mod objects;
mod report;
mod rights;

use kube::{Client, Config};

use self::{objects::Objects, report::Report};
use super::{
    args::{Checked, RunArgs},
    cluster,
    configuration::{Configuration, Source},
    election::lease_name,
    environment::variable,
};
use crate::{scope::Scope, text::without_passwords};

/// Whether the cluster is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// It must answer.
    Asked,
    /// It is left alone.
    LeftAlone,
}

/// Checks, prints what is found to stdout, and returns whether `run` would do its work.
pub async fn check(checked: &Checked, cluster: Cluster) -> bool {
    let Checked { args, endpoints, configuration } = checked;
    let mut report = Report::to_stdout();
    tell_configuration(&mut report, configuration);
    let scope = args.scope();
    tell_scope(&mut report, &scope);
    cloud::tell(&mut report, args, endpoints);
    report.section("Cluster");
    match cluster {
        Cluster::LeftAlone => {
            report.line("not asked (--offline)");
            tell_lease(&mut report, args, &scope, None);
        }
        Cluster::Asked => match cluster::config().await {
            Ok(config) => tell_cluster(&mut report, args, &scope, config).await,
            Err(error) => {
                report.problem(&without_passwords(&error.to_string()));
                tell_lease(&mut report, args, &scope, None);
            }
        },
    }
    report.end()
}

fn tell_configuration(report: &mut Report, configuration: &Configuration) {
    report.section("Configuration");
    for setting in configuration.settings() {
        let source = match setting.source {
            Source::Flag => "flag".to_owned(),
            Source::Environment => variable(&setting.flag),
            Source::Default => "default".to_owned(),
        };
        let value = Some(setting.shown()).filter(|value| !value.is_empty());
        let value = value.as_deref().unwrap_or("-");
        report.line(&format!("--{:<24} {value:<32} ({source})", setting.flag));
    }
}

fn tell_scope(report: &mut Report, scope: &Scope) {
    report.section("Scope");
    match scope.namespaces() {
        [] => report.line("namespaces: all"),
        namespaces => report.line(&format!("namespaces: {}", namespaces.join(", "))),
    }
    let selector = scope.selector();
    if selector.is_empty() {
        report.line("objects: all");
    } else {
        report.line(&format!("objects: those with the labels {selector}"));
    }
}

/// Tells which Lease the processes of this scope share. `default` is the client's namespace, if there is a client.
fn tell_lease(report: &mut Report, args: &RunArgs, scope: &Scope, default: Option<&str>) {
    report.section("Leader election");
    if !args.leader_elect {
        report.line("none (--leader-elect=false)");
        return;
    }
    let namespace = args.lease_namespace.as_deref().or(default);
    let namespace = namespace.unwrap_or("(the Pod's namespace, or that of the kubeconfig's context)");
    report.line(&format!("Lease: {namespace}/{}", lease_name(scope)));
}

async fn tell_cluster(report: &mut Report, args: &RunArgs, scope: &Scope, config: Config) {
    report.line(&format!("server: {}", without_passwords(&config.cluster_url.to_string())));
    match &config.proxy_url {
        Some(proxy) => report.line(&format!("proxy: {}", without_passwords(&proxy.to_string()))),
        None => report.line("proxy: none"),
    }
    let own = config.default_namespace.clone();
    let client = match Client::try_from(config) {
        Ok(client) => client,
        Err(error) => return report.problem(&without_passwords(&error.to_string())),
    };
    tell_lease(report, args, scope, Some(&own));
    report.section("InstanceDeletions");
    let objects = objects::list(&client, scope).await;
    match &objects {
        Ok(objects) => objects.tell(report),
        Err(error) => report.problem(error),
    }
    report.section("DeletionGuards");
    guards::tell(report, &client).await;
    report.section("Permissions");
    let secrets = objects.as_ref().map(Objects::secrets).unwrap_or_default();
    let lease = args.leader_elect.then(|| args.lease_namespace.clone().unwrap_or(own));
    rights::tell(report, &client, scope, lease.as_deref(), &secrets).await;
}
