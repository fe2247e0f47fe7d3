//! librdkafka properties that cannot be passed through.
//!
//! The names are all those of librdkafka 2.12, `CONFIGURATION.md`, aliases included: an alias that is missing
//! here would open the door that its other name closes.

/// Why some properties are refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    names: &'static [&'static str],
    /// Which promise they would break, or what else goes wrong.
    pub(super) breaks: &'static str,
    /// What to do instead.
    pub(super) instead: &'static str,
}

/// The rule that refuses the property.
pub(super) fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.names.contains(&name))
}

/// Why those are refused that hold secrets.
const SECRET: &str = "is a secret, and secrets come from files";

/// Whether the value of the property is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    rule(name).is_some_and(|rule| rule.breaks == SECRET)
}

/// Whether the property is of use only where librdkafka fetches tokens itself.
pub(super) fn is_oidc(name: &str) -> bool {
    OIDC.contains(&name)
}

/// librdkafka 2.12, `CONFIGURATION.md`: "Only used when `sasl.oauthbearer.method` is set to "oidc"", without those that hold
/// secrets.
const OIDC: [&str; 5] = [
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.grant.type",
];

const FIXED: &str = "leave it out, edgeferry sets it";

const RULES: &[Rule] = &[
    Rule {
        names: &["acks", "request.required.acks"],
        breaks: "breaks the promise that a confirmed message is in Kafka: it is always acks=all",
        instead: FIXED,
    },
    Rule {
        names: &["enable.idempotence"],
        breaks: "breaks the order and adds duplicates on retries: the producer is always idempotent",
        instead: FIXED,
    },
    Rule {
        names: &["enable.gapless.guarantee"],
        breaks: "breaks the order when a record fails: later ones would overtake it",
        instead: FIXED,
    },
    Rule {
        names: &["max.in.flight", "max.in.flight.requests.per.connection"],
        breaks: "breaks the order: more than 5 requests in flight can be stored in another one",
        instead: FIXED,
    },
    Rule {
        names: &["message.timeout.ms", "delivery.timeout.ms"],
        breaks: "breaks the promise that nothing is lost: records would be given up after a while",
        instead: "leave it out, records wait in the queue for as long as it takes",
    },
    Rule {
        names: &["message.send.max.retries", "retries"],
        breaks: "breaks the promise that nothing is lost: records would be given up after some retries",
        instead: "leave it out, edgeferry retries for as long as it takes",
    },
    Rule {
        names: &["transactional.id", "transaction.timeout.ms"],
        breaks: "breaks the fencing between gateways: transactions belong to delivery = \"exactly-once\"",
        instead: FIXED,
    },
    Rule {
        names: &["partitioner", "partitioner_cb"],
        breaks: "breaks the order per device: its records would change the partition",
        instead: "use kafka.partitioner: \"murmur2\" (default) is Java's, \"crc32\" is librdkafka's own",
    },
    Rule {
        names: &["queuing.strategy", "msg_order_cmp"],
        breaks: "breaks the order: records leave in the order in which they arrived",
        instead: FIXED,
    },
    Rule {
        names: &["allow.auto.create.topics"],
        breaks: "a mistyped topic would be made with the cluster's defaults instead of being reported",
        instead: "create the topics with the partitions and replicas that they need",
    },
    Rule {
        names: &["bootstrap.servers", "metadata.broker.list"],
        breaks: "has a setting of its own",
        instead: "use kafka.bootstrap_servers",
    },
    Rule {
        names: &["queue.buffering.max.messages", "queue.buffering.max.kbytes"],
        breaks: "breaks the bound on memory: records wait in the queue on disk",
        instead: FIXED,
    },
    Rule {
        names: &["compression.codec", "compression.type"],
        breaks: "has a setting of its own",
        instead: "use kafka.compression",
    },
    Rule {
        names: &["delivery.report.only.error"],
        breaks: "breaks the promise that nothing is lost: only delivery reports let a message leave the queue",
        instead: FIXED,
    },
    Rule {
        names: &["test.mock.num.brokers", "test.mock.broker.rtt"],
        breaks: "breaks the promise that nothing is lost: records would go to a cluster in memory",
        instead: "use `edgeferry demo` to try edgeferry without a cluster",
    },
    Rule {
        names: &["plugin.library.paths", "interceptors"],
        breaks: "breaks every promise: foreign code could change or drop records",
        instead: "leave it out",
    },
    Rule {
        names: &["enable.ssl.certificate.verification"],
        breaks: "breaks the promise that a confirmed message is in Kafka: whoever is in the middle could confirm it",
        instead: "use kafka.ca_file for a CA of your own",
    },
    Rule {
        names: &["ssl.engine.location", "ssl.engine.id", "ssl.providers"],
        breaks: "breaks every promise: foreign code could read the key and let anybody be Kafka",
        instead: "leave it out",
    },
    Rule {
        names: &[
            "dr_cb",
            "dr_msg_cb",
            "error_cb",
            "throttle_cb",
            "stats_cb",
            "log_cb",
            "background_event_cb",
            "socket_cb",
            "connect_cb",
            "closesocket_cb",
            "open_cb",
            "resolve_cb",
            "consume_cb",
            "rebalance_cb",
            "offset_commit_cb",
            "oauthbearer_token_refresh_cb",
            "ssl.certificate.verify_cb",
            "opaque",
            "enabled_events",
            "default_topic_conf",
            "ssl_key",
            "ssl_certificate",
            "ssl_ca",
            "ssl_engine_callback_data",
        ],
        breaks: "is set by code, not by text",
        instead: "leave it out",
    },
    Rule {
        names: &["sasl.password"],
        breaks: SECRET,
        instead: "use kafka.password_file",
    },
    Rule {
        names: &["ssl.key.password", "ssl.key.pem"],
        breaks: SECRET,
        instead: "use kafka.key_file and kafka.key_password_file",
    },
    Rule {
        names: &["ssl.keystore.password"],
        breaks: SECRET,
        instead: "use kafka.cert_file and kafka.key_file instead of a keystore",
    },
    Rule {
        names: &[
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
        ],
        breaks: SECRET,
        instead: "use kafka.sasl with kafka.password_file or kafka.token_file, or a client certificate",
    },
    Rule {
        names: &[
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
        ],
        breaks: SECRET,
        instead: "use sasl = \"oauthbearer\" with kafka.token_file, a file that another program keeps fresh",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Both names are refused, and for the same reason.
    fn check(alias: &str, name: &str) {
        assert!(rule(name).is_some(), "{name}");
        assert_eq!(rule(alias), rule(name), "{alias}");
    }

    #[test]
    fn an_alias_is_refused_like_its_name() {
        check("bootstrap.servers", "metadata.broker.list");
        check("max.in.flight", "max.in.flight.requests.per.connection");
        check(
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.client.secret",
        );
        check("retries", "message.send.max.retries");
        check("compression.type", "compression.codec");
        check("acks", "request.required.acks");
        check("delivery.timeout.ms", "message.timeout.ms");
    }

    #[test]
    fn no_property_has_two_rules() {
        let mut names: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn harmless_properties_pass() {
        for name in [
            "linger.ms",
            "client.id",
            "ssl.ca.location",
            "security.protocol",
            "sasl.username",
        ] {
            assert_eq!(rule(name), None, "{name}");
        }
    }
}
