//! `--watch`: again and again. On a terminal in its place, elsewhere one block behind the other.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::ask::{self, Found};
use super::failure::AskError;
use super::rendered;
use crate::app::stop_signal;
use crate::config::Config;
use crate::exit::Exit;

/// Lines of a terminal that does not say how many it has.
const ROWS: usize = 24;

/// Until interrupted. The exit code is that of the last look.
pub fn run(config: &Config, interval: Duration, json: bool) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(look_on(config, interval, json));
    // A look that hangs is not waited for.
    runtime.shutdown_background();
    exit
}

async fn look_on(config: &Config, interval: Duration, json: bool) -> io::Result<Exit> {
    let stop = stop_signal().map_err(io::Error::other)?;
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let in_place = !json && io::stdout().is_terminal();
    let mut exit = Exit::Failure;
    loop {
        tokio::select! {
            () = &mut stop => return Ok(exit),
            _ = ticks.tick() => {}
        }
        let folder = config.gateway.data_dir.clone();
        let look = tokio::task::spawn_blocking(move || ask::ask(&folder));
        let found = tokio::select! {
            () = &mut stop => return Ok(exit),
            found = look => found.map_err(io::Error::other)?,
        };
        exit = found.as_ref().map_or(AskError::EXIT, Found::exit);
        show(&found, json, in_place)?;
    }
}

fn show(found: &Result<Found, AskError>, json: bool, in_place: bool) -> io::Result<()> {
    let text = match found {
        Ok(found) => rendered(found, json)?,
        // A watcher of lines sees that there is no state.
        Err(error) if json => serde_json::json!({ "error": error.to_string() }).to_string(),
        Err(error) => crate::cli::text::wrap(&error.to_string(), "", ""),
    };
    let mut out = io::stdout().lock();
    if in_place {
        out.write_all(redraw(text.trim_end(), rows()).as_bytes())?;
    } else {
        writeln!(out, "{}", text.trim_end())?;
        if !json {
            writeln!(out)?;
        }
    }
    out.flush()
}

fn rows() -> usize {
    rustix::termios::tcgetwinsize(io::stdout())
        .map(|size| usize::from(size.ws_row))
        .ok()
        .filter(|rows| *rows > 1)
        .unwrap_or(ROWS)
}

/// Written over what is there: home, each line and the erasure of its rest, the erasure of what is below. What has no room is
/// left out, or the terminal would scroll.
fn redraw(text: &str, rows: usize) -> String {
    let room = rows.saturating_sub(1);
    let lines: Vec<&str> = text.lines().collect();
    let is_cut = lines.len() > room;
    let shown = if is_cut { room.saturating_sub(1) } else { room };
    let mut screen = String::from("\x1b[H");
    for line in lines.iter().take(shown) {
        screen.push_str(line);
        screen.push_str("\x1b[K\n");
    }
    if is_cut {
        screen.push_str("(more than fits here)\x1b[K\n");
    }
    screen.push_str("\x1b[J");
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_on_the_terminal_is_left_out_and_said() {
        assert_eq!(redraw("a\nb", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(
            redraw("a\nb\nc\nd", 4),
            "\x1b[Ha\x1b[K\nb\x1b[K\n(more than fits here)\x1b[K\n\x1b[J"
        );
        assert_eq!(redraw("a\nb\nc", 4), "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J");
    }
}
