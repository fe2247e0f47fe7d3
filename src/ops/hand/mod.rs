//! The queue in a person's hand: what `edgeferry queue …` does, on lanes that are open.
//!
//! The same functions serve a stopped store, which the command opens itself, and a running daemon, through its control
//! socket. They look through [`crate::queue::inspect`], so whoever writes and delivers is not disturbed; a message that is
//! delivered meanwhile is simply not there any more.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant};

mod account;
mod answer;
mod entrance;
mod export;
mod filter;
pub mod format;
mod import;
mod known;
mod letters;
mod list;
mod purge;
mod request;
mod salvage;
mod verify;

pub use answer::{
    Account, Answer, FaultSeen, HoleState, Imported, LaneState, Letter, LettersState, Peeked, Purged,
    Redriven, Salvaged, UnitState, Verified,
};
pub use known::{Known, KnownError};
pub use letters::LetterBox;
pub use request::{Bound, Filter, LetterFilter, Request, VERSION, Verb};
pub use salvage::{Salvage, Site};

use crate::clock::Told;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::message::{Arrival, Epoch, Origin, Stored};
use crate::ops::Look;
use crate::queue::inspect::{Browser, PATIENCE, Piece, Stretch};
use crate::queue::store::StoreError;
use crate::queue::{Closed, Door, Monitor, PurgeError};
use crate::route::{Outcome, Router};
use crate::sink::KeepError;
use crate::slots::SlotError;
use entrance::{HELD_PATIENCE, Unsettled};
use filter::Matcher;
use format::FormatError;

/// Why something could not be done, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// It was asked for wrongly; the text says what would be right.
    #[error("{0}")]
    Usage(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Dead letters cannot be read or removed.
    #[error("dead letters: {0}")]
    Letters(#[from] KeepError),
    /// Messages cannot be removed, or not all of them: the ledger counts those that were.
    #[error("cannot remove: {0}")]
    Purge(#[from] PurgeError),
    /// What was imported and purged cannot be noted.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// The cursor cannot be made to survive a power cut.
    #[error("the cursor cannot be kept: {0}")]
    Cursor(SlotError),
    /// The file to import is none.
    #[error("the file cannot be imported: {0}")]
    Format(#[from] FormatError),
    /// A message cannot be said in JSON.
    #[error("cannot write a line: {0}")]
    Line(#[from] serde_json::Error),
    /// Another long look is going on.
    #[error(
        "another queue command is at work: each one has an older generation of its own in memory, so there is one at a time; try again when it is done"
    )]
    Busy,
    /// The daemon stops.
    #[error("edgeferry is stopping; what was not answered is not done")]
    Stopping,
    /// The configuration is being reloaded.
    #[error("edgeferry is reloading its configuration; what was taken stays, do the same again")]
    Reloading,
    /// There is no room.
    #[error("the queue is full; what was taken stays, do the same again when there is room")]
    Full,
    /// The queue cannot be written.
    #[error(
        "the queue stores nothing at the moment: {0}; what was taken stays, do the same again when it does"
    )]
    NotStored(String),
    /// Whoever asked is gone.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl From<Closed> for HandError {
    fn from(_: Closed) -> Self {
        Self::Stopping
    }
}

impl HandError {
    /// The exit code that belongs to it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Format(FormatError::Foreign | FormatError::Version(_)) => Exit::Usage,
            Self::Store(_)
            | Self::Letters(_)
            | Self::Cursor(_)
            | Self::Purge(_)
            | Self::Known(_)
            | Self::NotStored(_)
            | Self::Full => Exit::Storage,
            Self::Format(FormatError::Io(_))
            | Self::Line(_)
            | Self::Busy
            | Self::Stopping
            | Self::Reloading
            | Self::Output(_) => Exit::Failure,
        }
    }
}

/// A lane that is open.
#[derive(Debug)]
pub struct HandLane {
    /// Its name.
    pub name: String,
    /// The look into it.
    pub monitor: Monitor,
    /// Tells what becomes of its messages.
    pub router: Arc<Router>,
    /// The way in; gone once a stop has begun, because the writer ends when all ways in are gone.
    pub door: Mutex<Option<Door>>,
}

