//! A look's handler that collects what it is told.

use tokio::sync::oneshot;

use crate::{
    cloud::reader::{LookHandler, Reading},
    engine::outcome::LookFailure,
};

/// All that a look brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The newest reading of each id that was read.
    pub readings: Vec<Reading>,
    /// Why not every id was.
    pub failure: Option<LookFailure>,
}

struct Collecting {
    readings: Vec<Reading>,
    answer: oneshot::Sender<Answer>,
}

impl LookHandler for Collecting {
    fn reading(&mut self, reading: &Reading) {
        self.readings.retain(|other| other.id != reading.id);
        self.readings.push(reading.clone());
    }

    fn ended(self: Box<Self>, failure: Option<LookFailure>) {
        let Self { readings, answer } = *self;
        // The test may have ended.
        let _ = answer.send(Answer { readings, failure });
    }
}

/// A handler, and where its answer comes.
pub fn collect() -> (Box<dyn LookHandler>, oneshot::Receiver<Answer>) {
    let (answer, answered) = oneshot::channel();
    (Box::new(Collecting { readings: Vec::new(), answer }), answered)
}
