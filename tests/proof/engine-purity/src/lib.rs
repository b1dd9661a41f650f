//! `src/engine` and the types of the custom resource, compiled without the rest of the controller.
//!
//! That it compiles shows that decisions need no kube client, no HTTP, no clock and no randomness: the manifest of this
//! crate has none. It also compiles in seconds, which makes it the place to try mutants of the engine.

#[path = "../../../../src/api/mod.rs"]
pub mod api;
#[path = "../../../../src/engine/mod.rs"]
pub mod engine;