impl HandLane {
    /// A lane that takes imports through `door`.
    #[must_use]
    pub fn new(name: String, monitor: Monitor, router: Router, door: Option<Door>) -> Arc<Self> {
        Arc::new(Self {
            name,
            monitor,
            router: Arc::new(router),
            door: Mutex::new(door),
        })
    }

    /// The same lane with other routes. This one takes no more imports.
    #[must_use]
    pub fn rerouted(&self, router: Arc<Router>) -> Arc<Self> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        Arc::new(Self {
            name: self.name.clone(),
            monitor: self.monitor.clone(),
            router,
            door: Mutex::new(door),
        })
    }

    /// What would become of a message that is stored here next, as far as its routes say.
    fn outcome(&self, arrival: &Arrival, epoch: Epoch) -> Outcome {
        let stored = Stored {
            seq: self.monitor.last().next(),
            epoch,
            arrival: arrival.clone(),
        };
        self.router.route(&stored, &Told::as_it_stood(&arrival.stamp))
    }

    /// Takes no more imports.
    pub fn shut(&self) {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(door);
    }

    /// A look at what is queued and can match.
    fn queued(&self, matcher: &Matcher) -> Browser {
        let first = self.monitor.cursor().next().max(*matcher.range().start());
        self.monitor.browse(first, *matcher.range().end())
    }
}

/// All lanes of a store, open.
#[derive(Debug)]
pub struct Hand {
    identity: Identity,
    lanes: Mutex<Vec<Arc<HandLane>>>,
    /// The dead letters, also of lanes that are no more.
    boxes: Mutex<Vec<LetterBox>>,
    known: Mutex<Known>,
    /// Held during a long look.
    at_work: Mutex<()>,
    /// Read by whoever takes a short look.
    looks: RwLock<()>,
    closing: AtomicBool,
    /// The lanes are being exchanged: see [`Hand::pause`].
    paused: AtomicBool,
    /// Shows the state of the daemon, where there is one.
    look: Option<Look>,
    /// A sink is at work: a full queue gets room.
    delivers: bool,
    /// Patience with a full queue beside a sink.
    held_patience: Duration,
    /// What a redrive left in the writer's hands.
    unsettled: Mutex<Option<Unsettled>>,
}

/// Where answers go. An error ends the work.
pub type Output<'a> = &'a mut dyn FnMut(Answer) -> io::Result<()>;

impl Hand {
    /// A hand on `lanes`. `delivers` says whether a sink is at work on them.
    #[must_use]
    pub fn new(identity: Identity, lanes: Vec<Arc<HandLane>>, known: Known, delivers: bool) -> Self {
        Self {
            identity,
            lanes: Mutex::new(lanes),
            boxes: Mutex::default(),
            known: Mutex::new(known),
            at_work: Mutex::new(()),
            looks: RwLock::new(()),
            closing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            look: None,
            delivers,
            held_patience: HELD_PATIENCE,
            unsettled: Mutex::default(),
        }
    }

    /// With dead letters to look after. What became of letters that an interrupted redrive handed to a queue is found
    /// out: to be called before the sink begins.
    #[must_use]
    pub fn with_letters(self, boxes: Vec<LetterBox>) -> Self {
        *self.lock_boxes() = boxes;
        self.find_out();
        self
    }

    fn find_out(&self) {
        if let Err(error) = self.reconcile_letters() {
            tracing::error!(%error, "it is not known what became of an interrupted redrive");
        }
    }

