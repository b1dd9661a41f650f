//! A request to the cloud API, taken apart.

use axum::extract::Query;
use hyper::http::{request::Parts, uri::PathAndQuery};
use serde_json::Value;

use crate::{credentials::Credentials, log::Operation};

#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) project: Option<String>,
    /// Ids asked for, as far as they can be made out.
    pub(crate) ids: Vec<String>,
    /// `action` of a power call.
    pub(crate) action: Option<String>,
    pub(crate) credentials: Credentials,
    pub(crate) has_content_type: bool,
    pub(crate) query: Vec<(String, String)>,
    /// `None`: no JSON.
    pub(crate) body: Option<Value>,
    pub(crate) too_large: bool,
}

/// Without body and credentials, which have secrets.
impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("operation", &self.operation)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl Asked {
    /// `body` is `None` if it was too large to read.
    pub(crate) fn read(parts: &Parts, body: Option<&[u8]>) -> Self {
        let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        let (operation, project, id) = match (parts.method.as_str(), segments.as_slice()) {
            ("POST", ["v1", project, "instances", "batch-delete"]) => {
                (Operation::DeleteInstances, Some(*project), None)
            }
            ("GET", ["v1", project, "instances", id, "status"]) => {
                (Operation::ShowInstanceStatus, Some(*project), Some(*id))
            }
            ("GET", ["v1", project, "instances"]) => (Operation::ListInstances, Some(*project), None),
            ("GET", ["v1", project, "physicalservers"]) => (Operation::ListServers, Some(*project), None),
            ("PUT", ["v1", project, "physicalservers", "power-state"]) => {
                (Operation::ChangeServerPowerState, Some(*project), None)
            }
            ("GET", ["v1", project, "physicalservers", id]) if !RESERVED.contains(id) => {
                (Operation::ShowServer, Some(*project), Some(*id))
            }
            ("POST", ["v3", "auth", "tokens"]) => (Operation::CreateToken, None, None),
            (_, ["v1", project, ..]) => (Operation::Other, Some(*project), None),
            _ => (Operation::Other, None, None),
        };
        let query = Query::try_from_uri(&parts.uri).map_or(Vec::new(), |Query(query)| query);
        let json: Option<Value> = body.and_then(|body| serde_json::from_slice(body).ok());
        let ids = match operation {
            Operation::DeleteInstances => ids_of_body(json.as_ref(), "instance_id_set"),
            Operation::ChangeServerPowerState => ids_of_body(json.as_ref(), "server_id_set"),
            Operation::ListInstances => ids_of_query(&query),
            Operation::ShowInstanceStatus
            | Operation::ListServers
            | Operation::ShowServer
            | Operation::CreateToken
            | Operation::Other => id.map(str::to_owned).into_iter().collect(),
        };
        let action = json.as_ref().filter(|_| operation == Operation::ChangeServerPowerState);
        let action = action.and_then(|body| body.get("action")?.as_str()).map(str::to_owned);
        let path = parts.uri.path_and_query().map_or(parts.uri.path(), PathAndQuery::as_str);
        Self {
            operation,
            method: parts.method.to_string(),
            path: path.to_owned(),
            project: project.map(str::to_owned),
            ids,
            action,
            credentials: Credentials::read(parts, path, body.unwrap_or_default()),
            has_content_type: parts.headers.contains_key("content-type"),
            query,
            body: json,
            too_large: body.is_none(),
        }
    }
}

/// Names below `physicalservers` that are other operations of the vendor's, and no ids.
const RESERVED: [&str; 4] = ["alarms", "events", "power-state", "status"];

fn ids_of_body(body: Option<&Value>, field: &str) -> Vec<String> {
    let set = body.and_then(|body| body.get(field)).and_then(Value::as_array);
    set.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn ids_of_query(query: &[(String, String)]) -> Vec<String> {
    let value = query.iter().find(|(key, value)| key == "instance_id" && !value.is_empty());
    value.map_or(Vec::new(), |(_, value)| value.split(',').map(str::to_owned).collect())
}
