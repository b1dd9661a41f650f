//! The kinds of faults, how often each comes, and how often it came.

use std::collections::BTreeMap;

use crate::random::Random;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[doc = $doc])* $kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    /// A request to the API server is lost; its sender hears of it.
    ApiRequestLost,
    /// The API server did what was asked; the reply is lost.
    ApiReplyLost,
    /// The request or the reply takes seconds, some longer than the client waits.
    ApiSlow,
    /// Nothing is ever heard.
    ApiHang,
    /// A proxy repeated a write that was applied.
    ApiAppliedTwice,
    /// 429 without a hint.
    Api429,
    /// 429 with Retry-After.
    Api429RetryAfter,
    /// 500.
    Api500,
    /// 502, with or without effect.
    Api502,
    /// 503.
    Api503,
    /// Another writer edits the object just before a write arrives.
    ApiOtherWriter,
    /// A watch event never comes.
    WatchLost,
    /// A watch event comes late.
    WatchDelayed,
    /// A watch event comes twice.
    WatchRepeated,
    /// An event of an older version comes after a newer one.
    WatchStale,
    /// No connection.
    DeleteRefused,
    /// The connection takes seconds to come about.
    DeleteStalled,
    /// The request is lost on its way.
    DeleteRequestLost,
    /// The call took effect, its reply is lost by a reset.
    DeleteReplyLost,
    /// The call took effect, and nothing is ever heard.
    DeleteHang,
    /// The request arrives late, perhaps after its sender gave up.
    DeleteLate,
    /// 500, with or without effect.
    Delete500,
    /// 502, with or without effect.
    Delete502,
    /// 503, with or without effect.
    Delete503,
    /// 504, with or without effect.
    Delete504,
    /// A page instead of the API's reply.
    DeleteHtml,
    /// A 202 without a body.
    DeleteEmpty,
    /// A 202 whose body ends too early.
    DeleteTruncated,
    /// A 202 whose body has another form.
    DeleteWrongType,
    /// A 202 that lists a part, and only that took effect.
    DeletePartial,
    /// A 202 that lists a part, and all took effect.
    DeletePartialListed,
    /// A 202 that lists ids that were not asked for, too.
    DeleteForeignIds,
    /// A 202 that lists ids twice.
    DeleteRepeatedIds,
    /// A 202 that lists ids in upper case.
    DeleteOtherCase,
    /// A 400 naming ids.
    Delete400Named,
    /// A 400 with a state code, naming ids.
    Delete400State,
    /// A 400 that names none.
    Delete400,
    /// A 400 that says there are too many.
    Delete400TooMany,
    /// A 404 naming ids that exist.
    Delete404Named,
    /// A 404 of the service that names none.
    Delete404,
    /// A 404 of the gateway.
    Delete404Gateway,
    /// 401.
    Delete401,
    /// 403.
    Delete403,
    /// 409.
    Delete409,
    /// 429 with seconds.
    Delete429Seconds,
    /// 429 with a date.
    Delete429Date,
    /// 429 with nonsense.
    Delete429Nonsense,
    /// No connection for a read.
    ReadRefused,
    /// A read whose reply is lost.
    ReadReplyLost,
    /// A read that is never answered.
    ReadHang,
    /// A read that takes seconds.
    ReadSlow,
    /// 500.
    Read500,
    /// 503.
    Read503,
    /// A page.
    ReadHtml,
    /// Nothing in a success.
    ReadEmpty,
    /// A body that ends too early.
    ReadTruncated,
    /// A body of another form.
    ReadWrongType,
    /// 400.
    Read400,
    /// A 404 of the gateway.
    Read404Gateway,
    /// 401.
    Read401,
    /// 403.
    Read403,
    /// 429.
    Read429,
    /// A list leaves ids out.
    ListOmits,
    /// A list repeats its page.
    ListRepeatsPage,
    /// Reads lag behind calls.
    ReadsLag,
    /// An instance in a state that nobody knows.
    UnknownState,
    /// Deletions that fall to error.
    FallsToError,
    /// Deletions that do not end by themselves.
    NeverEnds,
    /// Ended instances vanish after a while.
    Vanishes,
    /// Ended instances vanish at once.
    VanishesAtOnce,
    /// An id that the cloud does not know.
    NotFound,
    /// An instance in a state that refuses its deletion.
    StateRefuses,
    /// An instance that someone else deletes.
    DeletedElsewhere,
    /// A process dies and another one starts.
    Crash,
    /// A second process works all the time.
    TwoProcesses,
    /// A process stands still for long.
    Freeze,
    /// The wall clock jumps ahead.
    WallForward,
    /// The wall clock jumps back.
    WallBackward,
    /// spec.suspend is set, and unset later.
    Suspend,
    /// The object is deleted.
    ObjectDeleted,
    /// The object is deleted while a finalizer of another keeps it.
    ObjectLeaving,
    /// The object is deleted and created again under its name.
    ObjectRecreated,
    /// Two objects name the same ids.
    SharedIds,
    /// The Secret is gone for a while.
    SecretMissing,
    /// The Secret holds no token for a while.
    SecretInvalid,
    /// The token is replaced by another, and refused from then on.
    SecretRotated,
    /// dryRun goes from true to false.
    DryRunToGo,
    /// spec.notAfter is set.
    NotAfter,
    /// spec.activeDeadlineSeconds is set.
    Deadline,
    /// spec.ttlSecondsAfterFinished is set.
    Ttl,
    /// spec.notFoundPolicy is Fail.
    PolicyFail,
    /// spec.backoffLimitPerInstance is set.
    BackoffLimit,
    /// spec.expect is set.
    Expected,
    /// An instance gets another name than is expected.
    Renamed,
    /// Lists do not tell the name of an instance for a while.
    NameUnknown,
    /// spec.rollout.limit is set, and removed later.
    Limit,
    /// spec.rollout.maxInFlight is set.
    MaxInFlight,
    /// spec.rollout.maxFailed is set.
    MaxFailed,
    /// A guard holds one namespace or all for a while.
    GuardHolds,
    /// A guard protects an instance.
    GuardProtects,
    /// A guard protects names.
    GuardProtectsNames,
    /// spec.powerOff is Always, without a soak.
    PowerOffAlways,
    /// spec.powerOff is Always, with a soak.
    PowerOffSoaks,
    /// spec.powerOff is IfRefused.
    PowerOffIfRefused,
    /// The cloud refuses to delete running instances, and names them or not.
    RefusesRunning,
    /// An instance is off from the beginning.
    FoundOff,
    /// Power-offs of an instance fail.
    PowerOffFails,
    /// Someone powers an instance on.
    PoweredOn,
    /// Someone powers an instance off.
    PoweredOff,
    /// A server carries another instance after the end of its own.
    ServerReused,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// To the API server.
    Api,
    /// A delete call.
    Delete,
    /// A read at the cloud.
    Read,
}

