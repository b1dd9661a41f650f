//! Faults of calls to the cloud.

use std::time::Duration;

use clouddc_simulator::{Fault, Operation};
use serde_json::json;

use crate::{
    faults::{Channel, Faults, Kind},
    plan::Plan,
    random::Random,
    record::CloudReply,
};

const DELETE: &[Kind] = &[
    Kind::DeleteRefused,
    Kind::DeleteStalled,
    Kind::DeleteRequestLost,
    Kind::DeleteReplyLost,
    Kind::DeleteHang,
    Kind::DeleteLate,
    Kind::Delete500,
    Kind::Delete502,
    Kind::Delete503,
    Kind::Delete504,
    Kind::DeleteHtml,
    Kind::DeleteEmpty,
    Kind::DeleteTruncated,
    Kind::DeleteWrongType,
    Kind::DeletePartial,
    Kind::DeletePartialListed,
    Kind::DeleteForeignIds,
    Kind::DeleteRepeatedIds,
    Kind::DeleteOtherCase,
    Kind::Delete400Named,
    Kind::Delete400State,
    Kind::Delete400,
    Kind::Delete400TooMany,
    Kind::Delete404Named,
    Kind::Delete404,
    Kind::Delete404Gateway,
    Kind::Delete401,
    Kind::Delete403,
    Kind::Delete409,
    Kind::Delete429Seconds,
    Kind::Delete429Date,
    Kind::Delete429Nonsense,
];

const READ: &[Kind] = &[
    Kind::ReadRefused,
    Kind::ReadReplyLost,
    Kind::ReadHang,
    Kind::ReadSlow,
    Kind::Read500,
    Kind::Read503,
    Kind::ReadHtml,
    Kind::ReadEmpty,
    Kind::ReadTruncated,
    Kind::ReadWrongType,
    Kind::Read400,
    Kind::Read404Gateway,
    Kind::Read401,
    Kind::Read403,
    Kind::Read429,
    Kind::ListOmits,
    Kind::ListRepeatsPage,
];

/// An id that nobody asks for.
pub const FOREIGN: &str = "0198170e-ffff-7fff-8fff-ffffffffffff";

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There and back.
    Whole,
    /// No connection.
    Refused,
    /// The request never arrives, and nothing is heard.
    RequestLost,
    /// The reply is lost; nothing is heard.
    Hang,
    /// The connection breaks instead of the reply.
    Reset,
}

/// What the cloud does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What was asked, and it says so.
    Own,
    /// What was asked, and it says something else.
    Hidden,
    /// Nothing.
    None,
}

/// How a call fares.
pub struct Fate {
    /// The fault.
    pub fault: Option<Kind>,
    /// Time until the request leaves.
    pub connect: Duration,
    /// Time on the way.
    pub there: Duration,
    /// Time on the way back.
    pub back: Duration,
    /// Which way it goes.
    pub way: Way,
    /// What the cloud does.
    pub effect: Effect,
    /// A request on the wire is lost if its sender dies.
    pub dies_with_sender: bool,
}

impl Fate {
    /// Draws what befalls a call.
    pub fn draw(faults: &mut Faults, random: &mut Random, operation: Operation, plan: &Plan) -> Self {
        let (channel, kinds) = match operation {
            Operation::DeleteInstances | Operation::ChangeServerPowerState => (Channel::Delete, DELETE),
            _ => (Channel::Read, READ),
        };
        let fault = faults.draw(channel, kinds, random);
        let ms = |n: usize| Duration::from_millis(n as u64);
        let mut fate = Self {
            fault,
            connect: ms(random.below(5)),
            there: ms(1 + random.below(20)),
            back: ms(1 + random.below(20)),
            way: Way::Whole,
            effect: Effect::Own,
            dies_with_sender: random.chance(0.5),
        };
        let Some(fault) = fault else { return fate };
        let timeout = plan.settings.request_timeout;
        let hidden = random.pick(Effect::None, &[Effect::Hidden]);
        match fault {
            Kind::DeleteRefused | Kind::ReadRefused => fate.way = Way::Refused,
            Kind::DeleteStalled => fate.connect = random.between(ms(500), ms(9_000)),
            Kind::DeleteRequestLost => fate.way = Way::RequestLost,
            Kind::DeleteHang | Kind::ReadHang => fate.way = Way::Hang,
            Kind::DeleteReplyLost | Kind::ReadReplyLost => fate.way = Way::Reset,
            Kind::DeleteLate => fate.there = random.between(ms(1_000), timeout.saturating_sub(ms(10))),
            Kind::ReadSlow => {
                fate.there = random.between(ms(0), timeout / 2);
                fate.back = random.between(ms(0), timeout);
            }
            Kind::Delete500 | Kind::Delete502 | Kind::Delete503 | Kind::Delete504 => fate.effect = hidden,
            Kind::DeleteHtml | Kind::DeleteEmpty | Kind::DeleteWrongType => fate.effect = hidden,
            // These shape the cloud's own reply.
            Kind::DeleteTruncated
            | Kind::DeletePartial
            | Kind::DeletePartialListed
            | Kind::DeleteForeignIds
            | Kind::DeleteRepeatedIds
            | Kind::DeleteOtherCase
            | Kind::ReadTruncated
            | Kind::ListOmits
            | Kind::ListRepeatsPage => {}
            _ => fate.effect = Effect::None,
        }
        fate
    }

