//! IAM: a token for a name and password.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    calendar::rfc3339_micros,
    clock::{Moment, millis},
    cloud_api::Answer,
    errors::ApiError,
    issued_tokens::Issued,
    projects::Projects,
    random::Random,
    request::Asked,
    shared::State,
    users::{Rejected, User},
};

/// No Debug anywhere here: there is a password in it.
#[derive(Deserialize)]
struct Request {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    identity: Identity,
    scope: Option<Scope>,
}

#[derive(Deserialize)]
struct Identity {
    methods: Vec<String>,
    password: Password,
}

#[derive(Deserialize)]
struct Password {
    user: Claimed,
}

#[derive(Deserialize)]
struct Claimed {
    name: String,
    password: String,
    domain: Domain,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

/// Without a project the token is that of the account, which CloudDC's paths have no use for.
#[derive(Deserialize)]
struct Scope {
    project: Option<ProjectName>,
}

#[derive(Deserialize)]
struct ProjectName {
    id: Option<String>,
    name: Option<String>,
}

/// The user of a request, if there is one of that name.
pub(crate) fn label(state: &State, body: Option<&Value>) -> Option<String> {
    let name = body?.pointer("/auth/identity/password/user/name")?.as_str()?;
    state.users.knows(name).then(|| name.to_owned())
}

pub(crate) fn create_token(state: &mut State, asked: &Asked, moment: Moment) -> Result<Answer, ApiError> {
    if !asked.has_content_type {
        return Err(ApiError::iam(400, "Bad Request", "Content-Type is required"));
    }
    let body = asked.body.as_ref().ok_or_else(malformed)?;
    let Request { auth: Auth { identity, scope } } = Request::deserialize(body).map_err(|_| malformed())?;
    if identity.methods != ["password"] {
        return Err(malformed());
    }
    let Claimed { name, password, domain } = identity.password.user;
    let user = match state.users.check(&name, &domain.name, &password, moment.now) {
        Ok(user) => user.clone(),
        Err(Rejected::Unknown) => return Err(unauthorized("The username or password is wrong.")),
        Err(Rejected::Locked) => return Err(unauthorized("The account is locked.")),
    };
    let project = match scope.and_then(|scope| scope.project) {
        None => None,
        Some(asked) => Some(project(state, &user, &asked)?),
    };
    let value = fresh_value(state);
    let projects = Projects::Only(project.iter().map(|(id, _)| id.clone()).collect());
    let until = moment.now + state.token_life;
    state.issued.add(value.clone(), Issued { user: name, projects, until, revoked: false });

    let brief = asked.query.iter().any(|(key, value)| key == "nocatalog" && !value.is_empty());
    let token = token(&user, project, brief, moment.unix_ms, millis(state.token_life));
    let mut answer = Answer::json(201, &json!({"token": token}));
    answer.headers.push(("X-Subject-Token".to_owned(), value));
    Ok(answer)
}

/// Id and name of the project.
fn project(state: &State, user: &User, asked: &ProjectName) -> Result<(String, String), ApiError> {
    let (said, project) = match (&asked.id, &asked.name) {
        (Some(id), _) => {
            let name = state.project_names.iter().find(|(_, one)| *one == id).map_or(id, |(name, _)| name);
            (id, (id.clone(), name.clone()))
        }
        (None, Some(name)) => {
            let id = state.project_names.get(name).unwrap_or(name);
            (name, (id.clone(), name.clone()))
        }
        (None, None) => return Err(malformed()),
    };
    if user.projects.allow(&project.0) {
        Ok(project)
    } else {
        Err(ApiError::iam(404, "Not Found", &format!("Could not find project: {said}")))
    }
}

fn token(user: &User, project: Option<(String, String)>, brief: bool, issued_ms: u64, life_ms: u64) -> Value {
    let domain = json!({"id": made_up_id("domain", &user.domain), "name": user.domain});
    let mut token = json!({
        "expires_at": rfc3339_micros(issued_ms.saturating_add(life_ms)),
        "issued_at": rfc3339_micros(issued_ms),
        "methods": ["password"],
        "user": {
            "id": made_up_id(&user.domain, &user.name),
            "name": user.name,
            "domain": domain,
        },
        "roles": [],
        "catalog": if brief { json!([]) } else { catalog() },
    });
    match project {
        Some((id, name)) => token["project"] = json!({"id": id, "name": name}),
        None => token["domain"] = domain,
    }
    token
}

/// One service of the many the real one lists.
fn catalog() -> Value {
    json!([{
        "id": made_up_id("service", "iam"),
        "name": "iam",
        "type": "iam",
        "endpoints": [{
            "id": made_up_id("endpoint", "iam"),
            "interface": "public",
            "region": "*",
            "region_id": "*",
            "url": "https://iam.myhuaweicloud.com/v3.0",
        }],
    }])
}

/// 32 hexadecimal digits, as IAM's ids are.
fn made_up_id(kind: &str, name: &str) -> String {
    let mut random = Random::for_name(0, &format!("{kind}/{name}"), 0);
    format!("{:016x}{:016x}", random.next(), random.next())
}

/// Long, as the real ones are, and never the same again, not even after a reset.
fn fresh_value(state: &mut State) -> String {
    state.tokens_issued += 1;
    let mut random = Random::for_name(state.seed, "token", state.tokens_issued);
    let digits = (0..64).map(|_| format!("{:016x}", random.next()));
    std::iter::once("MII".to_owned()).chain(digits).collect()
}

fn malformed() -> ApiError {
    ApiError::iam(400, "Bad Request", "The request body is invalid.")
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::iam(401, "Unauthorized", message)
}
