//! What a Kafka error means for the pipeline. Pure, and complete: the match is over librdkafka's own enumeration and has no
//! arm for "any other", so a librdkafka with a new code does not compile until somebody has thought about it.
//! `docs/delivery.md` lists every code with its verdict; a test compares.
//!
//! There is no verdict "make the client anew": whenever something is sent again it is by a new client, because the
//! guarantees (idempotence, no gaps) end with the old one.

use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr as Raw};

/// The reaction to a record that Kafka did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The client retries by itself for as long as it takes; seen as trouble of the connection only. Should a record fail
    /// with it all the same, it is as [`Verdict::Rewind`].
    Wait,
    /// Nothing is wrong with the record: new producer, back to the cursor, send again.
    Rewind,
    /// Somebody has to change something (topic, permission, password, certificate): hold everything, alarm,
    /// try again now and then. Never drop.
    Hold,
    /// One record of the batch may never be accepted: send one by one to find out which.
    Suspect,
    /// The record's time is not one that the topic takes.
    Untimely,
    /// Another instance has taken the place of this producer. A merely idempotent one gets a new place: as
    /// [`Verdict::Rewind`]. With a transactional id it means another gateway with the same identity.
    Fenced,
    /// Only a consequence of another error: says nothing by itself.
    Echo,
}

/// The verdict on a failed record.
#[must_use]
pub fn verdict(code: Code) -> Verdict {
    // Both enumerations are made from the same header; a test goes over all of them.
    Raw::try_from(code as i32).map_or(Verdict::Rewind, of_raw)
}

/// Whether the error says that the topic is not there, rather than that it may not be used.
#[must_use]
pub const fn is_absence(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId
    )
}

