//! One simulation, from the first event to the verdict.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use edgeferry::faults::simulated;
use edgeferry::queue::ledger::Ledger;
use edgeferry::queue::marks;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep_until;

use crate::agenda::Event;
use crate::chaos::Fault;
use crate::coverage::{Coverage, State};
use crate::gateway::{self, Gateway, Start};
use crate::machine::{Board, Death};
use crate::plan::{Plan, Planned, When};
use crate::world::{self, World, with};

/// What waits has to arrive within this of simulated time once nothing goes wrong any more. The longest pause of the product is the
/// ten minutes after which it makes a Kafka client anew that says nothing.
const LIVE_WITHIN: u64 = 30 * 60 * 1000;
/// Nothing more comes when nothing came for so long, simulated milliseconds: longer than any way and any heartbeat.
const QUIET: u64 = 2_000;
/// How long it takes to start again, milliseconds at most.
const RESTART: u64 = 5_000;

/// How a simulation went.
pub struct Report {
    /// Of everything that happened.
    pub hash: u64,
    pub events: u64,
    /// What is wrong.
    pub verdict: Option<String>,
    /// The last events.
    pub last: String,
    pub coverage: Coverage,
    /// Simulated time, milliseconds.
    pub took: u64,
    /// Of it, from the last fault on until everything had arrived.
    pub calm: u64,
    /// Messages acknowledged.
    pub acknowledged: usize,
    pub processes: u64,
}

/// Runs a seed. With `keeps_all` every event is kept.
pub fn simulate(seed: u64, omitted: Option<&'static str>, keeps_all: bool) -> Report {
    let plan = Rc::new(Plan::of(seed));
    let parent = [Path::new("/dev/shm"), Path::new("/tmp")];
    let parent = parent
        .into_iter()
        .find(|path| path.is_dir())
        .expect("one is there");
    let folder = tempfile::Builder::new()
        .prefix("edgeferry-sim")
        .tempdir_in(parent)
        .expect("temp dir");
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    let local = LocalSet::new();
    let board = local.block_on(&runtime, async { Rc::new(Board::new(seed, omitted)) });
    let on_board = simulated::on(Rc::clone(&board) as Rc<dyn simulated::Machine>);
    World::begin(&plan, &board, keeps_all);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut simulation = Simulation::new(&plan, &board, folder.path());
        local.block_on(&runtime, simulation.run());
    }));
    // Sources that still run have connections in the world.
    drop(local);
    drop(on_board);
    let took = runtime.block_on(async { board.now() });
    let mut world = world::end();
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("?");
        world.judge.complain(format!("something panicked: {text}"));
    }
    Report {
        hash: world.trace.hash(),
        events: world.trace.lines(),
        verdict: world.judge.verdict.take(),
        last: world.trace.last(),
        coverage: board.coverage.take(),
        took,
        calm: took.saturating_sub(plan.calm_at),
        acknowledged: world.judge.acknowledged.len(),
        processes: world.life,
    }
}

struct Simulation<'a> {
    plan: Rc<Plan>,
    board: Rc<Board>,
    folder: &'a Path,
    gateway: Option<Box<Gateway>>,
    /// Faults that wait for a number of events, the last first.
    waiting: Vec<(u64, usize)>,
    is_calm: bool,
    /// Since when nothing has been left to do.
    quiet_since: Option<u64>,
    /// Everything arrived, and the process is asked to stop for the last time.
    is_over: bool,
}

/// The process is started again.
fn again() {
    with(|world| {
        let at = world.now() + world.dice.between(1, RESTART);
        world.agenda.put(at, Event::Start);
    });
}

impl<'a> Simulation<'a> {
    fn new(plan: &Rc<Plan>, board: &Rc<Board>, folder: &'a Path) -> Self {
        Self {
            plan: Rc::clone(plan),
            board: Rc::clone(board),
            folder,
            gateway: None,
            waiting: waiting(plan),
            is_calm: false,
            quiet_since: None,
            is_over: false,
        }
    }

