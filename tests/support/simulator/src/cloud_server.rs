//! The cloud API's connections, and the parts of faults that need time or a socket.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    calendar::http_date,
    cloud_api::{Answer, answer},
    fault_book::{Active, Traits},
    faults::{CannedReply, Stage},
    iam,
    log::{Delivery, Entry, Operation},
    random::Random,
    request::Asked,
    shared::Shared,
};

/// "body > 12 MB" (gateway).
const LARGEST_BODY: usize = 12 * 1024 * 1024;

/// Makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped by a fault")]
struct Dropped;

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                // Most likely out of file descriptors: nothing tells when there are some again.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        // A reply in two packets would wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(Arc::clone(&shared), request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_BODY).await.ok();
    let asked = Asked::read(&parts, body.as_deref());
    let (reply, replied) = oneshot::channel();
    let (seq, request_id, met) = arrive(&shared, &asked);
    let mut connection = Connection { shared: Arc::clone(&shared), seq, replied: false };
    // A task of its own: what the client has asked for takes its course even if the client does not wait.
    tokio::spawn(handle(shared, asked, seq, request_id, met, reply));
    let reply = replied.await;
    connection.replied = true;
    reply.map_err(|_| Dropped)
}

/// Dropped by hyper without a reply when the client closes its end.
struct Connection {
    shared: Arc<Shared>,
    seq: u64,
    replied: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.replied {
            self.shared.log.change(self.seq, |entry| entry.delivery = Delivery::ClientGone);
        }
    }
}

async fn handle(
    shared: Arc<Shared>,
    asked: Asked,
    seq: u64,
    request_id: String,
    met: Option<Arc<Active>>,
    reply: oneshot::Sender<Response<Body>>,
) {
    let finish = |delivery: Delivery| {
        shared.log.change(seq, |entry| {
            entry.finished_ms = Some(shared.clock.elapsed_ms());
            if entry.delivery == Delivery::Pending {
                entry.delivery = delivery;
            }
        });
    };
    let fault = met.as_deref().map(|met| &met.fault);
    if let Some(met) = &met {
        met.pass(Stage::BeforeEffect, met.fault.delay_before).await;
        if met.fault.drop_connection == Some(Stage::BeforeEffect) {
            return finish(Delivery::Dropped);
        }
    }
    let canned = fault.and_then(|fault| fault.reply.as_ref());
    let mut answered = Answer::default();
    if canned.is_none_or(|canned| canned.apply_effect) {
        answered = answer(&mut shared.state(), &asked, fault, shared.clock.moment());
        shared.log.change(seq, |entry| entry.effect_ms = Some(shared.clock.elapsed_ms()));
    }
    if let Some(canned) = canned {
        let Answer { applied, powered, .. } = answered;
        answered = Answer { applied, powered, ..canned_answer(canned) };
    }
    shared.log.change(seq, |entry| {
        entry.applied = !answered.applied.is_empty() || !answered.powered.is_empty();
        entry.applied_ids.clone_from(&answered.applied);
        entry.powered_ids.clone_from(&answered.powered);
        entry.status = Some(answered.status);
        entry.error_code.clone_from(&answered.error_code);
        entry.returned_ids.clone_from(&answered.returned);
    });
    let delay = shared.reply_delay(seq);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if let Some(met) = &met {
        met.pass(Stage::AfterEffect, met.fault.delay_after).await;
        if met.fault.drop_connection == Some(Stage::AfterEffect) {
            return finish(Delivery::Dropped);
        }
    }
    // Before the reply leaves: a test that has the reply finds it in the log.
    finish(Delivery::Delivered);
    if reply.send(response(answered, &request_id, shared.clock.unix_ms())).is_err() {
        tracing::debug!(seq, "the client has gone");
    }
}

/// One lock for both, so that faults count requests in the order of the log.
fn arrive(shared: &Shared, asked: &Asked) -> (u64, String, Option<Arc<Active>>) {
    let mut state = shared.state();
    state.requests += 1;
    let request_id =
        Random::for_name(shared.clock.started_unix_ms(), "request", state.requests).uuid(4, None);
    let token = match asked.operation {
        Operation::CreateToken => iam::label(&state, asked.body.as_ref()),
        _ => asked.credentials.label(&state),
    };
    let instance_ids = match (asked.operation, asked.project.as_deref()) {
        (Operation::ChangeServerPowerState, Some(project)) => {
            state.world.on_servers(project, &asked.ids, shared.clock.now())
        }
        _ => Vec::new(),
    };
    let traits = Traits {
        operation: asked.operation,
        project: asked.project.as_deref(),
        token: token.as_deref(),
        ids: &[asked.ids.as_slice(), &instance_ids].concat(),
    };
    let met = state.faults.meet(traits);
    let received_ms = shared.clock.elapsed_ms();
    let seq = shared.log.begin(Entry {
        seq: 0,
        received_ms,
        received_unix_ms: shared.clock.started_unix_ms() + received_ms,
        operation: asked.operation,
        method: asked.method.clone(),
        path: asked.path.clone(),
        project: asked.project.clone(),
        token,
        ids: asked.ids.clone(),
        action: asked.action.clone(),
        instance_ids,
        fault: met.as_ref().map(|met| met.fault.name.clone()),
        effect_ms: None,
        applied: false,
        applied_ids: Vec::new(),
        powered_ids: Vec::new(),
        status: None,
        error_code: None,
        returned_ids: Vec::new(),
        request_id: request_id.clone(),
        finished_ms: None,
        delivery: Delivery::Pending,
    });
    (seq, request_id, met)
}

fn canned_answer(canned: &CannedReply) -> Answer {
    let body: Option<serde_json::Value> = serde_json::from_str(&canned.body).ok();
    let code = body.as_ref().and_then(|body| body.get("error_code")).and_then(serde_json::Value::as_str);
    let list = body.as_ref().and_then(|body| body.get("instances").or_else(|| body.get("physical_servers")));
    let ids = list.and_then(serde_json::Value::as_array);
    let id = |entry: &serde_json::Value| entry.get("id").and_then(|id| id.as_str().map(str::to_owned));
    Answer {
        status: canned.status,
        headers: canned.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body: canned.body.clone(),
        error_code: code.map(str::to_owned),
        applied: Vec::new(),
        powered: Vec::new(),
        returned: ids.into_iter().flatten().filter_map(id).collect(),
    }
}

fn response(answer: Answer, request_id: &str, unix_ms: u64) -> Response<Body> {
    let mut builder = Response::builder().status(answer.status).header("X-Request-Id", request_id);
    // A scripted reply may have another one.
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Date")) {
        builder = builder.header("Date", http_date(unix_ms));
    }
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(answer.body)).unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("the scripted reply is no HTTP: {error}")));
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
