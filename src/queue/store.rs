//! The storage contract between the queue and what keeps its bytes.

use std::io;
use std::path::PathBuf;

use crate::message::Seq;
use crate::queue::codec::Chunk;
use crate::queue::ledger::Replacement;
use crate::slots::is_full;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// sled refused.
    #[error("{path}: {source}")]
    Sled {
        /// The generation's folder.
        path: PathBuf,
        /// What it answered.
        source: sled::Error,
    },
    /// sled panicked, as it does on some damaged files.
    #[error("{path}: sled panicked: {reason}")]
    Panicked {
        /// The generation's folder.
        path: PathBuf,
        /// The panic's message.
        reason: String,
    },
    /// What is asked for is still being looked for.
    #[error("a damaged part of the store is still being read")]
    Salvaging,
    /// Something in the store's folder is not ours.
    #[error("{path}: unexpected name in the store")]
    Foreign {
        /// What was found.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the bytes on disk are the reason, so that trying again cannot help. A refusal for want of space,
    /// memory, handles or rights, or by a lock, says nothing about the bytes.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Sled {
                source: sled::Error::Io(source),
                ..
            } => !is_refusal(source),
            Self::Salvaging => false,
            Self::Sled { .. } | Self::Panicked { .. } | Self::Foreign { .. } => true,
        }
    }
}

impl StoreError {
    /// Whether there is no space left for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Sled {
                source: sled::Error::Io(source),
                ..
            } => is_full(source),
            Self::Sled { .. } | Self::Panicked { .. } | Self::Foreign { .. } | Self::Salvaging => false,
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind;
    let no_handles = matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    );
    no_handles
        || matches!(
            error.kind(),
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::FileTooLarge
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::OutOfMemory
                | ErrorKind::Interrupted
                | ErrorKind::WouldBlock
                | ErrorKind::NotConnected
                | ErrorKind::TimedOut
        )
}

/// One block as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlock {
    /// First sequence, from the key: known even if the contents are damaged.
    pub first: Seq,
    /// Its chunks in order.
    pub chunks: Vec<Vec<u8>>,
}

/// Answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A block.
    Block(RawBlock),
    /// Nothing from there on.
    Nothing,
    /// What should be there is being looked for. The waker given to the store is called when that ends.
    Salvaging,
}

/// Sequences without a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
}

/// A stretch of the log that is kept, and can be given up, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// First sequence it may hold.
    pub first: Seq,
    /// Last sequence it may hold; `None` for the newest, which is still growing.
    pub last: Option<Seq>,
    /// Space it takes on disk, bytes.
    pub bytes: u64,
}

/// How far a store reaches, found out while opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// First sequence the oldest unit may hold: everything before it was delivered and trimmed.
    pub oldest: Option<Seq>,
    /// First sequence the newest unit may hold: every sequence before it has been used.
    pub newest: Option<Seq>,
    /// The last sequence a block covers; `None` when no unit holds any.
    pub last: Option<Seq>,
    /// The newest unit could not be read yet: which sequences were used behind `last` cannot be seen.
    pub unsure: bool,
    /// The newest unit holds nothing, although something was written to it: an append that was interrupted, or damage.
    pub hollow: bool,
}

/// An opened store.
#[derive(Debug)]
pub struct Opened<S> {
    /// The store.
    pub store: S,
    /// How far it reaches.
    pub extent: Extent,
}

/// Keeps chunks in key order, in units.
///
/// One thread appends; any thread reads and trims. What a failure leaves behind:
///
/// * `append` fails, or the process dies in it: a prefix of the given chunks may be there, or none. Everything
///   appended before is unharmed. The caller appends the same chunks again; what the failed call left behind
///   must not be seen by `read` afterwards.
/// * `append` returns: all chunks survive power loss.
/// * `trim` or `drop_unit` fails, or the process dies in it: any subset of what it may drop is dropped, from the
///   oldest on.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Appends the chunks of one group, in order, and makes them durable.
    ///
    /// # Errors
    /// [`StoreError`]; see above for what is left behind.
    fn append(&self, chunks: &[Chunk]) -> Result<(), StoreError>;

    /// The next append begins a new unit.
    fn seal(&self);

    /// The block that begins at `from` or is the last to begin before it; the first one behind it if
    /// there is none before.
    ///
    /// # Errors
    /// [`StoreError`]; nothing changes.
    fn read(&self, from: Seq) -> Result<Found, StoreError>;

    /// The first block that begins behind `seq`.
    ///
    /// # Errors
    /// [`StoreError`]; nothing changes.
    fn read_behind(&self, seq: Seq) -> Result<Found, StoreError>;

    /// `seq` should be there and cannot be read. True when the store looks once more for what the unit holds: read
    /// again once the waker was called. False when nothing more can be got out of it: `seq` is lost, and the unit is
    /// set aside.
    ///
    /// # Errors
    /// [`StoreError`]; ask again.
    fn suspect(&self, seq: Seq) -> Result<bool, StoreError>;

    /// Writes all blocks that end behind `seq` anew: they may be in the page cache alone, and the kernel may take
    /// them for written (a failed `fdatasync` does that). They survive power loss when this returns. For what was
    /// found at open only.
    ///
    /// # Errors
    /// [`StoreError`]; nothing changes.
    fn renew_behind(&self, _seq: Seq) -> Result<(), StoreError> {
        Ok(())
    }

    /// Goes on with a slow look through units that nobody reads yet. Returns the sequences that were not found in the
    /// one it has just finished with. Never waits.
    fn scrub(&self) -> Vec<Gap> {
        Vec::new()
    }

    /// Gives back the space of messages up to and including `through`, as far as whole units allow.
    ///
    /// # Errors
    /// [`StoreError`]; see above for what is left behind.
    fn trim(&self, through: Seq) -> Result<(), StoreError>;

    /// The same, also for what is kept so that redeliveries are recognised after a restart.
    ///
    /// # Errors
    /// [`StoreError`]; see above for what is left behind.
    fn trim_all(&self, through: Seq) -> Result<(), StoreError>;

    /// Whether `trim` would give anything back.
    fn can_trim(&self, through: Seq) -> bool;

    /// The units, oldest first.
    fn units(&self) -> Vec<Unit>;

    /// Gives up the unit that begins at `first`, whatever it holds. The newest one stays.
    ///
    /// # Errors
    /// [`StoreError`]; see above for what is left behind.
    fn drop_unit(&self, first: Seq) -> Result<(), StoreError>;

    /// Builds a unit of `groups`, in ascending order, beside those it is to replace. It is durable when this returns, and
    /// nobody sees it before [`Store::replace`].
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left that anybody sees.
    fn stage(&self, replacement: Replacement, groups: &[Vec<Chunk>]) -> Result<(), StoreError>;

    /// Gives up what was staged.
    fn unstage(&self, replacement: Replacement);

    /// Puts the staged unit in the place of those from its `first` to its `last` sequence. That it is to be so is durable
    /// already, see [`crate::queue::ledger::Ledger::replace`]: readers see it from now on, and what a crash leaves undone
    /// is done at the next open.
    fn replace(&self, replacement: Replacement);

    /// Space taken on disk, bytes: what `du` says of the folder.
    fn bytes(&self) -> u64;
}
