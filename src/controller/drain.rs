//! The end of the process: nothing new is started, running calls finish and are recorded.

use std::time::Duration;

use tracing::{info, warn};

use super::state::context::Context;

/// Beyond the time that a call may take: for the write of its outcome. The sum stays below the 60 s of grace that the
/// Deployment gives.
const TO_RECORD: Duration = Duration::from_secs(20);

/// Waits until no call is in flight and every outcome is recorded, or until it would take too long.
///
/// The outcomes are recorded by the ordinary reconciles, which go on meanwhile and start nothing new.
pub async fn drain(context: &Context) {
    context.start_draining();
    let unfinished = context.objects.unfinished().len();
    info!(unfinished, "draining: no new call, running ones are recorded");
    let limit = context.settings.request_timeout + TO_RECORD;
    let empty = async {
        loop {
            let progress = context.progress.notified();
            tokio::pin!(progress);
            // Registered before the look, so that what ends in between is not missed.
            progress.as_mut().enable();
            if context.objects.unfinished().is_empty() {
                return;
            }
            progress.await;
        }
    };
    match tokio::time::timeout(limit, empty).await {
        Ok(()) => info!("drained"),
        Err(_) => {
            for key in context.objects.unfinished() {
                warn!(namespace = key.namespace, name = key.name, "ended before its outcome was recorded");
            }
        }
    }
}
