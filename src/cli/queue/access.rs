//! Finds who has the store: nobody, then this process opens it; a daemon, then it is asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::print;
use crate::app::{AppError, DataDir, DataDirError, Stopped};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::ops::control;
use crate::ops::hand::{Answer, HandError, Request, VERSION, Verb};

/// A daemon that says nothing for this long hangs. It speaks at least once for each block of the log, and an import waits
/// for the disk; a full queue may make it wait longer, which it then does in vain for us.
const SILENCE: Duration = Duration::from_mins(5);

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] config::LoadError),
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Hand(#[from] HandError),
    #[error(
        "the store is in use{}, and {} does not answer ({source}): it may be starting or stopping, or be another command such as `edgeferry queue`; try again, or stop it",
        owner.map(|pid| format!(" by process {pid}")).unwrap_or_default(), socket.display()
    )]
    Unreachable {
        owner: Option<u32>,
        socket: PathBuf,
        source: io::Error,
    },
    #[error(
        "no daemon answers at {} ({source}): none runs with this data_dir, it is starting or stopping, or data_dir was changed in \
         the file, which needs a restart", socket.display()
    )]
    NoDaemon { socket: PathBuf, source: io::Error },
    #[error("the daemon's answer broke off: {0}")]
    Broken(io::Error),
    #[error("{message}")]
    Answered { exit: u8, message: String },
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl Failure {
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) => Exit::Usage,
            Self::NoStore(_) | Self::File(_) => Exit::Storage,
            Self::App(error) => error.exit(),
            Self::Hand(error) => error.exit(),
            Self::Answered { exit, .. } => exit_of(*exit),
            Self::Unreachable { .. } | Self::NoDaemon { .. } | Self::Broken(_) | Self::Output(_) => {
                Exit::Failure
            }
        }
    }
}

/// Does one command, says on standard error why it failed, and ends with the code of that.
pub(in crate::cli) fn told(command: impl FnOnce() -> Result<Exit, Failure>) -> Exit {
    crate::ops::logging::init_quiet();
    command().unwrap_or_else(|failure| {
        print::error(&failure.to_string());
        failure.exit()
    })
}

/// Where answers go.
pub(in crate::cli) type Answers<'a> = &'a mut dyn FnMut(Answer) -> io::Result<()>;

/// What follows a request: bytes that another thread can send while answers are read.
pub(in crate::cli) type Input = BufReader<std::fs::File>;

/// The configuration, which tells where the store is and what a device is.
pub(in crate::cli) fn load(file: &Path) -> Result<Config, Failure> {
    let (config, _) = config::load(file)?;
    Ok(config)
}

/// Has the request done, by whoever has the store.
pub(in crate::cli) fn ask(
    config: &Config,
    verb: &Verb,
    input: Option<&mut Input>,
    answers: Answers<'_>,
) -> Result<Exit, Failure> {
    let folder = &config.gateway.data_dir;
    // An import may make the store, as the first start would.
    let may_make = matches!(verb, Verb::Import { .. });
    if !folder.is_dir() && !may_make {
        return Err(Failure::NoStore(folder.clone()));
    }
    match DataDir::take(folder) {
        Ok(data_dir) if !may_make && !data_dir.has_log() => Err(Failure::NoStore(data_dir.path().to_owned())),
        Ok(data_dir) => serve_here(config, data_dir, verb, input, answers),
        Err(DataDirError::InUse { owner, .. }) => {
            let socket = control::path(folder);
            let stream = UnixStream::connect(&socket).map_err(|source| Failure::Unreachable {
                owner,
                socket,
                source,
            })?;
            converse(&stream, verb, input, answers)
        }
        Err(error) => Err(AppError::from(error).into()),
    }
}

/// Has the request done by the daemon that has the store in `folder`, and by nobody else.
pub(in crate::cli) fn ask_daemon(folder: &Path, verb: &Verb, answers: Answers<'_>) -> Result<Exit, Failure> {
    let socket = control::path(folder);
    match UnixStream::connect(&socket) {
        Ok(stream) => converse(&stream, verb, None, answers),
        Err(source) => Err(Failure::NoDaemon { socket, source }),
    }
}

fn serve_here(
    config: &Config,
    data_dir: DataDir,
    verb: &Verb,
    input: Option<&mut Input>,
    answers: Answers<'_>,
) -> Result<Exit, Failure> {
    let folder = data_dir.path().to_owned();
    let to_write = matches!(verb, Verb::Import { .. } | Verb::Redrive { .. });
    let stopped = Stopped::open(config, data_dir, to_write)?;
    let exit = match input {
        Some(input) => stopped.hand().serve(verb, input, answers),
        None => stopped.hand().serve(verb, &mut io::empty(), answers),
    };
    stopped.close();
    if let Err(error) = give_back(&folder) {
        print::error(&format!(
            "files in {} belong to root now: {error}",
            folder.display()
        ));
    }
    Ok(exit?)
}

/// Files that root made in somebody's store would keep their daemon from starting.
fn give_back(folder: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.metadata()?.uid() == 0 {
                std::os::unix::fs::lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// One request to a daemon, and its answers.
fn converse(
    stream: &UnixStream,
    verb: &Verb,
    input: Option<&mut Input>,
    answers: Answers<'_>,
) -> Result<Exit, Failure> {
    let request = Request {
        version: VERSION,
        verb: verb.clone(),
    };
    let mut line = serde_json::to_vec(&request).map_err(|error| Failure::Broken(error.into()))?;
    line.push(b'\n');
    stream.set_read_timeout(Some(SILENCE)).map_err(Failure::Broken)?;
    let mut sending = stream;
    sending.write_all(&line).map_err(Failure::Broken)?;
    std::thread::scope(|scope| {
        if let Some(input) = input {
            scope.spawn(move || send(input, stream));
        }
        let outcome = receive(stream, answers);
        // Whoever still sends to a daemon that has answered would wait for nothing.
        drop(stream.shutdown(Shutdown::Both));
        outcome
    })
}

/// Sends what follows the request. The daemon says what it thinks of a failure.
fn send(input: &mut Input, mut stream: &UnixStream) {
    let copied = io::copy(&mut input.by_ref(), &mut stream);
    let ended = stream.shutdown(Shutdown::Write);
    if let Err(error) = copied.and(ended) {
        tracing::debug!(%error, "the daemon does not take more of the file");
    }
}

fn receive(stream: &UnixStream, answers: Answers<'_>) -> Result<Exit, Failure> {
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(Failure::Broken)? == 0 {
            return Err(Failure::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line).map_err(|error| Failure::Broken(error.into()))? {
            Answer::Done { exit } => return Ok(exit_of(exit)),
            Answer::Error { exit, message } => return Err(Failure::Answered { exit, message }),
            answer => answers(answer).map_err(Failure::Output)?,
        }
    }
}

const fn exit_of(code: u8) -> Exit {
    match code {
        0 => Exit::Stopped,
        64 => Exit::Usage,
        74 => Exit::Storage,
        _ => Exit::Failure,
    }
}
