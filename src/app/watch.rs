//! Keeps the service manager informed, and hungry when the pipeline hangs.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::app::view::View;
use crate::ops::{Look, systemd};

/// The status line is refreshed this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Reports for ever.
pub async fn over(view: View, look: Look) -> Infallible {
    let interval = systemd::watchdog_interval().map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
    tokio::select! {
        never = feed(view, interval) => never,
        never = tell(look, interval) => never,
    }
}

/// Feeds the watchdog. Asks no disk: a card that stalls must not keep the sound from being told.
async fn feed(view: View, interval: Duration) -> Infallible {
    let vigil = view.vigil();
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        vigil.beat();
        let lanes = view.lanes();
        vigil.forget_others(&lanes);
        // Every lane is looked at, also behind one that hangs.
        let sound = lanes.iter().filter(|lane| vigil.is_sound(lane)).count();
        if sound == lanes.len() {
            systemd::watchdog();
        }
    }
}

/// Tells the service manager the state. Looks are taken on another thread than this one, which serves all MQTT connections:
/// nobody can promise how long a look at a card that stalls takes.
async fn tell(look: Look, interval: Duration) -> Infallible {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = None;
    loop {
        ticks.tick().await;
        let look = look.clone();
        let line = tokio::task::spawn_blocking(move || look.take().to_string()).await;
        if let Ok(line) = line
            && said.as_ref() != Some(&line)
        {
            systemd::status(&line);
            said = Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looks_are_not_taken_on_the_thread_that_serves_mqtt() {
        let (took, mut taken) = tokio::sync::mpsc::channel(8);
        let look = Look::new(move || {
            let _is_heard = took.try_send(std::thread::current().id()).is_ok();
            crate::ops::state::sample::state()
        });
        let of_look = tokio::select! {
            never = over(View::default(), look) => match never {},
            thread = taken.recv() => thread.expect("a look"),
        };
        assert_ne!(of_look, std::thread::current().id());
    }
}
