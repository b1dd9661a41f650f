//! What the cloud answers: gateway first (path, credentials, throttling), then the service.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    clock::Moment,
    errors::ApiError,
    faults::Fault,
    iam,
    log::Operation,
    options::LastPage,
    paging::{ListQuery, ServerQuery, write_marker},
    power::PowerAction,
    rate_limit::Class,
    request::Asked,
    shared::State,
    world::Page,
};

/// A reply and what it means.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) error_code: Option<String>,
    /// Instances that went to shutting-down.
    pub(crate) applied: Vec<String>,
    /// Instances whose power is being changed.
    pub(crate) powered: Vec<String>,
    /// Ids in the reply.
    pub(crate) returned: Vec<String>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string(), ..Self::default() }
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        let mut headers = error.headers;
        headers.push(("Content-Type".to_owned(), error.content_type.to_owned()));
        let (status, body, error_code) = (error.status, error.body, error.code);
        Self { status, headers, body, error_code, ..Self::default() }
    }
}

/// Carries the request out. `fault` shapes what is accepted and returned; its other parts are the caller's.
pub(crate) fn answer(state: &mut State, asked: &Asked, fault: Option<&Fault>, moment: Moment) -> Answer {
    carry_out(state, asked, fault, moment).unwrap_or_else(Answer::from)
}

fn carry_out(
    state: &mut State,
    asked: &Asked,
    fault: Option<&Fault>,
    moment: Moment,
) -> Result<Answer, ApiError> {
    if asked.too_large {
        return Err(ApiError::new(413, "APIGW.0201", "Request entity too large"));
    }
    let class = match asked.operation {
        Operation::DeleteInstances | Operation::ChangeServerPowerState => Class::Delete,
        Operation::ShowInstanceStatus
        | Operation::ListInstances
        | Operation::ListServers
        | Operation::ShowServer => Class::Read,
        Operation::CreateToken => return iam::create_token(state, asked, moment),
        Operation::Other => return Err(ApiError::not_published()),
    };
    let Some(project) = asked.project.as_deref() else { return Err(ApiError::not_published()) };
    let caller = asked.credentials.check(state, moment)?;
    let now = moment.now;
    let limit = match class {
        Class::Delete => &state.delete_limit,
        Class::Read => &state.read_limit,
    };
    if let Some(limit) = limit {
        state.limiter.take(&caller.counted_for, class, limit, now).map_err(|wait| limit.refusal(wait))?;
    }
    if matches!(asked.method.as_str(), "POST" | "PUT") && !asked.has_content_type {
        return Err(ApiError::new(400, "APIGW.0106", "Orchestration error: Content-Type required"));
    }
    if !caller.projects.allow(project) {
        return Err(ApiError::new(403, "iMetal.0004", "Insufficient permissions"));
    }
    match asked.operation {
        Operation::ShowInstanceStatus => {
            let id = asked.ids.first().map_or("", String::as_str);
            let status = state.world.show(project, id, now)?;
            Ok(Answer { returned: asked.ids.clone(), ..Answer::json(200, &json!(status)) })
        }
        Operation::ListInstances => list(state, project, asked, fault, now),
        Operation::ListServers => list_servers(state, project, asked, now),
        Operation::ShowServer => {
            let id = asked.ids.first().map_or("", String::as_str);
            let server = state.world.show_server(project, id, now)?;
            Ok(Answer { returned: asked.ids.clone(), ..Answer::json(200, &server) })
        }
        Operation::ChangeServerPowerState => change_power(state, project, asked, fault, now),
        Operation::DeleteInstances | Operation::CreateToken | Operation::Other => {
            delete(state, project, asked, fault, now)
        }
    }
}

/// The body of a call that changes something.
fn body_of(asked: &Asked) -> Result<&Value, ApiError> {
    asked.body.as_ref().filter(|body| body.is_object()).ok_or_else(|| ApiError::invalid("body"))
}

fn id_set(body: &Value, name: &str) -> Result<Vec<String>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(set) => serde_json::from_value(set.clone()).map_err(|_| ApiError::invalid(name)),
    }
}

