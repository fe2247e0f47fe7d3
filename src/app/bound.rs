//! A daemon that belongs to another process, and ends with it.

use rustix::process::Signal;

/// Set in its environment by whoever starts it: a drill that is killed itself leaves no daemon behind.
pub(crate) const BOUND: &str = "EDGEFERRY_DRILL";

/// Asks the kernel for it, if the environment does.
pub(super) fn end_with_parent() {
    if std::env::var_os(BOUND).is_none() {
        return;
    }
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::debug!(%error, "cannot end with the drill");
    }
}