    async fn run(&mut self) {
        let limit = self.plan.calm_at + LIVE_WITHIN;
        let news = with(|world| Arc::clone(&world.news));
        loop {
            let due = self.due();
            if due > limit {
                self.is_late();
                return self.put_away().await;
            }
            tokio::select! {
                biased;
                () = news.notified() => {}
                () = sleep_until(self.board.instant(due)) => {}
            }
            let now = self.board.now();
            while let Some(event) = with(|world| world.agenda.pop(now)) {
                self.handle(event).await;
                self.strike_behind_events().await;
                if let Some(gateway) = &mut self.gateway {
                    gateway.poke(now);
                }
            }
            self.work(now).await;
            self.strike_behind_events().await;
            if with(|world| world.judge.verdict.is_some()) || self.ends(now).await {
                return self.put_away().await;
            }
        }
    }

    fn due(&self) -> u64 {
        let gateway = self.gateway.as_ref().map_or(u64::MAX, |gateway| gateway.due());
        let agenda = with(|world| world.agenda.next()).unwrap_or(u64::MAX);
        let calm = if self.is_calm { u64::MAX } else { self.plan.calm_at };
        gateway.min(agenda).min(calm)
    }

    fn is_late(&mut self) {
        let what = match &self.gateway {
            Some(gateway) => gateway.describe(),
            None => "no process runs".to_owned(),
        };
        with(|world| {
            let waiting: Vec<String> = world
                .brokers
                .iter()
                .map(|broker| {
                    format!(
                        "{}: {} queued, {} in flight, subscribed {}",
                        broker.name,
                        broker.queue.len(),
                        broker.inflight.len(),
                        broker.is_subscribed()
                    )
                })
                .collect();
            let devices: Vec<_> = world.devices.iter().filter(|device| !device.is_done).collect();
            let text = format!(
                "liveness: after half an hour without faults not everything has arrived: {what}; {waiting:?}; {devices:?}"
            );
            world.judge.complain(text);
        });
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Device(device) => with(|world| world.publish(device)),
            Event::Up(connection, what) => with(|world| world.came_up(connection, what)),
            Event::Down(connection, what) => with(|world| world.came_down(connection, what)),
            Event::Ping(connection) => with(|world| world.ping(connection)),
            Event::Gone(connection) => with(|world| world.gone(connection)),
            Event::Send(client) => with(|world| world.send(client)),
            Event::Arrive(flight) => with(|world| world.arrive(flight)),
            Event::Answer(flight, answer) => with(|world| world.answer(&flight, answer)),
            Event::Mend(mend) => with(|world| world.mend(mend)),
            Event::Start => self.start(),
            Event::Fault(index) => {
                let planned = self.plan.faults[index];
                self.strike(planned).await;
            }
        }
    }

    fn start(&mut self) {
        if self.gateway.is_some() {
            return;
        }
        match Gateway::start(&self.board, &self.plan, self.folder) {
            Start::Up(gateway) => {
                with(|world| world.say(format_args!("process starts")));
                let status = gateway.queue.status();
                with(|world| world.judge.look(&status));
                self.gateway = Some(gateway);
            }
            Start::Failed(why) => {
                with(|world| world.say(format_args!("cannot start: {why}")));
                again();
            }
            Start::Died => {
                let (point, death) = self.board.death().expect("it died");
                with(|world| world.say(format_args!("died at {point}, starting")));
                gateway::lay_out(&self.board, self.folder, death);
                again();
            }
        }
    }

    async fn strike_behind_events(&mut self) {
        while !self.is_calm
            && let Some((event, index)) = self.waiting.last().copied()
            && with(|world| world.trace.lines()) >= event
        {
            self.waiting.pop();
            let planned = self.plan.faults[index];
            self.strike(planned).await;
        }
    }

    async fn strike(&mut self, planned: Planned) {
        let now = self.board.now();
        let state = self
            .gateway
            .as_ref()
            .map_or(State::Down, |gateway| gateway.state(now));
        if !planned.fault.is_possible_in(state) {
            return;
        }
        self.board.coverage.borrow_mut().fault(planned.fault, state);
        with(|world| world.say(format_args!("fault: {} while {state:?}", planned.fault.name())));
        match planned.fault {
            Fault::Kill => self.die(Death::Kill).await,
            Fault::PowerCut => self.die(Death::PowerCut).await,
            Fault::KillAtPoint => self.board.die_after(planned.luck % 30, Death::Kill),
            Fault::PowerCutAtPoint => self.board.die_after(planned.luck % 30, Death::PowerCut),
            Fault::OrderlyStop => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.stop(now);
                }
            }
            _ => with(|world| world.strike(planned)),
        }
        if let Some(gateway) = &self.gateway {
            let status = gateway.queue.status();
            with(|world| world.judge.look(&status));
        }
        if with(|world| world.judge.verdict.is_some()) {
            self.tell_files();
        }
    }

    /// What the queue's small files say, for a failure.
    fn tell_files(&self) {
        let lane = self.folder.join("lane");
        let marks = marks::peek(&lane);
        let ledger = Ledger::open(&lane.join("ledger")).ok();
        let holes = ledger.map(|(ledger, _)| ledger.holes());
        with(|world| world.say(format_args!("marks {marks:?}, holes {holes:?}")));
    }

    async fn die(&mut self, death: Death) {
        match self.gateway.take() {
            Some(gateway) => {
                gateway.bury(self.folder, Some(death)).await;
                again();
            }
            // The power goes while nothing runs: what SIGKILL left in the page cache is lost.
            None => gateway::lay_out(&self.board, self.folder, death),
        }
    }

    async fn work(&mut self, now: u64) {
        if !self.is_calm && now >= self.plan.calm_at {
            self.is_calm = true;
            self.board.calm();
            with(|world| world.say(format_args!("calm")));
        }
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        let lives = gateway.work(now) && (!gateway.has_ended() || gateway.end());
        if !lives {
            let (point, death) = self.board.death().expect("it died");
            with(|world| world.say(format_args!("died at {point}")));
            return self.die(death).await;
        }
        if let Some(what) = gateway.is_broken() {
            with(|world| world.judge.complain(what));
        }
    }

    /// What becomes of a process that stopped, and whether everything is over.
    async fn ends(&mut self, now: u64) -> bool {
        let Some(gateway) = &mut self.gateway else {
            return false;
        };
        if gateway.has_ended() {
            let gateway = self.gateway.take().expect("just seen");
            if self.is_over {
                self.judge(&gateway);
                gateway.bury(self.folder, None).await;
                self.judge_reopened();
                return true;
            }
            with(|world| world.say(format_args!("stopped")));
            gateway.bury(self.folder, None).await;
            again();
        } else if self.is_calm && !self.is_over && gateway.is_idle() && with(|world| world.is_quiet()) {
            // What came with QoS 0 may be on its way, and no broker waits for it.
            let since = *self.quiet_since.get_or_insert(now);
            if now - since >= QUIET {
                self.is_over = true;
                gateway.stop(now);
            }
        } else {
            self.quiet_since = None;
        }
        false
    }

    fn judge(&self, gateway: &Gateway) {
        let end = gateway.account(&self.plan);
        with(|world| {
            let shown = world.judge.read(&world.cluster, &end);
            world.judge.end(&shown, &end);
            let balance = end.status.balance;
            world.say(format_args!("the end: {balance:?}"));
        });
    }

    /// What the process knew at its end is what the next one knows.
    fn judge_reopened(&mut self) {
        self.start();
        let Some(gateway) = &self.gateway else {
            let what = "what was left in order cannot be opened".to_owned();
            return with(|world| world.judge.complain(what));
        };
        let end = gateway.account(&self.plan);
        with(|world| {
            let shown = world.judge.read(&world.cluster, &end);
            world.judge.end(&shown, &end);
        });
    }

    async fn put_away(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.bury(self.folder, None).await;
        }
    }
}

fn waiting(plan: &Plan) -> Vec<(u64, usize)> {
    let faults = plan.faults.iter().enumerate();
    let mut waiting: Vec<(u64, usize)> = faults
        .filter_map(|(index, planned)| match planned.at {
            When::Event(event) => Some((event, index)),
            When::Time(_) => None,
        })
        .collect();
    waiting.sort_by(|one, other| other.cmp(one));
    waiting
}