    /// Lanes are about to be exchanged: what is going on ends soon, and what comes waits until [`Hand::resume`].
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is going on that holds a lane. To be asked between [`Hand::pause`] and [`Hand::resume`].
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_at_work = matches!(self.at_work.try_lock(), Err(TryLockError::WouldBlock));
        !is_at_work && !matches!(self.looks.try_write(), Err(TryLockError::WouldBlock))
    }

    /// Lets go of all dead letters, so that their stores can be opened anew.
    pub fn forget_letters(&self) {
        self.lock_boxes().clear();
    }

    /// Other lanes and dead letters instead of those that were there; then work goes on. Of those whose names are in `anew`
    /// nothing is under way any more: to be called before their sinks begin, as [`Hand::with_letters`]. Reads stores, so it is
    /// no work for a thread of the runtime.
    pub fn exchange(&self, lanes: Vec<Arc<HandLane>>, boxes: Vec<LetterBox>, anew: &[String]) {
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = lanes;
        *self.lock_boxes() = boxes;
        let mut unsettled = self.unsettled();
        if unsettled.as_ref().is_some_and(|left| anew.contains(&left.lane)) {
            *unsettled = None;
        }
        let is_settled = unsettled.is_none();
        drop(unsettled);
        let _one = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        self.resume();
        // What is in a writer's hands is found out by the next redrive.
        if is_settled {
            self.find_out();
        }
    }

    /// Work goes on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    fn lock_boxes(&self) -> MutexGuard<'_, Vec<LetterBox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boxes(&self) -> Vec<LetterBox> {
        self.lock_boxes().clone()
    }

    /// With the state to show.
    #[must_use]
    pub fn with_look(mut self, look: Look) -> Self {
        self.look = Some(look);
        self
    }

    /// A stop begins: what is going on ends soon, and nothing holds up the writers.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        for lane in self.lanes() {
            lane.shut();
        }
    }

    /// Lets go of a lane that is put away: its store closes once nobody looks into it any more.
    pub fn release(&self, name: &str) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes
            .extract_if(.., |lane| lane.name == name)
            .for_each(|lane| lane.shut());
    }

    fn lanes(&self) -> Vec<Arc<HandLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a stop has begun.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Does what is asked. `input` holds what follows the request.
    ///
    /// # Errors
    /// [`HandError`]; what was answered before holds.
    pub fn serve(
        &self,
        verb: &Verb,
        input: &mut dyn io::BufRead,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let _one = self.begin(verb)?;
        match verb {
            Verb::Status => self.status(output),
            Verb::List { lane } => self.list(lane.as_deref(), output),
            Verb::Peek {
                filter,
                limit,
                payload,
            } => self.peek(filter, *limit, *payload, output),
            Verb::Export { filter, limit } => self.export(filter, *limit, output),
            Verb::Import { into, again } => self.import(into.as_deref(), *again, input, output),
            Verb::Account => self.account(output),
            Verb::Verify { lane } => self.verify(lane.as_deref(), output),
            Verb::Purge { filter, yes } => self.purge(filter, *yes, output),
            Verb::Letters { lane } => self.list_letters(lane.as_deref(), output),
            Verb::ShowLetter { id } => self.show_letter(id, output),
            Verb::Redrive { filter, into } => self.redrive(filter, into.as_deref(), output),
            Verb::ExportLetters { filter, limit } => self.export_letters(filter, *limit, output),
            Verb::PurgeLetters { filter, yes } => self.purge_letters(filter, *yes, output),
            Verb::Reload => Err(HandError::Usage(
                "nothing runs here that could be reloaded".to_owned(),
            )),
        }
    }

    fn status(&self, output: Output<'_>) -> Result<Exit, HandError> {
        let Some(look) = &self.look else {
            return Err(HandError::Usage("nothing runs on this store".to_owned()));
        };
        let state = look.take();
        let is_ready = state.health.is_ready;
        output(Answer::State(Box::new(state)))?;
        Ok(if is_ready { Exit::Stopped } else { Exit::Failure })
    }

    /// One long look at a time; any number of short ones beside it.
    fn begin(&self, verb: &Verb) -> Result<Turn<'_>, HandError> {
        if *verb == Verb::Status {
            return Ok(Turn::Copy);
        }
        loop {
            self.wait_for_lanes()?;
            if let Some(turn) = self.turn(verb)? {
                return Ok(turn);
            }
        }
    }

    /// `None` when an exchange has begun: then nobody waits any more for what would begin now. It is looked at behind the lock,
    /// so whoever pauses sees the lock or is seen.
    fn turn(&self, verb: &Verb) -> Result<Option<Turn<'_>>, HandError> {
        let turn = if matches!(verb, Verb::List { .. }) {
            Turn::Short(self.looks.read().unwrap_or_else(PoisonError::into_inner))
        } else {
            match self.at_work.try_lock() {
                Ok(guard) => Turn::Long(guard),
                Err(TryLockError::Poisoned(poisoned)) => Turn::Long(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if self.is_paused() => return Ok(None),
                Err(TryLockError::WouldBlock) => return Err(HandError::Busy),
            }
        };
        Ok((!self.is_paused()).then_some(turn))
    }

    /// Waits while lanes are being exchanged.
    fn wait_for_lanes(&self) -> Result<(), HandError> {
        let began = Instant::now();
        while self.is_paused() {
            if self.is_closing() {
                return Err(HandError::Stopping);
            }
            if began.elapsed() >= EXCHANGE_PATIENCE {
                return Err(HandError::Reloading);
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }

    /// The lanes that are meant.
    fn chosen(&self, name: Option<&str>) -> Result<Vec<Arc<HandLane>>, HandError> {
        match name {
            Some(name) => Ok(vec![self.lane(name)?]),
            None => Ok(self.lanes()),
        }
    }

    fn lane(&self, name: &str) -> Result<Arc<HandLane>, HandError> {
        let lanes = self.lanes();
        lanes
            .iter()
            .find(|lane| lane.name == name)
            .cloned()
            .ok_or_else(|| {
                let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
                HandError::Usage(format!(
                    "there is no lane {name:?}; there is: {}",
                    names.join(", ")
                ))
            })
    }

    /// Where a message was stored first.
    fn origin(&self, lane: &HandLane, stored: &Stored) -> Origin {
        origin(&self.identity, &lane.name, stored)
    }

    /// Gives what is queued and matches to `take`, in order, until it has enough. What cannot be read is told and passed.
    fn walk(
        &self,
        lane: &HandLane,
        matcher: &Matcher,
        output: Output<'_>,
        mut take: impl FnMut(Stored, Output<'_>) -> Result<Flow, HandError>,
    ) -> Result<Flow, HandError> {
        let mut browser = lane.queued(matcher);
        while let Some(piece) = self.next_piece(&mut browser)? {
            let cursor = lane.monitor.cursor();
            match piece {
                Piece::Messages(messages) => {
                    let wanted = messages
                        .into_iter()
                        .filter(|stored| stored.seq > cursor && matcher.matches(stored, &lane.router));
                    for stored in wanted {
                        if take(stored, output)? == Flow::Enough {
                            return Ok(Flow::Enough);
                        }
                    }
                }
                Piece::Fault(stretch, fault) => {
                    let Stretch { first, last } = stretch;
                    let name = &lane.name;
                    output(Answer::Note(format!("lane {name}, {first} to {last}: {fault}")))?;
                }
                Piece::Hole(_) | Piece::Gone(_) | Piece::Wait => {}
            }
        }
        Ok(Flow::On)
    }

    /// What stands next, waiting for it while it is being read from raw bytes.
    fn next_piece(&self, browser: &mut Browser) -> Result<Option<Piece>, HandError> {
        let began = Instant::now();
        loop {
            self.go_on()?;
            match browser.next_piece()? {
                Some(Piece::Wait) if began.elapsed() >= PATIENCE => return Ok(Some(browser.give_up())),
                Some(Piece::Wait) => std::thread::park_timeout(LOOK),
                piece => return Ok(piece),
            }
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, Option<Unsettled>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) -> Result<(), HandError> {
        if self.is_closing() {
            Err(HandError::Stopping)
        } else if self.is_paused() {
            Err(HandError::Reloading)
        } else {
            Ok(())
        }
    }
}

/// Longest wait of a command for a reload to end: that lets Kafka answer for ten seconds, and opens stores.
const EXCHANGE_PATIENCE: Duration = Duration::from_mins(1);

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(200);

/// Where a message in `lane` of the store `own` was stored first.
fn origin(own: &Identity, lane: &str, stored: &Stored) -> Origin {
    let here = || Origin {
        gateway: own.gateway.clone(),
        epoch: stored.epoch,
        lane: lane.to_owned(),
        seq: stored.seq,
    };
    stored.arrival.origin.as_deref().cloned().unwrap_or_else(here)
}

/// What somebody holds who is served: lanes are not exchanged meanwhile.
#[derive(Debug)]
enum Turn<'a> {
    /// Nothing: what is shown was copied.
    Copy,
    Short(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
    Long(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>),
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Go on.
    On,
    /// The limit is reached.
    Enough,
}

#[cfg(test)]
mod tests;
