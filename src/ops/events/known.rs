//! Every line of the log at info level and above, and what a person can do about it. In one place: what the state and the page
//! advise is what docs/logs.md says, and a test holds both against the sources.

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    /// Its words.
    pub message: &'static str,
    /// The names of its fields.
    pub fields: &'static [&'static str],
    /// What to do. Empty where there is nothing to do: info.
    pub todo: &'static str,
}

/// What to do about a line with these words.
#[must_use]
pub fn advice(message: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|known| known.message == message)?;
    (!known.todo.is_empty()).then_some(known.todo)
}

const fn info(message: &'static str, fields: &'static [&'static str]) -> Known {
    Known {
        level: "info",
        message,
        fields,
        todo: "",
    }
}

const fn warn(message: &'static str, fields: &'static [&'static str], todo: &'static str) -> Known {
    Known {
        level: "warn",
        message,
        fields,
        todo,
    }
}

const fn error(message: &'static str, fields: &'static [&'static str], todo: &'static str) -> Known {
    Known {
        level: "error",
        message,
        fields,
        todo,
    }
}

const DISK: &str =
    "see whether data_dir has space and can be written (df, dmesg); edgeferry tries again by itself";
const DAMAGE: &str = "the disk is losing data: look at dmesg and change it soon; `edgeferry queue verify` says what is affected, `edgeferry queue salvage` reads what is set aside";
const BUG: &str = "please report it, with the lines around it";
const ONCE: &str = "nothing is lost; see whether data_dir can be written if it comes again";
const BROKER: &str = "see whether the broker runs and can be reached from here; nothing is lost as long as it keeps the session";
const REFUSED: &str = "put right what the reason names; no restart is needed";
const LETTERS: &str = "`edgeferry dead-letter ls` shows them, `edgeferry dead-letter redrive` puts them back when the cause is gone";
const CLOCK: &str = "see whether this gateway and Kafka's brokers have the right time (timedatectl)";
const RIGHT: &str = "correct the file: `edgeferry check` says what is wrong and what would be right";
const IDENTITY: &str =
    "nothing, if the card was moved on purpose; two gateways must never run on copies of one store";
const KEY: &str = "chmod 600 the file";
const OVERLOAD: &str = "raise the queue's max_bytes, or find out why Kafka takes less than what comes";
const LANE: &str =
    "write the table or the lane again if it was removed by mistake; otherwise nothing is to be done";

/// All of them, by the place that says them.
pub const KNOWN: &[Known] = &[
    // app/cursor_topic.rs
    warn("cannot note the lane's cursor topic", &["path", "error"], ONCE),
    // app/data_dir.rs
    warn("cannot note the format of data_dir", &["error"], ONCE),
    // app/forward.rs
    warn(
        "the forwarding of dead letters did not end in time",
        &[],
        "nothing is lost: letters that were under way are sent again",
    ),
    // app/hand.rs
    error("a queue writer panicked", &[], BUG),
    // app/keys.rs
    warn(
        "everybody on this machine may read this key file: chmod 600 it",
        &["path"],
        KEY,
    ),
    info("nothing needs this old key any more", &["lane", "path"]),
    // app/lane.rs
    warn(
        "a source did not stop in time; what it did not acknowledge will come again",
        &[],
        "nothing is lost; see whether the disk is slow",
    ),
    error(
        "a stage did not end in time",
        &["stage"],
        "nothing is lost; see whether the disk is slow (dmesg)",
    ),
    error("source ended", &["broker", "error"], BUG),
    warn(
        "no [[mqtt]] table has this name any more: its broker keeps the session, and what it has for it, until they expire",
        &["lane", "broker"],
        LANE,
    ),
    warn(
        "no topic for the cursor: what is left of this lane is delivered at least once",
        &["lane"],
        LANE,
    ),
    // app/letters.rs
    warn(
        "the dead letters of a lane that is no more cannot be opened",
        &["lane", "error"],
        DISK,
    ),
    // app/memory.rs
    warn(
        "cannot settle the allocator; the daemon takes more memory",
        &["error"],
        "nothing, unless memory is short",
    ),
    // app/mod.rs
    error(
        "stopped",
        &["error"],
        "what the error names; the exit code says whether a restart can help (docs/operations.md)",
    ),
    info("EDGEFERRY_LOG is set: it goes over [log] level", &[]),
    warn("in the configuration", &["mistake", "warning"], RIGHT),
    error("the configuration cannot be used", &["error"], RIGHT),
    info("running", &["version", "gateway", "epoch", "partitioner"]),
    info("stopping", &[]),
    // app/reload/mod.rs
    info("the configuration was read again", &["outcome"]),
    error("the configuration cannot be used", &["mistake", "in_full"], RIGHT),
    error("the configuration is not applied", &["outcome"], RIGHT),
    // app/routing.rs
    warn("cannot note the lane's routes", &["path", "error"], ONCE),
    // app/stages.rs
    info("the lane is empty, and was removed", &["lane"]),
    warn(
        "the lane is empty, but its folder cannot be removed; tried again at the next start",
        &["lane", "error"],
        "see whether data_dir can be written",
    ),
    info(
        "no route uses this lane any more: it is emptied, then removed",
        &["lane", "backlog"],
    ),
    error(
        "no route uses this lane any more, and it cannot be emptied",
        &["lane", "error"],
        "see what the error names; the other lanes go on",
    ),
    error(
        "no control socket: what was imported is not known",
        &["error"],
        DISK,
    ),
    error(
        "it is not known what became of an interrupted import",
        &["error"],
        "import the file again: what is there already is left out",
    ),
    warn(
        "no control socket: `edgeferry queue` and `edgeferry dead-letter` work on the stopped store only, and `edgeferry status` sees no daemon",
        &["path", "error"],
        "see whether data_dir can be written, and restart when convenient",
    ),
    // app/status.rs
    error(
        "the status is not told: its client id is that of a lane that is still being emptied; it is told from the next start on after that",
        &["broker", "lane"],
        "restart when that lane is empty",
    ),
    warn(
        "a broker did not hear in time that its status is told another way",
        &[],
        "nothing; it will say offline for a moment",
    ),
    warn(
        "a broker did not hear in time that the gateway stops; it will say offline",
        &[],
        "nothing",
    ),
    // app/telling.rs
    error(
        "the state is not told to the brokers: its client id is that of a lane that is still being emptied; it is told from the next start on after that",
        &["lane"],
        "restart when that lane is empty",
    ),
    warn(
        "not everybody heard in time that the gateway stops",
        &[],
        "nothing; brokers will say offline",
    ),
    // app/undo.rs
    error(
        "cannot put back what was noted for a configuration that is refused",
        &["path", "error"],
        "see what the error names, put the configuration right, and restart when convenient",
    ),
    // app/watch.rs
    error(
        "the pipeline does not move",
        &["lane", "motion", "untold"],
        "the service manager restarts it; if it comes again, report it with the lines around it",
    ),
    // identity.rs
    warn(
        "this store was made on other hardware (a cloned or moved card): new messages get a new epoch",
        &["old", "new"],
        IDENTITY,
    ),
    warn(
        "the store has lost its log: new messages get a new epoch",
        &["old", "new"],
        DAMAGE,
    ),
    error(
        "the store's identity is damaged: new messages get a new epoch",
        &["path"],
        DAMAGE,
    ),
    // ops/certificates.rs
    error(
        "a certificate has expired",
        &["of", "setting", "file", "end"],
        "renew it; a link that is made anew uses it without a restart, for Kafka say `systemctl reload edgeferry`",
    ),
    warn(
        "a certificate ends soon",
        &["of", "setting", "file", "end"],
        "renew it; a link that is made anew uses it without a restart, for Kafka say `systemctl reload edgeferry`",
    ),
    // ops/control/mod.rs
    warn(
        "a control connection did not end in time",
        &[],
        "nothing is lost; whoever asked gets no answer",
    ),
    warn(
        "a control connection is refused",
        &["error"],
        "run the command as the user of the daemon, or as root",
    ),
    // ops/events/mod.rs
    warn(
        "a line came so often that it was held back",
        &["held_back", "said"],
        "look at the line that it names",
    ),
    // ops/hand/letters/redrive.rs
    info("a redrive was interrupted", &["lane", "handed_over", "arrived"]),
    // ops/hand/mod.rs
    error(
        "it is not known what became of an interrupted redrive",
        &["error"],
        "redrive again: what arrived is left out as far as it is known",
    ),
    // ops/http/access.rs
    error(
        "http: nobody is answered, because there is no token",
        &["error"],
        "see whether the file with the token is there and edgeferry may read it; it is looked at again by itself",
    ),
    // ops/http/board.rs
    error("http: a state cannot be written as JSON", &["error"], BUG),
    // ops/http/mod.rs
    error(
        "http: cannot start; messages go on without it",
        &["error"],
        "see what the error names, and restart when convenient",
    ),
    error("http: the thread ended in disorder", &[], BUG),
    warn(
        "http: the thread looks at something that does not answer; it is left behind",
        &[],
        "look at `dmesg` and the medium of data_dir: it holds up whoever reads it",
    ),
    error(
        "http: the history of the page has a gap; it goes on",
        &["error"],
        BUG,
    ),
    info("http: page, metrics and health are here", &["address"]),
    warn(
        "http: the address cannot be had; messages go on, and it is tried again. If another program has it, write another listen = in [http], or \"off\"",
        &["address", "error"],
        "look who has the address (ss -ltnp)",
    ),
    // ops/logging.rs
    warn("the level of the log stays as it was", &["error"], BUG),
    warn(
        "EDGEFERRY_LOG cannot be read and does not count",
        &["error"],
        "write it as docs/logs.md says, for example info,edgeferry::source=debug",
    ),
    error("panicked", &["thread", "place", "text"], BUG),
    // queue/ballast.rs
    warn(
        "no room for the ballast: nothing is acknowledged until there is",
        &["bytes"],
        "make room on the file system of data_dir",
    ),
    warn(
        "the disk is full: the ballast is released, nothing is acknowledged",
        &[],
        "make room on the file system of data_dir; the brokers keep the data meanwhile",
    ),
    warn(
        "the disk is full, and somebody deleted the ballast",
        &[],
        "make room on the file system of data_dir",
    ),
    error("cannot release the ballast", &["error"], DISK),
    warn("cannot remove half a ballast", &["error"], DISK),
    // queue/drops.rs
    warn(
        "messages removed",
        &["first", "last", "messages", "since_last", "reason"],
        "it is what on_full or max_age says; raise max_bytes, or find out why Kafka takes less than what comes",
    ),
    // queue/generation/mod.rs
    warn("sled panicked while closing a generation", &["path"], DAMAGE),
    // queue/generations/mod.rs
    warn(
        "cannot read the end of the log: trying again later",
        &["error"],
        DISK,
    ),
    error(
        "sled cannot read what it wrote: reading the file without it",
        &["error"],
        DAMAGE,
    ),
    warn("cannot delete a damaged generation", &["path", "error"], DISK),
    // queue/generations/names.rs
    error(
        "moved out of the way: it should be a folder",
        &["path", "aside"],
        "see who put it there; it can be deleted",
    ),
    warn(
        "cannot delete what an interrupted run left behind",
        &["path", "error"],
        DISK,
    ),
    warn("cannot delete a generation that was replaced", &["error"], DISK),
    // queue/generations/rewrite.rs
    warn(
        "cannot delete half a rewritten generation",
        &["path", "error"],
        DISK,
    ),
    warn("a rewritten generation gets its place later", &["error"], ONCE),
    // queue/generations/row.rs
    error(
        "a damaged generation is set aside; what can be read in it is delivered",
        &["first", "path"],
        DAMAGE,
    ),
    warn("cannot set a damaged generation aside", &["error"], DISK),
    // queue/generations/salvage.rs
    warn("a generation cannot be read", &["error"], DAMAGE),
    error(
        "reading a generation took too long: going on with what was found",
        &["path"],
        DAMAGE,
    ),
    // queue/ledger.rs
    warn("cannot sync the ledger now", &["error"], DISK),
    warn(
        "cannot take back what was written to the ledger",
        &["error"],
        DISK,
    ),
    // queue/mod.rs
    error(
        "messages that were durable are lost: the store is damaged",
        &["first", "last"],
        DAMAGE,
    ),
    warn(
        "sequences left out behind a loss",
        &["first", "last"],
        "nothing: no message had these numbers",
    ),
    warn("cannot delete what was removed", &["first", "error"], DISK),
    info(
        "messages found behind the place where the log seemed to end",
        &["first", "last", "messages"],
    ),
    info(
        "so many more messages were lost by damage in a rewritten unit than was guessed",
        &["messages"],
    ),
    warn("cannot put right what was guessed of damage", &["error"], DISK),
    error(
        "messages that wait for delivery cannot be read: the store is damaged",
        &["first", "last", "messages"],
        DAMAGE,
    ),
    error(
        "cannot store: acknowledging nothing, trying again",
        &["error", "untold"],
        "what the error names; mostly the disk is full or cannot be written. The brokers keep the data meanwhile, up to their limits",
    ),
    info("storing again", &["away"]),
    // queue/opening.rs
    warn(
        "cannot write anew what is left behind a loss: until it is delivered it may be in memory alone",
        &["error"],
        DISK,
    ),
    warn("cannot write the marks now", &["error"], DISK),
    // queue/place.rs
    warn(
        "the ledger is lost: what became of these messages is not known any more",
        &["messages"],
        DAMAGE,
    ),
    // queue/reader.rs
    error("a block in the store is damaged", &["first", "damage"], DAMAGE),
    // queue/relief.rs
    info(
        "compacted: the newest values stay",
        &["before", "after", "devices"],
    ),
    // queue/writer.rs
    warn("cannot give back what is too old", &["error"], DISK),
    warn("queue full", &["on_full", "untold"], OVERLOAD),
    // sink/dead_letter/forward.rs
    error(
        "dead letters are not forwarded, and stay here: trying again now and then",
        &["reason", "untold"],
        "make the topic of dead_letter.topic, or give edgeferry the right to write to it",
    ),
    info("dead letters are forwarded", &["away"]),
    warn(
        "the topic for dead letters refuses this one: it stays here",
        &["lane", "id", "code"],
        "raise max.message.bytes of that topic; `edgeferry dead-letter ls` shows the letter",
    ),
    // sink/dead_letter/note.rs
    error(
        "what was removed of the dead letters is not known: the file is damaged",
        &["path"],
        DAMAGE,
    ),
    // sink/dead_letter/recall.rs
    error(
        "it is not known of which messages there are dead letters already: those that the cursor has not passed may be kept, counted and forwarded once more, under the same id; with exactly-once they count as delivered where Kafka's cursor has passed them",
        &["at", "error"],
        DAMAGE,
    ),
    // sink/dead_letter/store.rs
    warn(
        "cannot give back the space of dead letters that are gone",
        &["error"],
        DISK,
    ),
    warn(
        "dead letters are full: the oldest were dropped",
        &["messages"],
        "set dead_letter.topic so that they are carried on, or raise dead_letter.max_bytes",
    ),
    warn(
        "cannot delete dead letters that were removed",
        &["first", "error"],
        DISK,
    ),
    warn(
        "cannot note what is left out of the dead letters",
        &["error"],
        DISK,
    ),
    // sink/dead_letter/walk.rs
    error(
        "dead letters are missing: their store is damaged",
        &["first", "last", "messages"],
        DAMAGE,
    ),
    error("a dead letter is damaged", &["first", "damage"], DAMAGE),
    // sink/drain/failure.rs
    warn(
        "Kafka did not take a record",
        &["seq", "topic", "code", "untold"],
        "nothing, if it passes; otherwise the state of the link says what to do",
    ),
    // sink/drain/known.rs
    warn(
        "the topic has another number of partitions: keys move to others",
        &["topic", "before", "now"],
        "nothing; a device's order may break once where it moved (on_partition_change)",
    ),
    info("the new number of partitions is in use", &["topic", "partitions"]),
    // sink/drain/link.rs
    info("connecting to Kafka with the secrets as they are now", &[]),
    // sink/drain/stall.rs
    warn(
        "nothing is confirmed: the Kafka client is made anew",
        &["topic"],
        "nothing, if it passes; otherwise look at the replicas of the topic",
    ),
    // sink/drain/topics.rs
    warn(
        "a topic that does not exist is given up: its messages become dead letters",
        &["topic", "after_s"],
        "make the topic, then `edgeferry dead-letter redrive`",
    ),
    // sink/drain/transaction.rs
    error(
        "another edgeferry with the same identity delivers this lane's messages",
        &[],
        "stop the other one: two must never run on copies of one store",
    ),
    error(
        "Kafka's cursor is ahead of the store: the store is older than what was delivered from it (a restored copy?). Its messages are sent again",
        &["kafka", "store"],
        "never restore a data_dir; start with an empty one instead",
    ),
    info(
        "Kafka has more than the cursor on disk says: passing over it",
        &["local", "kafka"],
    ),
    warn(
        "Kafka has given the transactional id to another producer, or given this one up: asking",
        &[],
        "nothing, if it passes",
    ),
    // sink/kafka.rs
    warn(
        "Kafka answers another client, and this one reaches nobody: it is made anew",
        &[],
        "nothing; what was under way may be stored twice, with the same edgeferry-id",
    ),
    // sink/kafka/context.rs
    warn(
        "Kafka client",
        &["reason", "held_back"],
        "nothing, if it passes; otherwise what the reason names",
    ),
    // sink/monitor.rs
    info("Kafka: up", &[]),
    info("Kafka: up again", &["away"]),
    error(
        "Kafka refuses: holding everything until this is put right",
        &["reason", "untold"],
        "put right what the reason names, then `systemctl reload edgeferry`; nothing is lost meanwhile",
    ),
    warn(
        "Kafka: down; trying again",
        &["reason", "untold"],
        "see whether Kafka can be reached from here; messages are kept in the queue",
    ),
    warn("kept as a dead letter", &["id", "topic", "reason"], LETTERS),
    error(
        "delivery is held",
        &["error", "untold"],
        "what the error names; nothing is lost meanwhile",
    ),
    info("delivery goes on", &["away"]),
    // sink/telling.rs
    info("the state is told to Kafka again", &["topic", "away"]),
    warn(
        "the state is not told to Kafka; trying again now and then. The data does not depend on it",
        &["topic", "reason", "untold"],
        "put right what the reason names: mostly the topic of [status] is missing",
    ),
    // sink/times.rs
    info(
        "the clock is synchronised: earlier arrivals of this boot are corrected",
        &["began_ms"],
    ),
    warn(
        "messages of too many boots are queued: those from before the synchronisation of this one are not corrected",
        &[],
        CLOCK,
    ),
    info(
        "record times are no longer changed for Kafka, until it refuses them again",
        &[],
    ),
    error(
        "Kafka refuses the time of a record: compare the clocks of this gateway and of Kafka; it is sent with another time",
        &["refused", "clock", "lag_hours"],
        CLOCK,
    ),
    // slots.rs
    error(
        "moved out of the way: it should be a file",
        &["path", "aside"],
        "see who put it there; it can be deleted",
    ),
    // source/client/identifiers.rs
    info(
        "the broker takes no subscription identifiers: where filters overlap it may send a message twice",
        &["broker"],
    ),
    // source/counters.rs
    info(
        "totals since the start",
        &[
            "broker",
            "received",
            "stored",
            "recognised",
            "retained_known",
            "second_copies",
            "put_back",
            "oversize",
            "unprotected",
            "reconnects",
        ],
    ),
    // source/dropped.rs
    warn(
        "the broker has dropped messages: what it keeps for one of its clients is full",
        &["broker", "messages"],
        "raise the limit of the broker (Mosquitto: max_queued_messages 0 and a max_queued_bytes; EMQX: mqtt.max_mqueue_len)",
    ),
    // source/held.rs
    warn(
        "cannot note which filters are subscribed",
        &["path", "error"],
        ONCE,
    ),
    // source/inbound.rs
    warn(
        "payload over max_packet_size; its beginning is kept as a dead letter",
        &["broker", "topic", "bytes", "limit", "untold"],
        "raise max_packet_size, or keep the publisher below it",
    ),
    // source/line.rs
    info("connected again", &["broker", "away"]),
    info("connected", &["broker", "session_present"]),
    warn(
        "the broker has lost the session, and with it what it kept for us while we were away",
        &["broker", "untold"],
        "let the broker keep sessions over its restarts (Mosquitto: persistence true) and for long enough (session_expiry)",
    ),
    error(
        "the broker refuses the subscription; asking again every minute",
        &["broker", "filter", "reason"],
        "give edgeferry the right to read the filter at the broker",
    ),
    warn(
        "granted with QoS 0 only: what is sent while we are away is lost",
        &["broker", "filter"],
        "allow QoS 1 at the broker",
    ),
    info(
        "unsubscribed: no route of this lane wants it any more",
        &["broker", "client_id", "filter"],
    ),
    warn(
        "the broker does not unsubscribe; trying again later",
        &["broker", "client_id", "filter", "reason"],
        "nothing, if it passes; otherwise look at the rights of edgeferry at the broker",
    ),
    info(
        "the MQTT session is no longer needed, and was ended",
        &["broker", "client_id"],
    ),
    warn(
        "the queue is full; disconnected until there is room, the broker keeps the data",
        &["broker", "untold"],
        OVERLOAD,
    ),
    warn(
        "disconnected; trying again",
        &["broker", "reason", "untold"],
        BROKER,
    ),
    error(
        "a packet is over the transport limit; the limit is raised to let it in",
        &["broker", "bytes", "untold"],
        "keep publishers below max_packet_size",
    ),
    error(
        "no connection until a person puts it right",
        &["broker", "reason", "untold"],
        REFUSED,
    ),
    // source/mod.rs
    warn(
        "cannot note that another client used the session",
        &["broker", "error"],
        ONCE,
    ),
    warn(
        "cannot forget the session; it will be looked for again",
        &["path", "error"],
        ONCE,
    ),
    info(
        "no usable session file; redeliveries of earlier messages will be stored again",
        &["broker"],
    ),
    // source/retained.rs
    warn(
        "cannot remove the list of known retained messages",
        &["path", "error"],
        ONCE,
    ),
    warn(
        "cannot note which retained messages are known",
        &["path", "error"],
        ONCE,
    ),
    // source/status.rs
    error(
        "the status is not told; the data is another connection",
        &["broker", "reason", "untold"],
        REFUSED,
    ),
    warn(
        "the status is not told; trying again",
        &["broker", "reason", "untold"],
        BROKER,
    ),
    info("the status is told again", &["broker", "away"]),
    // source/telling.rs
    warn(
        "the state is not told; trying again. The data is another connection",
        &["broker", "failure", "untold"],
        BROKER,
    ),
    info("the state is told again", &["broker", "away"]),
];

#[cfg(test)]
mod tests;
