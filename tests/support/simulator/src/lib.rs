//! A simulator of the part of Huawei Cloud CloudDC that lists, powers off and deletes bare-metal instances: DeleteInstances,
//! ChangeServerPowerState, ShowInstanceStatus, ListInstances, ListServers and ShowServer, with their states, refusals, throttling
//! and every kind of fault. Requests have an `X-Auth-Token`, which IAM issues here too ([`User`]), or are signed
//! ([`AccessKey`]).
//!
//! It is built from the vendor's documents alone. Where they are silent or contradict each other, [`Options`] has a
//! choice.
//!
//! ```
//! use std::time::Duration;
//! use clouddc_simulator::{EndTime, Fault, Operation, Options, Projects, Simulator, Stage};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Simulator::start(Options { end: EndTime::Fixed(Duration::from_mins(1)), ..Options::default() }).await?;
//! sim.add_token("tests", "secret", Projects::All);
//! let ids = sim.ids("project-a", 120);
//!
//! // The first call takes effect, but its reply is lost.
//! let lost = sim.script(Fault::on(Operation::DeleteInstances).times(1).drop_connection(Stage::AfterEffect));
//! // … a client at work against sim.url() …
//! lost.wait_hit(1, Duration::from_secs(10)).await?;
//!
//! sim.advance(Duration::from_mins(1));
//! assert_eq!(sim.state("project-a", &ids[0]).as_deref(), Some("terminated"));
//! assert!(sim.delete_calls()[0].applied);
//!
//! // A person powers a machine on again that was powered off.
//! let one = &sim.ids("project-a", 1)[0];
//! sim.power_off("project-a", one);
//! assert_eq!((sim.state("project-a", one).as_deref(), sim.power_state("project-a", one)), (Some("stopped"), Some("off")));
//! sim.power_on("project-a", one);
//! # Ok(()) }
//! ```

mod access_keys;
mod admin_api;
mod authorization;
mod calendar;
mod clock;
mod cloud_api;
mod cloud_server;
mod credentials;
mod durations;
mod errors;
mod facts;
mod fault_book;
mod faults;
mod iam;
mod in_memory;
mod instance;
mod issued_tokens;
mod log;
mod options;
mod paging;
mod power;
mod projects;
mod random;
mod rate_limit;
mod request;
mod shared;
mod signature;
mod simulator;
mod tokens;
mod users;
mod world;

pub use access_keys::AccessKey;
pub use durations::parse_duration;
pub use facts::{Facts, Image, NetworkInterface, RowFacts, Server};
pub use fault_book::{FaultHandle, FaultReport};
pub use faults::{CannedReply, Fault, Part, Stage};
pub use in_memory::{InMemoryCloud, InMemoryQuestion, InMemoryReply, InMemoryRequest};
pub use instance::{Course, Status, StatusError};
pub use log::{Delivery, Entry, Operation, TimedOut};
pub use options::{EndTime, LastPage, Options, UnauthorizedCode, Vocabulary};
pub use power::{Power, PowerAction, PowerCourse};
pub use projects::Projects;
pub use rate_limit::{RateKind, RateLimit, RetryAfter, ThrottleBody};
pub use signature::{SignatureError, SignedRequest, verify_signature};
pub use simulator::Simulator;
pub use tokens::Token;
pub use users::User;