#[expect(
    clippy::too_many_lines,
    reason = "a table: a line for each code, complete on purpose"
)]
const fn of_raw(raw: Raw) -> Verdict {
    match raw {
        // What the client says of itself.
        Raw::RD_KAFKA_RESP_ERR__TRANSPORT
        | Raw::RD_KAFKA_RESP_ERR__RESOLVE
        | Raw::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | Raw::RD_KAFKA_RESP_ERR__TIMED_OUT
        | Raw::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | Raw::RD_KAFKA_RESP_ERR__QUEUE_FULL
        | Raw::RD_KAFKA_RESP_ERR__ISR_INSUFF
        | Raw::RD_KAFKA_RESP_ERR__NODE_UPDATE
        | Raw::RD_KAFKA_RESP_ERR__WAIT_COORD
        | Raw::RD_KAFKA_RESP_ERR__IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR__WAIT_CACHE
        | Raw::RD_KAFKA_RESP_ERR__INTR
        | Raw::RD_KAFKA_RESP_ERR__RETRY
        | Raw::RD_KAFKA_RESP_ERR__UNKNOWN_BROKER
        | Raw::RD_KAFKA_RESP_ERR__DESTROY_BROKER
        // A cluster that is being moved, started, overloaded or short of replicas.
        | Raw::RD_KAFKA_RESP_ERR_INVALID_MSG
        | Raw::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        | Raw::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
        | Raw::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_STALE_CTRL_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
        | Raw::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        | Raw::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | Raw::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | Raw::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
        | Raw::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER
        | Raw::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS
        | Raw::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
        | Raw::RD_KAFKA_RESP_ERR_REASSIGNMENT_IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_STALE_BROKER_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE
        | Raw::RD_KAFKA_RESP_ERR_ELECTION_NOT_NEEDED
        | Raw::RD_KAFKA_RESP_ERR_NO_REASSIGNMENT_IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
        | Raw::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED
        | Raw::RD_KAFKA_RESP_ERR_REBOOTSTRAP_REQUIRED => Verdict::Wait,

        // Somebody has to make the topic, or to say which one is meant.
        Raw::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
        | Raw::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
        // Permissions.
        | Raw::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        // Passwords, certificates, tokens, files.
        | Raw::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | Raw::RD_KAFKA_RESP_ERR__SSL
        | Raw::RD_KAFKA_RESP_ERR__FS
        | Raw::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | Raw::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE
        | Raw::RD_KAFKA_RESP_ERR_SECURITY_DISABLED
        | Raw::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTH_DISABLED
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_OWNER_MISMATCH
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED
        | Raw::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_EXPIRED
        | Raw::RD_KAFKA_RESP_ERR_INVALID_PRINCIPAL_TYPE
        | Raw::RD_KAFKA_RESP_ERR_UNACCEPTABLE_CREDENTIAL
        | Raw::RD_KAFKA_RESP_ERR_PRINCIPAL_DESERIALIZATION_FAILURE
        // Settings of ours and of the cluster that do not fit each other.
        | Raw::RD_KAFKA_RESP_ERR__INVALID_ARG
        | Raw::RD_KAFKA_RESP_ERR__UNKNOWN_PROTOCOL
        | Raw::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | Raw::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | Raw::RD_KAFKA_RESP_ERR__NOT_CONFIGURED
        | Raw::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE
        | Raw::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS
        | Raw::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID
        | Raw::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE
        | Raw::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
        | Raw::RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | Raw::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
        | Raw::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        | Raw::RD_KAFKA_RESP_ERR_LOG_DIR_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
        | Raw::RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED => Verdict::Hold,

        // The record itself, or the batch that it came in.
        Raw::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        | Raw::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
        | Raw::RD_KAFKA_RESP_ERR_INVALID_RECORD => Verdict::Suspect,

        Raw::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP => Verdict::Untimely,

        Raw::RD_KAFKA_RESP_ERR__FENCED
        | Raw::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_PRODUCER_FENCED => Verdict::Fenced,

        // Records behind a failed one, handed back unsent, or refused together with it.
        Raw::RD_KAFKA_RESP_ERR__DESTROY
        | Raw::RD_KAFKA_RESP_ERR__PURGE_QUEUE
        | Raw::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        | Raw::RD_KAFKA_RESP_ERR__FATAL
        | Raw::RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE
        | Raw::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD
        | Raw::RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED => Verdict::Echo,

        // The producer's state on the cluster is lost or out of step, in or out of a transaction: a new one has none.
        Raw::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID
        | Raw::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING
        | Raw::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE
        | Raw::RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED
        | Raw::RD_KAFKA_RESP_ERR__STATE
        | Raw::RD_KAFKA_RESP_ERR__INCONSISTENT
        // The topic was made anew with fewer partitions: they are counted again.
        | Raw::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        // An answer that cannot be read, or a client that cannot go on, says nothing about the record.
        | Raw::RD_KAFKA_RESP_ERR__BAD_MSG
        | Raw::RD_KAFKA_RESP_ERR__BAD_COMPRESSION
        | Raw::RD_KAFKA_RESP_ERR__FAIL
        | Raw::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE
        | Raw::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | Raw::RD_KAFKA_RESP_ERR__CONFLICT
        | Raw::RD_KAFKA_RESP_ERR__OUTDATED
        | Raw::RD_KAFKA_RESP_ERR__PARTIAL
        | Raw::RD_KAFKA_RESP_ERR__READ_ONLY
        | Raw::RD_KAFKA_RESP_ERR__NOENT
        | Raw::RD_KAFKA_RESP_ERR__UNDERFLOW
        | Raw::RD_KAFKA_RESP_ERR__INVALID_TYPE
        | Raw::RD_KAFKA_RESP_ERR__APPLICATION
        | Raw::RD_KAFKA_RESP_ERR__NOOP
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN
        | Raw::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
        | Raw::RD_KAFKA_RESP_ERR_INVALID_REQUEST
        // Groups: the cursor of a transaction belongs to one, without members. A new client knows nothing of the old one's.
        | Raw::RD_KAFKA_RESP_ERR__UNKNOWN_GROUP
        | Raw::RD_KAFKA_RESP_ERR__EXISTING_SUBSCRIPTION
        | Raw::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        | Raw::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
        | Raw::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED
        | Raw::RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST
        | Raw::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
        | Raw::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
        | Raw::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | Raw::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | Raw::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP
        | Raw::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED
        | Raw::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
        | Raw::RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC
        | Raw::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID
        | Raw::RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR
        | Raw::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH
        // Reading, administration and telemetry: never the answer to a record.
        | Raw::RD_KAFKA_RESP_ERR__PARTITION_EOF
        | Raw::RD_KAFKA_RESP_ERR__NO_OFFSET
        | Raw::RD_KAFKA_RESP_ERR__KEY_SERIALIZATION
        | Raw::RD_KAFKA_RESP_ERR__VALUE_SERIALIZATION
        | Raw::RD_KAFKA_RESP_ERR__KEY_DESERIALIZATION
        | Raw::RD_KAFKA_RESP_ERR__VALUE_DESERIALIZATION
        | Raw::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | Raw::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | Raw::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        | Raw::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
        | Raw::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | Raw::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
        | Raw::RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT
        | Raw::RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH
        | Raw::RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED
        | Raw::RD_KAFKA_RESP_ERR_RESOURCE_NOT_FOUND
        | Raw::RD_KAFKA_RESP_ERR_DUPLICATE_RESOURCE
        | Raw::RD_KAFKA_RESP_ERR_INCONSISTENT_VOTER_SET
        | Raw::RD_KAFKA_RESP_ERR_INVALID_UPDATE_VERSION
        | Raw::RD_KAFKA_RESP_ERR_FEATURE_UPDATE_FAILED
        | Raw::RD_KAFKA_RESP_ERR_UNKNOWN_SUBSCRIPTION_ID
        | Raw::RD_KAFKA_RESP_ERR_TELEMETRY_TOO_LARGE
        // No errors: ends of ranges in the header, and success.
        | Raw::RD_KAFKA_RESP_ERR__BEGIN
        | Raw::RD_KAFKA_RESP_ERR__END
        | Raw::RD_KAFKA_RESP_ERR_NO_ERROR
        | Raw::RD_KAFKA_RESP_ERR_END_ALL => Verdict::Rewind,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Wider than all codes of librdkafka (−200 to 130), so that new ones are seen.
    const RANGE: std::ops::RangeInclusive<i32> = -1_000..=10_000;

    fn all() -> impl Iterator<Item = (Code, Raw)> {
        let known = RANGE.filter_map(|number| Raw::try_from(number).ok());
        known.map(|raw| (Code::from(raw), raw))
    }

    /// Ends of ranges and success: no answer is one of them.
    const NO_ERRORS: [Code; 4] = [Code::Begin, Code::End, Code::NoError, Code::EndAll];

    #[test]
    fn every_code_is_the_same_in_both_enumerations_and_has_its_own_verdict() {
        for (code, raw) in all() {
            assert_eq!(code as i32, raw as i32, "{code:?}");
            assert_eq!(verdict(code), of_raw(raw), "{code:?}");
        }
        assert!(all().count() >= 171, "{} codes", all().count());
    }

    #[test]
    fn delivery_md_lists_every_code_with_its_verdict_and_nothing_else() {
        let mut expected: BTreeMap<String, Verdict> = BTreeMap::new();
        for (code, _) in all().filter(|(code, _)| !NO_ERRORS.contains(code)) {
            assert!(expected.insert(format!("{code:?}"), verdict(code)).is_none());
        }
        let listed = listed();
        for (name, verdict) in &expected {
            let said = listed.get(name);
            assert_eq!(
                said,
                Some(verdict),
                "docs/delivery.md: `{name}` belongs to {verdict:?}\n{}",
                generated(&expected)
            );
        }
        for name in listed.keys() {
            assert!(
                expected.contains_key(name),
                "docs/delivery.md: `{name}` is no code of librdkafka"
            );
        }
    }

    /// Codes by name as the document has them: one item `* **verdict**: names` for each verdict.
    fn listed() -> BTreeMap<String, Verdict> {
        let document = include_str!("../../docs/delivery.md");
        let (_, section) = document
            .split_once("### All codes\n")
            .expect("the section is there");
        let section = section.split("\n#").next().unwrap_or_default();
        let mut listed = BTreeMap::new();
        for item in section.split("\n* **").skip(1) {
            let (name, codes) = item.split_once("**").expect("`* **verdict**: codes`");
            let verdict = named(name);
            for code in codes.split('`').skip(1).step_by(2) {
                let before = listed.insert(code.to_owned(), verdict);
                assert!(before.is_none(), "docs/delivery.md: `{code}` is there twice");
            }
        }
        listed
    }

    fn named(name: &str) -> Verdict {
        let verdicts = [
            Verdict::Wait,
            Verdict::Rewind,
            Verdict::Hold,
            Verdict::Suspect,
            Verdict::Untimely,
            Verdict::Fenced,
            Verdict::Echo,
        ];
        let found = verdicts
            .into_iter()
            .find(|verdict| format!("{verdict:?}").to_lowercase() == name);
        found.unwrap_or_else(|| panic!("docs/delivery.md: {name} is no verdict"))
    }

    /// What the document should say, to be copied.
    fn generated(expected: &BTreeMap<String, Verdict>) -> String {
        let mut groups: BTreeMap<Verdict, Vec<String>> = BTreeMap::new();
        for (name, verdict) in expected {
            groups.entry(*verdict).or_default().push(format!("`{name}`"));
        }
        let lines = groups.iter().map(|(verdict, names)| {
            let verdict = format!("{verdict:?}").to_lowercase();
            format!("* **{verdict}**: {}\n", names.join(", "))
        });
        lines.collect()
    }

    #[test]
    fn an_answer_that_cannot_be_read_says_nothing_about_the_record() {
        assert_eq!(verdict(Code::BadMessage), Verdict::Rewind);
    }

    #[test]
    fn what_a_person_has_to_put_right_is_held() {
        for code in [
            Code::TopicAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::SaslAuthenticationFailed,
            Code::SSL,
            Code::UnknownTopicOrPartition,
        ] {
            assert_eq!(verdict(code), Verdict::Hold, "{code:?}");
        }
    }
}
