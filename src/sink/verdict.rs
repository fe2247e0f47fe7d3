//! What a Kafka error means for the pipeline. Pure.

use rdkafka::types::RDKafkaErrorCode as Code;

/// The reaction to a record that Kafka did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with the record: new producer, back to the cursor, send again.
    Rewind,
    /// Somebody has to change something (topic, permission, password, certificate): hold everything, alarm,
    /// try again now and then. Never drop.
    Hold,
    /// One record of the batch may never be accepted: send one by one to find out which.
    Suspect,
    /// Another instance with the lane's transactional id took over, or Kafka gave this one up after a long silence.
    Fenced,
    /// Only a consequence of another error: says nothing by itself.
    Echo,
}

/// The verdict on a failed record.
#[must_use]
pub fn verdict(code: Code) -> Verdict {
    match code {
        // The record itself, or the batch it came in.
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord => Verdict::Suspect,
        // A person has to act.
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::SecurityDisabled
        | Code::PolicyViolation
        | Code::InvalidTimestamp
        | Code::InvalidRequiredAcks
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType => Verdict::Hold,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Verdict::Fenced,
        // Records behind a failed one, handed back unsent.
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::GaplessGuarantee => Verdict::Echo,
        _ => Verdict::Rewind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_says_nothing_about_the_record() {
        assert_eq!(verdict(Code::BadMessage), Verdict::Rewind);
    }
}
