//! The guards that `run` would read before each call.

use std::time::Duration;

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use tokio::time::timeout;

use super::report::{Report, why};
use crate::{api::DeletionGuard, text::bounded};

/// Limit for the list.
const LIMIT: Duration = Duration::from_secs(15);

/// Tells the names of the guards, and which of them hold. A guard of a later version is listed too.
pub async fn tell(report: &mut Report, client: &Client) {
    let kind = ApiResource::erase::<DeletionGuard>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    match timeout(LIMIT, api.list(&ListParams::default())).await {
        Ok(Ok(guards)) if guards.items.is_empty() => report.line("none: nothing is protected"),
        Ok(Ok(guards)) => guards.items.iter().for_each(|guard| report.line(&told(guard))),
        Ok(Err(error)) => report.problem(&not_listed(&error)),
        Err(_) => report.problem(&format!("the API server did not answer within {} s", LIMIT.as_secs())),
    }
}

fn not_listed(error: &kube::Error) -> String {
    match error {
        // Of a kind that it does not know, the API server says it in plain text, without a reason.
        kube::Error::Api(status) if status.code == 404 => "the cluster has no CustomResourceDefinition of \
             DeletionGuards, and nothing is sent without it; install crds/clouddc.dev_deletionguards.yaml"
            .to_owned(),
        error => format!("DeletionGuards can't be listed: {}", why(error)),
    }
}

fn told(guard: &DynamicObject) -> String {
    let name = guard.name_any();
    match guard.data.pointer("/spec/hold/reason").and_then(|reason| reason.as_str()) {
        Some(reason) => format!("{name}: holds what it selects ({})", bounded(reason)),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_guard_that_holds_is_told_with_its_reason() {
        let guard = |spec| {
            let object = json!({"apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard",
                                "metadata": {"name": "production"}, "spec": spec});
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        assert_eq!(told(&guard(json!({"maxInstanceIDs": 1}))), "production");
        let held = told(&guard(json!({"hold": {"reason": "change freeze"}})));
        assert_eq!(held, "production: holds what it selects (change freeze)");
    }
}
