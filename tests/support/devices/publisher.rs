//! One connection with some devices behind it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::v4::Packet;
use rumqttc::{Publish, QoS};

use super::Plan;
use super::sent::{Sending, Sent, fill};
use crate::support::mqtt::Link;
use crate::support::wait;
use crate::support::wait::wall_clock;

/// Unacknowledged messages per connection: enough to keep a broker busy.
const WINDOW: usize = 500;
/// How long one look for a PUBACK takes at most when nothing else is due.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a device tries to reach its broker before the test has plainly failed.
const CONNECT_LIMIT: Duration = Duration::from_mins(5);

/// A message that waits for its PUBACK.
#[derive(Debug)]
struct Pending {
    packet_id: u16,
    device: String,
    seq: u64,
}

/// The loop of one connection: everything in order, and in order again after a reconnect.
#[derive(Debug)]
pub(super) struct Publisher {
    port: u16,
    client_id: String,
    plan: Plan,
    /// Devices of this connection, and how many messages each has published.
    devices: Vec<(String, u64)>,
    published: u64,
    started: Instant,
    pending: VecDeque<Pending>,
    last_packet_id: u16,
    sent: Sent,
    finish: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Publisher {
    pub(super) fn new(
        port: u16,
        plan: &Plan,
        index: usize,
        finish: Arc<AtomicBool>,
        acked: Arc<AtomicU64>,
    ) -> Self {
        let numbers = (index..plan.devices).step_by(plan.connections);
        Self {
            port,
            client_id: format!("device-hub-{}{index}", plan.prefix),
            plan: plan.clone(),
            devices: numbers
                .map(|number| (format!("{}{number}", plan.prefix), 0))
                .collect(),
            published: 0,
            started: Instant::now(),
            pending: VecDeque::new(),
            last_packet_id: 0,
            sent: Sent {
                topic: plan.topic.into(),
                ..Sent::new()
            },
            finish,
            acked,
        }
    }

    /// Publishes until there is no more to publish and all of it is acknowledged.
    pub(super) fn run(mut self) -> Sent {
        loop {
            let mut link = wait::until("a device reaches its broker", CONNECT_LIMIT, || {
                Link::connect(self.port, &self.client_id, !self.plan.persistent).ok()
            });
            // An error is a broken connection: the scenario, not a failure.
            if self.serve(&mut link).is_ok() {
                return self.sent;
            }
        }
    }

    fn serve(&mut self, link: &mut Link) -> io::Result<()> {
        self.resend(link)?;
        loop {
            let due_in = self.publish_due(link)?;
            if due_in.is_none() && self.pending.is_empty() {
                return Ok(());
            }
            let mut packet = link.receive(due_in.unwrap_or(GLANCE).min(GLANCE))?;
            // Take all that is there before publishing again, so that packets go out in groups.
            while let Some(Packet::PubAck(ack)) = packet {
                self.take_ack(ack.pkid);
                packet = if self.pending.len() > WINDOW / 2 {
                    link.receive(Duration::ZERO)?
                } else {
                    None
                };
            }
        }
    }

    /// Sends again what the last connection left unacknowledged, in the same order.
    fn resend(&mut self, link: &mut Link) -> io::Result<()> {
        for Pending {
            packet_id,
            device,
            seq,
        } in &self.pending
        {
            let log = self.sent.devices.get_mut(device).expect("it was sent before");
            log.get_mut(seq).expect("it was sent before").times += 1;
            let mut publish = self.publish(device, *seq);
            publish.dup = true;
            publish.pkid = *packet_id;
            link.queue(&Packet::Publish(publish));
        }
        link.flush()
    }

    /// Publishes what is due as far as the window allows. Gives the time to the next message, or `None`
    /// when there will be none.
    fn publish_due(&mut self, link: &mut Link) -> io::Result<Option<Duration>> {
        let due_in = loop {
            let due_in = self.next_due();
            if due_in != Some(Duration::ZERO) {
                break due_in;
            }
            if self.pending.len() >= WINDOW {
                break Some(GLANCE);
            }
            self.publish_next(link);
        };
        link.flush()?;
        Ok(due_in)
    }

    fn next_due(&self) -> Option<Duration> {
        let share = self.plan.connections as u64;
        match self.plan.messages {
            Some(messages) if self.published >= messages / share => return None,
            None if self.finish.load(Ordering::Relaxed) => return None,
            _ => {}
        }
        let Some(rate) = self.plan.rate else {
            return Some(Duration::ZERO);
        };
        let due = Duration::from_micros(self.published * share * 1_000_000 / u64::from(rate));
        Some(due.saturating_sub(self.started.elapsed()))
    }

    fn publish_next(&mut self, link: &mut Link) {
        let turn = usize::try_from(self.published).expect("64 bits") % self.devices.len();
        self.published += 1;
        let (device, count) = &mut self.devices[turn];
        *count += 1;
        let (device, seq) = (device.clone(), *count);
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);

        let mut publish = self.publish(&device, seq);
        publish.pkid = self.last_packet_id;
        let sending = Sending {
            times: 1,
            first: wall_clock(),
            acked: false,
        };
        self.sent
            .devices
            .entry(device.clone())
            .or_default()
            .insert(seq, sending);
        self.pending.push_back(Pending {
            packet_id: self.last_packet_id,
            device,
            seq,
        });
        link.queue(&Packet::Publish(publish));
    }

    fn take_ack(&mut self, packet_id: u16) {
        let Some(index) = self
            .pending
            .iter()
            .position(|pending| pending.packet_id == packet_id)
        else {
            return;
        };
        let pending = self.pending.remove(index).expect("it was just found");
        let log = self.sent.devices.get_mut(&pending.device).expect("it was sent");
        log.get_mut(&pending.seq).expect("it was sent").acked = true;
        self.acked.fetch_add(1, Ordering::Relaxed);
    }

    fn publish(&self, device: &str, seq: u64) -> Publish {
        Publish::new(
            fill(&self.sent.topic, device, seq),
            QoS::AtLeastOnce,
            (self.plan.contents)(device, seq, self.plan.bytes),
        )
    }
}