/// How often each kind comes.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Off: the world heals.
    pub on: bool,
    rates: Vec<f64>,
    counts: Vec<u64>,
    sent: BTreeMap<Channel, u64>,
    /// By channel and number of the message.
    script: BTreeMap<(Channel, u64), Kind>,
}

impl Faults {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        let nothing = vec![0.0; Kind::ALL.len()];
        Self {
            on: true,
            rates: nothing,
            counts: vec![0; Kind::ALL.len()],
            sent: BTreeMap::new(),
            script: BTreeMap::new(),
        }
    }

    /// Some kinds, each at its own rate: which ones differs from seed to seed, since too many at once hide each other.
    #[must_use]
    pub fn drawn(random: &mut Random) -> Self {
        let mut faults = Self::none();
        let share = random.pick(0.0, &[0.1, 0.2, 0.4, 0.7]);
        let strength = random.pick(0.02, &[0.05, 0.1, 0.3]);
        for (kind, rate) in Kind::ALL.iter().zip(&mut faults.rates) {
            // Delete calls are few: each of them may fail in many ways.
            let often = if format!("{kind:?}").starts_with("Delete") { 6.0 } else { 1.0 };
            *rate = if random.chance(share) { often * strength * random.unit() } else { 0.0 };
        }
        // The sum over the kinds of one message is a probability; the rest of it is that nothing happens.
        for first in ["Api", "Delete", "Read"] {
            let of_it = |kind: &Kind| format!("{kind:?}").starts_with(first);
            let rates = || Kind::ALL.iter().zip(&faults.rates).filter(|(kind, _)| of_it(kind));
            let sum: f64 = rates().map(|(_, rate)| rate).sum();
            let most = 0.8;
            if sum > most {
                for (kind, rate) in Kind::ALL.iter().zip(&mut faults.rates) {
                    if of_it(kind) {
                        *rate *= most / sum;
                    }
                }
            }
        }
        faults
    }

    /// Exactly these: the message of this number, from 1, through this channel.
    #[must_use]
    pub fn scripted(script: &[(Channel, u64, Kind)]) -> Self {
        let script = script.iter().map(|(channel, number, kind)| ((*channel, *number), *kind)).collect();
        Self { script, ..Self::none() }
    }

    /// What befalls the next message through this channel, of these kinds.
    pub fn draw(&mut self, channel: Channel, kinds: &[Kind], random: &mut Random) -> Option<Kind> {
        let number = self.sent.entry(channel).or_default();
        *number += 1;
        let scripted = self.script.get(&(channel, *number)).copied();
        let kind = scripted.or_else(|| self.draw_of(kinds, random))?;
        self.count(kind);
        Some(kind)
    }

    /// One of these kinds, or none.
    fn draw_of(&self, kinds: &[Kind], random: &mut Random) -> Option<Kind> {
        let mut drawn = random.unit();
        if !self.on {
            return None;
        }
        kinds.iter().copied().find(|kind| {
            let rate = self.rate(*kind);
            drawn -= rate;
            drawn < 0.0
        })
    }

    /// One of the kinds that come with no message, or none.
    pub fn draw_aside(&mut self, kinds: &[Kind], random: &mut Random) -> Option<Kind> {
        let kind = self.draw_of(kinds, random)?;
        self.count(kind);
        Some(kind)
    }

    /// Probability of a kind.
    #[must_use]
    pub fn rate(&self, kind: Kind) -> f64 {
        self.rates.get(kind as usize).copied().unwrap_or(0.0)
    }

    /// Notes that it came.
    pub fn count(&mut self, kind: Kind) {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// How often each kind came.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}