    /// What the cloud's own rules are to make of the call.
    pub fn shape(&self, ids: &[String]) -> Option<Fault> {
        let part = ids.len() / 2;
        match self.fault? {
            Kind::DeletePartial => Some(Fault::any().return_first(part)),
            Kind::DeletePartialListed => Some(Fault::any().return_first(part).delete_rest()),
            Kind::DeleteForeignIds => Some(Fault::any().add_id(FOREIGN)),
            Kind::ListOmits => Some(ids.iter().step_by(2).fold(Fault::any(), Fault::omit_id)),
            Kind::ListRepeatsPage => Some(Fault::any().repeat_page()),
            _ => None,
        }
    }

    /// The reply, made of the cloud's own, if it made one.
    pub fn reply(
        &self,
        operation: Operation,
        own: Option<CloudReply>,
        ids: &[String],
        random: &mut Random,
    ) -> CloudReply {
        let first = ids.first().map_or("", String::as_str);
        let named =
            ids.iter().take(1 + random.below(ids.len().min(3))).cloned().collect::<Vec<_>>().join(", ");
        let Some(fault) = self.fault else { return own.unwrap_or_else(|| error(500, "iMetal.0099", "none")) };
        let ok = if operation == Operation::DeleteInstances { 202 } else { 200 };
        match fault {
            Kind::Delete500 | Kind::Read500 => error(500, "iMetal.0099", "Internal server error"),
            Kind::Delete502 => page(502),
            Kind::Delete503 | Kind::Read503 => error(503, "APIGW.0204", "The backend is unavailable"),
            Kind::Delete504 => error(504, "APIGW.0202", "Backend timeout"),
            Kind::DeleteHtml | Kind::ReadHtml => page(ok),
            Kind::DeleteEmpty | Kind::ReadEmpty => plain(ok, ""),
            Kind::DeleteWrongType | Kind::ReadWrongType => plain(ok, r#"{"instances":{"id":7}}"#),
            Kind::Delete400Named => {
                error(400, "iMetal.0001", &format!("request parameter invalid: [{named}]"))
            }
            Kind::Delete400State => {
                error(400, "iMetal.0201", &format!("Instances state is not ready: [{named}]"))
            }
            Kind::Delete400 | Kind::Read400 => error(400, "iMetal.0001", "request parameter invalid"),
            Kind::Delete400TooMany => error(400, "iMetal.0001", "instance_id_set: too many"),
            Kind::Delete404Named => error(404, "iMetal.0200", &format!("Instances not found: [{named}]")),
            Kind::Delete404 => error(404, "iMetal.0200", "Instances not found"),
            Kind::Delete404Gateway | Kind::Read404Gateway => {
                error(404, "APIGW.0101", "The API does not exist or has not been published")
            }
            Kind::Delete401 | Kind::Read401 => error(401, "APIGW.0301", "Incorrect IAM authentication"),
            Kind::Delete403 | Kind::Read403 => error(403, "iMetal.0004", "Insufficient permissions"),
            Kind::Delete409 => error(409, "iMetal.0101", &format!("Conflict: [{first}]")),
            Kind::Delete429Seconds | Kind::Read429 => throttled(Some("7")),
            Kind::Delete429Date => throttled(Some("Thu, 01 Jan 2026 00:20:00 GMT")),
            Kind::Delete429Nonsense => throttled(Some("soon")),
            _ => reshaped(fault, own),
        }
    }
}

fn reshaped(fault: Kind, own: Option<CloudReply>) -> CloudReply {
    let mut own = own.unwrap_or_else(|| error(500, "iMetal.0099", "none"));
    if own.status >= 300 {
        return own;
    }
    match fault {
        Kind::DeleteTruncated | Kind::ReadTruncated => own.body.truncate(own.body.len() * 2 / 3),
        Kind::DeleteOtherCase => {
            let body = own.body.to_uppercase().replace("PHYSICAL_SERVERS", "physical_servers");
            own.body = body.replace("INSTANCES", "instances").replace("ID", "id");
        }
        Kind::DeleteRepeatedIds => {
            let again = own.json().map(|mut body| {
                let key = if body.get("instances").is_some() { "instances" } else { "physical_servers" };
                let listed = body[key].as_array().cloned().unwrap_or_default();
                body[key] = listed.iter().chain(&listed).cloned().collect();
                body.to_string()
            });
            own.body = again.unwrap_or_default();
        }
        _ => {}
    }
    own
}

fn plain(status: u16, body: &str) -> CloudReply {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    CloudReply { status, headers, body: body.to_owned() }
}

fn page(status: u16) -> CloudReply {
    let headers = vec![("Content-Type".to_owned(), "text/html".to_owned())];
    CloudReply { status, headers, body: "<html><body>welcome</body></html>".to_owned() }
}

fn error(status: u16, code: &str, message: &str) -> CloudReply {
    plain(status, &json!({"error_code": code, "error_msg": message}).to_string())
}

fn throttled(retry_after: Option<&str>) -> CloudReply {
    let mut reply = error(429, "APIGW.0308", "The throttling threshold has been reached");
    if let Some(after) = retry_after {
        reply.headers.push(("Retry-After".to_owned(), after.to_owned()));
    }
    reply
}