/// Which of the accepted ids the call is carried out for, and which the reply returns, as a fault has it.
fn shaped(accepted: Vec<String>, fault: Option<&Fault>) -> (Vec<String>, Vec<String>) {
    let part = fault.and_then(|fault| fault.return_only.as_ref());
    let mut returned = part.map_or_else(|| accepted.clone(), |part| part.of(&accepted));
    let applied = if fault.is_some_and(|fault| fault.delete_rest) { accepted } else { returned.clone() };
    returned.extend(fault.iter().flat_map(|fault| fault.add_ids.iter().cloned()));
    (applied, returned)
}

fn listed(returned: &[String]) -> Vec<Value> {
    returned.iter().map(|id| json!({"id": id})).collect()
}

fn change_power(
    state: &mut State,
    project: &str,
    asked: &Asked,
    fault: Option<&Fault>,
    now: Duration,
) -> Result<Answer, ApiError> {
    let body = body_of(asked)?;
    let action = match body.get("action") {
        None | Some(Value::Null) => return Err(ApiError::missing("action")),
        Some(action) => PowerAction::deserialize(action).map_err(|_| ApiError::invalid("action"))?,
    };
    let accepted = state.world.check_power(project, &id_set(body, "server_id_set")?, now)?;
    let (applied, returned) = shaped(accepted, fault);
    let powered = state.world.begin_power(project, &applied, action, now);
    let body = json!({"physical_servers": listed(&returned)});
    Ok(Answer { powered, returned, ..Answer::json(200, &body) })
}

fn delete(
    state: &mut State,
    project: &str,
    asked: &Asked,
    fault: Option<&Fault>,
    now: Duration,
) -> Result<Answer, ApiError> {
    let ids = id_set(body_of(asked)?, "instance_id_set")?;
    let (applied, returned) = shaped(state.world.check_delete(project, &ids, now)?, fault);
    state.world.begin_deletions(project, &applied, now);
    let body = json!({"instances": listed(&returned)});
    Ok(Answer { applied, returned, ..Answer::json(202, &body) })
}

fn list(
    state: &mut State,
    project: &str,
    asked: &Asked,
    fault: Option<&Fault>,
    now: Duration,
) -> Result<Answer, ApiError> {
    let mut query = ListQuery::read(&asked.query)?;
    query.limit = query.limit.min(state.page_rows.unwrap_or(usize::MAX));
    let moved = fault.map_or(0, Fault::moved_rows);
    let mut page = state.world.list(project, &query, moved, now);
    if let Some(fault) = fault {
        page.rows.retain(|(id, _)| !fault.omit_ids.contains(id));
        for id in &fault.add_ids {
            page.rows.push((id.clone(), state.world.foreign_item(id, now)));
        }
        if fault.repeat_page {
            page.next = Some(query.after);
        }
    }
    let info = page_info(&page, state.last_page);
    let (returned, items): (Vec<String>, Vec<Value>) = page.rows.into_iter().unzip();
    let body = json!({"instances": items, "page_info": info, "count": page.total});
    Ok(Answer { returned, ..Answer::json(200, &body) })
}

fn list_servers(state: &mut State, project: &str, asked: &Asked, now: Duration) -> Result<Answer, ApiError> {
    let mut query = ServerQuery::read(&asked.query)?;
    query.limit = query.limit.min(state.page_rows.unwrap_or(usize::MAX));
    let page = state.world.servers(project, &query, now);
    let next = page.rows.last().filter(|_| page.more).map(|(id, _)| id.clone());
    let info = markers(page.rows.len(), [("next_marker", next)], state.last_page);
    let (returned, rows): (Vec<String>, Vec<Value>) = page.rows.into_iter().unzip();
    let body = json!({"servers": rows, "page_info": info, "count": page.total});
    Ok(Answer { returned, ..Answer::json(200, &body) })
}

fn page_info(page: &Page, last_page: LastPage) -> Value {
    let marker = |place: Option<u64>| place.map(write_marker);
    let both = [("next_marker", marker(page.next)), ("previous_marker", marker(page.previous))];
    markers(page.rows.len(), both, last_page)
}

fn markers<const N: usize>(rows: usize, markers: [(&str, Option<String>); N], last_page: LastPage) -> Value {
    let mut info = json!({"current_count": rows});
    for (name, marker) in markers {
        match (marker, last_page) {
            (Some(marker), _) => info[name] = json!(marker),
            (None, LastPage::Null) => info[name] = Value::Null,
            (None, LastPage::Empty) => info[name] = json!(""),
            (None, LastPage::Absent) => {}
        }
    }
    info
}
