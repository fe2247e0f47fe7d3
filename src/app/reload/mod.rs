//! A reload: the configuration file is read again, and what is different in it is applied while the process runs.
//!
//! **All or nothing.** A file that is wrong, names a file that cannot be used, or changes something that needs a restart, changes
//! nothing: everything that is wrong is said, the configuration from before goes on, and the state says which file is not
//! applied, why, and since when. `impact` says which lanes a change is about, `stages::change` exchanges them.
//!
//! It is asked for with SIGHUP, or through the control socket by `edgeferry reload`, which waits for what comes of it. What is
//! asked for while a reload goes on is done by one more.

pub mod impact;
pub(in crate::app) mod judge;
pub(in crate::app) mod refusal;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::stages::{Changed, Stages, look_beside};
use crate::app::{AppError, View};
use crate::clock;
use crate::config::difference::{Difference, Takes};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::ops::control::{self, Reloaded, Reloads};
use crate::ops::logging::{self, Applied};
use crate::ops::state::NotApplied;
use crate::ops::systemd;
use refusal::{Mistake, Refusal};

/// Takes SIGHUP from now on: without that it would end the process.
///
/// # Errors
/// The system's reason.
pub fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// What reloads are asked for by, and what they read.
#[derive(Debug)]
pub struct Requests {
    /// `None`: the configuration is from no file.
    file: Option<PathBuf>,
    hangup: Option<Signal>,
    asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
}

impl Requests {
    /// Nothing but what is asked for through the other end.
    pub fn channel() -> (Reloads, Self) {
        let (reloads, asked) = mpsc::channel(control::COMMANDS_MAX);
        let requests = Self {
            file: None,
            hangup: None,
            asked,
        };
        (reloads, requests)
    }

    /// Reads `file`, also at each SIGHUP.
    pub fn of_file(&mut self, file: &Path, hangup: Signal) {
        self.file = Some(file.to_owned());
        self.hangup = Some(hangup);
    }

    /// Waits for the next request, and gives all those who wait for an answer. What comes later needs a reload of its own: the file
    /// may be another one by then.
    pub async fn next(&mut self) -> Vec<oneshot::Sender<Reloaded>> {
        let mut waiting = Vec::new();
        tokio::select! {
            () = hung_up(&mut self.hangup) => {}
            Some(reply) = self.asked.recv() => waiting.push(reply),
        }
        while let Ok(reply) = self.asked.try_recv() {
            waiting.push(reply);
        }
        waiting
    }

    /// Reads the file, and goes over to it.
    ///
    /// # Errors
    /// As [`Stages::change`]: the daemon has to end.
    pub async fn reload(
        &self,
        stages: &mut Stages,
        waiting: Vec<oneshot::Sender<Reloaded>>,
        stop: &CancellationToken,
    ) -> Result<(), AppError> {
        systemd::reloading();
        let view = stages.view();
        let outcome = match self.file.as_deref() {
            Some(file) => apply(file, stages, stop).await?,
            None => Err(Refusal::one(
                Exit::Failure,
                Mistake::plain("this process has no configuration file to read".to_owned()),
            )),
        };
        stages.try_links();
        view.certificates().configure(stages.config());
        view.certificates().look_again();
        let answer = self.tell(&view, outcome);
        for reply in waiting {
            if reply.send(answer.clone()).is_err() {
                tracing::debug!("whoever asked for a reload is gone");
            }
        }
        Ok(())
    }

