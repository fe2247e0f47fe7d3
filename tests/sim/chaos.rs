//! What can go wrong, and for how long.

use crate::coverage::State;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    // The process.
    Kill,
    KillAtPoint,
    PowerCut,
    PowerCutAtPoint,
    OrderlyStop,
    ClockIsSet,
    // The store.
    AppendFails,
    AppendTorn,
    SyncFails,
    DiskFull,
    ReadFails,
    SlowDisk,
    SmallFilesFail,
    // MQTT.
    ConnectionCut,
    PubacksLost,
    BrokerRestart,
    BrokerCountsAnew,
    SessionLost,
    BrokerHangs,
    BrokerRefuses,
    FilterRefused,
    TakenOver,
    // Kafka.
    KafkaCut,
    KafkaDown,
    KafkaHangs,
    LateAnswers,
    LeaderMoves,
    NoLeader,
    FewReplicas,
    StoredButFewReplicas,
    Denied,
    ClientFull,
    ProducerFenced,
    TopicMade,
    CommitUnknownDone,
    CommitUnknownNotDone,
    CommitRefused,
    CoordinatorAway,
    TransactionExpires,
}

/// What has to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    Fault(Fault),
    /// Of the broker with this number.
    Broker(usize, Fault),
}

impl Fault {
    pub const ALL: [Self; 39] = [
        Self::Kill,
        Self::KillAtPoint,
        Self::PowerCut,
        Self::PowerCutAtPoint,
        Self::OrderlyStop,
        Self::ClockIsSet,
        Self::AppendFails,
        Self::AppendTorn,
        Self::SyncFails,
        Self::DiskFull,
        Self::ReadFails,
        Self::SlowDisk,
        Self::SmallFilesFail,
        Self::ConnectionCut,
        Self::PubacksLost,
        Self::BrokerRestart,
        Self::BrokerCountsAnew,
        Self::SessionLost,
        Self::BrokerHangs,
        Self::BrokerRefuses,
        Self::FilterRefused,
        Self::TakenOver,
        Self::KafkaCut,
        Self::KafkaDown,
        Self::KafkaHangs,
        Self::LateAnswers,
        Self::LeaderMoves,
        Self::NoLeader,
        Self::FewReplicas,
        Self::StoredButFewReplicas,
        Self::Denied,
        Self::ClientFull,
        Self::ProducerFenced,
        Self::TopicMade,
        Self::CommitUnknownDone,
        Self::CommitUnknownNotDone,
        Self::CommitRefused,
        Self::CoordinatorAway,
        Self::TransactionExpires,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::KillAtPoint => "SIGKILL at a point",
            Self::PowerCut => "power cut",
            Self::PowerCutAtPoint => "power cut at a point",
            Self::OrderlyStop => "orderly stop",
            Self::ClockIsSet => "clock is set",
            Self::AppendFails => "append fails",
            Self::AppendTorn => "append fails halfway",
            Self::SyncFails => "sync fails",
            Self::DiskFull => "disk full",
            Self::ReadFails => "read fails",
            Self::SlowDisk => "slow disk",
            Self::SmallFilesFail => "small files fail",
            Self::ConnectionCut => "connection cut",
            Self::PubacksLost => "PUBACKs lost",
            Self::BrokerRestart => "broker restarts",
            Self::BrokerCountsAnew => "broker counts ids anew",
            Self::SessionLost => "session lost",
            Self::BrokerHangs => "broker hangs",
            Self::BrokerRefuses => "broker refuses",
            Self::FilterRefused => "filter refused",
            Self::TakenOver => "session taken over",
            Self::KafkaCut => "Kafka link cut",
            Self::KafkaDown => "Kafka down",
            Self::KafkaHangs => "Kafka hangs",
            Self::LateAnswers => "late answers",
            Self::LeaderMoves => "leader moves",
            Self::NoLeader => "no leader",
            Self::FewReplicas => "few replicas",
            Self::StoredButFewReplicas => "stored, few replicas",
            Self::Denied => "topic denied",
            Self::ClientFull => "client full",
            Self::ProducerFenced => "producer id refused",
            Self::TopicMade => "topic made anew",
            Self::CommitUnknownDone => "commit unknown, done",
            Self::CommitUnknownNotDone => "commit unknown, not done",
            Self::CommitRefused => "commit refused",
            Self::CoordinatorAway => "coordinator away",
            Self::TransactionExpires => "transaction expires",
        }
    }

    /// Whether it only means something to a lane that delivers exactly once.
    pub const fn is_of_transactions(self) -> bool {
        matches!(
            self,
            Self::CommitUnknownDone
                | Self::CommitUnknownNotDone
                | Self::CommitRefused
                | Self::CoordinatorAway
                | Self::TransactionExpires
        )
    }

    /// Whether it can come while the pipeline is so: a process that is down cannot be killed.
    pub const fn is_possible_in(self, state: State) -> bool {
        let needs_process = matches!(
            self,
            Self::Kill | Self::KillAtPoint | Self::OrderlyStop | Self::PowerCutAtPoint
        );
        // Where a lane delivers exactly once, records are under way within a transaction.
        if self.is_of_transactions() && matches!(state, State::UnderWay) {
            return false;
        }
        !(needs_process && matches!(state, State::Down | State::Stopping))
            || matches!(
                (self, state),
                (
                    Self::Kill | Self::KillAtPoint | Self::PowerCutAtPoint,
                    State::Stopping
                )
            )
    }
}
