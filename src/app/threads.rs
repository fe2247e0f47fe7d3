//! Threads whose end is noticed.

use std::io;

use tokio::sync::mpsc;

/// The threads of one lane.
#[derive(Debug)]
pub struct Threads {
    running: Vec<String>,
    ending: mpsc::Sender<String>,
    ended: mpsc::Receiver<String>,
}

impl Threads {
    /// Room for the ends of `most` threads.
    pub fn new(most: usize) -> Self {
        let (ending, ended) = mpsc::channel(most);
        Self {
            running: Vec::new(),
            ending,
            ended,
        }
    }

    /// Starts a thread whose end, also by a panic, is reported.
    pub fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let end = End(name.clone(), self.ending.clone());
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            let _end = end;
            work();
        })?;
        self.running.push(name);
        Ok(())
    }

    /// The next one that ends. For ever, when none runs.
    pub async fn next_end(&mut self) -> String {
        // We hold a sender, so the channel never closes.
        let Some(ended) = self.ended.recv().await else {
            return std::future::pending().await;
        };
        self.running.retain(|running| *running != ended);
        ended
    }

    /// Waits until this one has ended.
    pub async fn join(&mut self, name: &str) {
        while self.running.iter().any(|running| running == name) {
            self.next_end().await;
        }
    }
}

/// Reports when dropped.
struct End(String, mpsc::Sender<String>);

impl Drop for End {
    fn drop(&mut self) {
        if self.1.try_send(self.0.clone()).is_err() {
            tracing::debug!(name = self.0, "nobody waits for this thread any more");
        }
    }
}
