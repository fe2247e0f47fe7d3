//! Against a scripted Kafka.

use std::collections::VecDeque;
use std::sync::Mutex;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::*;
use crate::message::Seq;
use crate::settings::Rate;
use crate::sink::Allowance;
use crate::sink::producer::{Committed, Report, TransactionError};

/// What Kafka does, and what it got.
#[derive(Debug, Default)]
struct Script {
    /// Whether it has the topic; there when nothing is said.
    topics: VecDeque<TopicState>,
    /// What becomes of records; stored when nothing is said.
    outcomes: VecDeque<Result<(), Code>>,
    reports: Vec<Report>,
    got: Vec<Arc<KafkaRecord>>,
    producers: usize,
}

#[derive(Debug, Clone, Default)]
struct Kafka(Arc<Mutex<Script>>);

impl Kafka {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("nobody panics")
    }

    /// Records that it got, and producers that were made.
    fn counts(&self) -> (usize, usize) {
        let script = self.script();
        (script.got.len(), script.producers)
    }
}

impl Connector for Kafka {
    type Producer = Self;

    fn connect(&mut self) -> Result<Self, String> {
        self.script().producers += 1;
        Ok(self.clone())
    }
}

impl Producer for Kafka {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        _partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        let mut script = self.script();
        let outcome = script.outcomes.pop_front().unwrap_or(Ok(()));
        script.got.push(Arc::clone(record));
        let topic = record.topic.clone();
        script.reports.push(Report {
            ticket,
            topic,
            outcome,
        });
        Ok(())
    }

    fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.script().reports)
    }

    fn trouble(&mut self) -> Option<Code> {
        None
    }

    fn take_over(&mut self, _patience: Duration) -> Result<Committed, TransactionError> {
        Ok(Committed::default())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        Ok(())
    }

    fn commit(&mut self, _cursor: Seq, _patience: Duration) -> Result<(), TransactionError> {
        Ok(())
    }

    fn abort(&mut self, _patience: Duration) {}

    fn topic_state(&mut self, _topic: &str, _patience: Duration) -> TopicState {
        let next = self.script().topics.pop_front();
        next.unwrap_or(TopicState::Present { partitions: 1 })
    }
}

const INTERVAL: Duration = Duration::from_mins(1);

fn teller(kafka: &Kafka, gate: Gate, monitor: &Arc<TellMonitor>) -> Teller<Kafka> {
    let words = |is_last| {
        if is_last {
            b"stopped".to_vec()
        } else {
            b"online".to_vec()
        }
    };
    let names = ("status".to_owned(), "gw-7".to_owned());
    Teller::new(
        names,
        INTERVAL,
        Box::new(words),
        kafka.clone(),
        gate,
        Arc::clone(monitor),
    )
}

#[test]
fn the_state_is_told_with_the_gateway_as_its_key_and_once_each_interval() {
    let kafka = Kafka::default();
    let mut teller = teller(&kafka, Gate::default(), &Arc::default());
    assert_eq!([teller.step(), teller.step()], [INTERVAL; 2]);
    let script = kafka.script();
    assert_eq!((script.got.len(), script.producers), (2, 1));
    let record = &script.got[0];
    assert_eq!(
        (record.topic.as_str(), record.key.as_str(), &record.payload[..]),
        ("status", "gw-7", &b"online"[..])
    );
    assert_eq!(record.header(headers::GATEWAY), Some("gw-7"));
}

#[test]
fn while_kafka_is_away_nothing_gathers_and_pauses_grow() {
    let kafka = Kafka::default();
    kafka.script().topics = vec![TopicState::Unreachable(Code::AllBrokersDown); 5].into();
    let mut teller = teller(&kafka, Gate::default(), &Arc::default());
    let pauses = [1, 2, 4, 5, 5].map(|minutes| INTERVAL * minutes);
    assert_eq!(pauses.map(|_| teller.step()), pauses);
    assert!(kafka.script().got.is_empty());
    assert_eq!(teller.step(), INTERVAL);
    assert_eq!(kafka.counts(), (1, 1));
    assert_eq!(teller.pause, INTERVAL, "all is forgotten");
}

#[test]
fn a_record_that_fails_costs_the_producer_and_is_not_sent_again() {
    let kafka = Kafka::default();
    kafka
        .script()
        .outcomes
        .push_back(Err(Code::TopicAuthorizationFailed));
    let mut teller = teller(&kafka, Gate::default(), &Arc::default());
    teller.step();
    teller.step();
    assert_eq!(kafka.counts(), (2, 2));
}

#[test]
fn while_data_uses_up_the_rate_the_state_waits() {
    let allowance = Arc::new(Allowance::new(Rate::Messages(1)));
    let (mut data, mut last) = (Gate::default(), Gate::default());
    data.join(&allowance, "default", 1);
    last.join_last(&allowance);
    let kafka = Kafka::default();
    let mut teller = teller(&kafka, last, &Arc::default());
    teller.step();
    assert_eq!(kafka.counts().0, 1);
    // Now the data has something to send all the time.
    let heaviest = Arc::clone(&kafka.script().got[0]);
    data.charge(&heaviest);
    assert!(!data.is_open(Instant::now()));
    let wait = teller.step();
    assert_eq!(kafka.counts().0, 1, "its part is used up");
    assert_eq!(wait, INTERVAL, "a hundredth of one a second");
}

#[test]
fn a_stop_says_a_last_word_where_somebody_hears_it() {
    let kafka = Kafka::default();
    let monitor = Arc::default();
    let mut heard = teller(&kafka, Gate::default(), &monitor);
    heard.step();
    monitor.stop();
    heard.run();
    assert_eq!(&kafka.script().got[1].payload[..], b"stopped");
    let away = Kafka::default();
    teller(&away, Gate::default(), &monitor).run();
    assert_eq!(away.counts(), (0, 0));
}

#[test]
fn who_is_followed_by_another_one_says_no_last_word() {
    let kafka = Kafka::default();
    let monitor: Arc<TellMonitor> = Arc::default();
    let mut heard = teller(&kafka, Gate::default(), &monitor);
    heard.step();
    monitor.hand_over();
    heard.run();
    assert_eq!(kafka.script().got.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn kafka_that_comes_and_goes_for_an_hour_leaves_dozens_of_lines_about_the_state() {
    let mut outages = Outages::default();
    let mut lines = 0;
    for second in 0..3600 {
        lines += crate::ops::events::heard(|| match second % 2 {
            0 => failed(&mut outages, "state", "no route"),
            _ => recovered(&mut outages, "state"),
        });
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((2..=30).contains(&lines), "{lines}");
}