    /// Says what came of it, to everybody who looks.
    fn tell(&self, view: &View, outcome: Result<String, Refusal>) -> Reloaded {
        let file = self.file.as_deref().unwrap_or(Path::new("-"));
        let file = file.display().to_string();
        match outcome {
            Ok(line) => {
                tracing::info!(outcome = %line, "the configuration was read again");
                view.set_not_applied(None);
                systemd::reloaded(&line);
                Ok(line)
            }
            Err(refusal) => {
                for Mistake { in_full, shown } in &refusal.why {
                    tracing::error!(mistake = %shown, in_full, "the configuration cannot be used");
                }
                let line = format!("{file} is not applied, the configuration from before it goes on");
                tracing::error!(outcome = %line, "the configuration is not applied");
                let (why, more) = refusal.shown();
                let first = why.first().map_or("", String::as_str);
                systemd::reloaded(&format!("{line}: {first}"));
                let mut message: Vec<String> = refusal.why.into_iter().map(|one| one.in_full).collect();
                message.push(line);
                view.set_not_applied(Some(NotApplied {
                    file,
                    unix_ms: clock::unix_ms(),
                    why,
                    more,
                }));
                Err((refusal.exit, message.join("\n")))
            }
        }
    }
}

/// For ever, when SIGHUP is not ours to take.
async fn hung_up(hangup: &mut Option<Signal>) {
    if let Some(signal) = hangup
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

async fn apply(
    file: &Path,
    stages: &mut Stages,
    stop: &CancellationToken,
) -> Result<Result<String, Refusal>, AppError> {
    let (new, difference) = match look_at(file, stages, stop).await? {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if difference.is_empty() {
        return Ok(Ok(
            "reloaded: nothing is different in the file; secrets and certificates are read again".to_owned(),
        ));
    }
    let new = Arc::new(new);
    Ok(match stages.change(&new, &difference, stop).await? {
        Changed::Applied { anew, took } => {
            let level = set_level(&new, &difference);
            Ok(format!("reloaded: {difference}{}{level}", lanes(&anew, took)))
        }
        Changed::Refused(error) => Err(Refusal::one(error.exit(), mistake(&error))),
        Changed::Interrupted => Err(interrupted()),
    })
}

/// What is wrong, in words for everybody only where nothing of the file or of a path is quoted.
fn mistake(error: &AppError) -> Mistake {
    let is_plain = matches!(error, AppError::HandBusy | AppError::DiskFull(_));
    match is_plain {
        true => Mistake::plain(error.to_string()),
        false => Mistake::new(
            error.to_string(),
            "a part of it could not be started: the log says why",
        ),
    }
}

fn interrupted() -> Refusal {
    Refusal::one(
        Exit::Failure,
        Mistake::plain("edgeferry is stopping: the reload is not done".to_owned()),
    )
}

/// What the file says, what is different in it, and whether that can be applied. On a thread of its own: nobody can promise how long
/// files take on a bad card, and this one serves all MQTT connections. A stop does not wait for it.
async fn look_at(
    file: &Path,
    stages: &Stages,
    stop: &CancellationToken,
) -> Result<Result<(Config, Difference), Refusal>, AppError> {
    let (old, data_dir) = (Arc::clone(stages.config()), Arc::clone(stages.data_dir()));
    let (running, file) = (stages.names(), file.to_owned());
    let look = move || {
        let new = read(&file)?;
        let difference = Difference::between(&old, &new);
        judge::judge(&data_dir, &running, &new, &difference)?;
        Ok((new, difference))
    };
    let looked = look_beside("look at the configuration", look, stop).await?;
    Ok(looked.unwrap_or_else(|| Err(interrupted())))
}

/// The file, checked; warnings are said.
fn read(file: &Path) -> Result<Config, Refusal> {
    let (config, warnings) = config::load(file).map_err(|error| Refusal::of_file(&error))?;
    for warning in warnings {
        tracing::warn!(mistake = %warning.place(), %warning, "in the configuration");
    }
    Ok(config)
}

fn set_level(config: &Config, difference: &Difference) -> &'static str {
    if !difference.takes(|takes| *takes == Takes::Log) {
        return "";
    }
    match logging::set_level(config.log.level) {
        Applied::Yes => "",
        Applied::Environment => " (but EDGEFERRY_LOG is set, which goes over it)",
    }
}

fn lanes(anew: &[String], took: std::time::Duration) -> String {
    if anew.is_empty() {
        return String::new();
    }
    let what = if anew.len() == 1 { "lane" } else { "lanes" };
    format!(
        " ({what} {} started anew in {} ms)",
        anew.join(", "),
        took.as_millis()
    )
}
