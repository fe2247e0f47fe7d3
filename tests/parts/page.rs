//! The status page in a real browser: over a real gateway, and over states that no test can wait for.
//!
//! Pictures of it are left in `target/tmp/screenshots`: `cargo test --test parts -- page::pictures_of_it_are_kept` makes them.

use std::time::Duration;

use edgeferry::link::Link;
use edgeferry::ops::state::Grade;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::gateway::{self, HOSTILE};
use crate::support::kafka::secure::Authority;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt;
use crate::support::ports;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;

const DESKTOP: (u32, u32) = (1280, 900);
/// The narrowest phone that is still used.
const PHONE: (u32, u32) = (360, 740);
/// That the first answer has been shown.
const SHOWN: &str = "document.querySelector('#live').textContent.startsWith('live,') && document.querySelector('#queued path') !== null";

fn listening() -> (String, String) {
    let port = ports::free();
    (
        format!("listen = \"127.0.0.1:{port}\""),
        format!("http://127.0.0.1:{port}/"),
    )
}

fn publish(mosquitto: &Mosquitto, count: u64) {
    let mut device = mqtt::Link::connect(mosquitto.port(), "device", true).expect("it runs");
    for number in 0..count {
        device.publish("devices/d1/telemetry", format!("{number}").as_bytes());
    }
}

/// What the page says is delivered, as a number.
const DELIVERED: &str =
    "Number(document.querySelectorAll('#ledger .sum b')[1].textContent.replaceAll(',', ''))";
const WAITING: &str =
    "Number(document.querySelectorAll('#ledger .sum b')[2].textContent.replaceAll(',', ''))";

#[test]
fn it_shows_a_real_gateway_live_and_says_when_the_daemon_is_gone_and_back() {
    let (mosquitto, kafka) = (Mosquitto::start(), shared());
    let (line, address) = listening();
    let topic = kafka.fresh_topic("page");
    let config = Config::usual("5", &mosquitto, kafka, &topic).http(&line);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let mut browser = Browser::start();
    browser.size(DESKTOP.0, DESKTOP.1);
    browser.open(&address);
    browser.until("it shows the gateway", SHOWN);
    browser.eval("window.neverReloaded = true");
    publish(&mosquitto, 20);
    browser.until(
        "20 are delivered",
        &format!("{DELIVERED} === 20 && {WAITING} === 0"),
    );
    browser.until(
        "links are up",
        "[...document.querySelectorAll('#lanes .badge')].every(badge => badge.textContent === 'up')",
    );
    browser.until(
        "data is safe",
        "document.querySelector('#safe').textContent === 'Your data is safe.'",
    );
    publish(&mosquitto, 1);
    browser.until("one more", &format!("{DELIVERED} === 21"));
    assert_eq!(browser.text("#gateway"), crate::support::config::GATEWAY);
    let ledger = whole_text(&mut browser, "#ledger");
    for account in [
        "21received",
        "21delivered",
        "0waiting",
        "0dead letters",
        "0removed",
    ] {
        assert!(ledger.contains(account), "{account}: {ledger}");
    }
    // What waits is what is left: that it adds up is no proof, and none is claimed.
    assert!(!ledger.contains("adds up"), "{ledger}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(foreign(browser.requests(), &address), Vec::<String>::new());
    daemon.terminate();
    browser.until(
        "it says that the daemon is gone",
        "document.querySelector('#lost').textContent.includes('does not answer since')",
    );
    assert_claims_nothing(&mut browser, crate::support::config::GATEWAY);
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        assert_eq!(
            browser.eval(CONTRAST)["poor"],
            json!([]),
            "{scheme}, without a daemon"
        );
    }
    browser.screenshot("daemon-gone");
    daemon.restart();
    publish(&mosquitto, 1);
    browser.until(
        "it is back",
        &format!("document.querySelector('#lost').textContent === '' && {DELIVERED} === 22"),
    );
    browser.until(
        "it claims again",
        "document.title.startsWith('✓') && document.querySelector('#safe').textContent === 'Your data is safe.' && document.querySelector('#main').className === 'wide'",
    );
    assert_eq!(browser.eval("window.neverReloaded"), Value::Bool(true));
    assert_eq!(foreign(browser.requests(), &address), Vec::<String>::new());
    daemon.terminate();
}

/// Requests that do not go to the daemon.
fn foreign(requests: Vec<String>, address: &str) -> Vec<String> {
    let requests = requests.into_iter();
    requests
        .filter(|request| !request.starts_with(address) && request != "data:,")
        .collect()
}

/// Without the breaks between boxes.
fn whole_text(browser: &mut Browser, selector: &str) -> String {
    let text = browser.eval(&format!(
        "document.querySelector({}).textContent",
        json!(selector)
    ));
    text.as_str().expect("a text").to_owned()
}

/// Nothing that can be seen says how it stands now: neither the title, nor the sentence, nor a figure or link, nor a graph.
fn assert_claims_nothing(browser: &mut Browser, gateway: &str) {
    assert_eq!(
        browser.eval("document.title"),
        json!(format!("? {gateway} – edgeferry"))
    );
    let heading = browser.text("#safe");
    assert!(
        heading.starts_with("Not known since ") && heading.contains(" (then: "),
        "{heading}"
    );
    let seen = browser.eval(
        "({ verdict: document.querySelector('#verdict').className, more: document.querySelector('#more').textContent, \
         shown: [...document.querySelectorAll('#figures, #lanes .badge, #lanes .flow')].filter(each => each.checkVisibility({ visibilityProperty: true })).length, \
         advice: document.querySelector('#advice').hidden })",
    );
    assert_eq!(
        seen,
        json!({"verdict": "card verdict unknown", "more": "", "shown": 0, "advice": true})
    );
    // Also when it is drawn anew, for instance because a phone was turned.
    browser.eval("document.querySelector('#lane').dispatchEvent(new Event('change'))");
    let texts = browser.eval(
        "[...document.querySelectorAll('#queued text, #age text, #queued-text, #age-text, #table tbody th')].map(each => each.textContent)",
    );
    let texts: Vec<&str> = texts
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(texts.len() > 10, "{texts:?}");
    for text in texts {
        let mut words = text.split(|letter: char| !letter.is_alphabetic());
        assert!(!words.any(|word| word == "now" || word == "ago"), "{text}");
    }
}

#[test]
fn what_the_page_itself_cannot_show_is_not_said_of_the_daemon() {
    let (_server, address) = gateway::serve(gateway::calm());
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    // As if the daemon were of another version.
    browser.eval(
        "window.real = window.fetch; window.fetch = async (path, how) => path === '/api/status' \
         ? new Response(JSON.stringify({ ...await (await window.real(path, how)).json(), lanes: [{}] })) : window.real(path, how); 0",
    );
    browser.until(
        "it says that it cannot show it",
        "document.querySelector('#lost').textContent.startsWith('The daemon answers, and this page cannot show it: TypeError')",
    );
    assert!(!browser.text("#lost").contains("does not answer"));
    assert_claims_nothing(&mut browser, &gateway::calm().gateway);
    browser.eval("window.fetch = window.real; 0");
    browser.until(
        "it shows it again",
        "document.querySelector('#lost').textContent === '' && document.title.startsWith('✓')",
    );
}

#[test]
fn a_browser_without_abort_signal_timeout_can_ask() {
    let (_server, address) = gateway::serve(gateway::calm());
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    browser.eval("delete AbortSignal.timeout");
    let shown = browser.text("#live");
    browser.until(
        "it was asked again",
        &format!(
            "!AbortSignal.timeout && document.querySelector('#live').textContent !== {} && document.querySelector('#live').textContent.startsWith('live,')",
            json!(shown)
        ),
    );
}

#[test]
fn before_the_first_answer_it_can_be_read_and_claims_nothing() {
    let (_server, address) = gateway::serve(gateway::calm());
    let mut browser = Browser::start();
    let silent = json!({"source": "window.fetch = () => new Promise(() => {})"});
    browser.call("Page.addScriptToEvaluateOnNewDocument", &silent);
    browser.open(&address);
    assert_eq!(browser.text("#safe"), "Asking the daemon…");
    assert_eq!(browser.eval("document.title"), json!("edgeferry"));
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        let contrast = browser.eval(CONTRAST);
        assert!(
            contrast["checked"].as_u64().is_some_and(|checked| checked > 10),
            "{contrast}"
        );
        assert_eq!(contrast["poor"], json!([]), "{scheme}");
    }
}

#[test]
fn what_the_daemon_makes_of_its_state_is_shown_in_its_words() {
    for (name, state) in states() {
        let health = state.health.clone();
        let (_server, address) = gateway::serve(state);
        let mut browser = Browser::start();
        browser.open(&address);
        browser.until("it shows the state", SHOWN_OR_EMPTY);
        assert_eq!(browser.text("#safe"), health.heading, "{name}");
        assert_eq!(browser.text("#more"), health.more, "{name}");
        let (class, mark) = match health.level {
            Grade::Ok => ("ok", "✓"),
            Grade::Warn => ("warn", "△"),
            Grade::Bad => ("bad", "✗"),
        };
        let seen = browser.eval("[document.querySelector('#verdict').className, document.title.slice(0, 1)]");
        assert_eq!(seen, json!([format!("card verdict {class}"), mark]), "{name}");
    }
    let graded = |wanted: &str| {
        let all = states();
        let state = all.iter().find(|(name, _)| *name == wanted).expect("it is there");
        state.1.health.level
    };
    assert_eq!(graded("calm"), Grade::Ok);
    for other in [
        "no-lanes",
        "hangs",
        "removed-by-policy",
        "kafka-away",
        "cannot-store",
    ] {
        assert_ne!(graded(other), Grade::Ok, "{other}");
    }
}

/// The page over a state, in an element each.
fn shown(state: edgeferry::ops::State, selectors: &[&str]) -> Vec<String> {
    let (_server, address) = gateway::serve(state);
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    let texts = selectors.iter();
    texts.map(|selector| whole_text(&mut browser, selector)).collect()
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn rates_disk_and_dead_letters_are_those_of_the_state() {
    let texts = shown(
        gateway::calm(),
        &["#figures", "#lanes", "#disk", "#letters", "#ledger"],
    );
    let [figures, lanes, disk, letters, ledger] = &texts[..] else {
        panic!("{texts:?}");
    };
    assert_has(
        figures,
        &[
            "messages wait3",
            "oldest has waited210 ms",
            "until empty100 ms",
            "125 / 125",
        ],
    );
    assert_has(
        lanes,
        &[
            "125 /sstored",
            "3 waiting",
            "oldest 210 ms, empty in 100 ms",
            "9.0 MiB of 8.0 GiB",
        ],
    );
    assert_has(
        lanes,
        &["125 /sdelivered", "41,208,377 delivered", "0.2 /sstored"],
    );
    assert_has(
        disk,
        &[
            "8.7 GiB of 14.5 GiB free",
            "Store/var/lib/edgeferry",
            "Written in the last 24 h3.1 GiB",
            "A day at the present rate2.9 GiB of 4.0 GiB",
            "Written since the start56.8 GiB",
            "Kept free for others64.0 MiB",
            "Written per byte of payload2.4",
        ],
    );
    assert_has(letters, &["default240.0 KiB00", "edgeferry dead-letter ls"]);
    assert!(!letters.contains("alarms"), "{letters}");
    assert!(
        !ledger.contains("does not add up") && !ledger.contains("cannot be counted"),
        "{ledger}"
    );
}

#[test]
fn in_an_outage_the_backlog_its_age_and_the_advice_are_those_of_the_state() {
    let texts = shown(gateway::away(), &["#figures", "#lanes", "#letters", "#events"]);
    let [figures, lanes, letters, events] = &texts[..] else {
        panic!("{texts:?}");
    };
    assert_has(
        figures,
        &[
            "messages wait903,117",
            "oldest has waited2 h 4 min",
            "until emptynot shrinking",
            "125 / 0",
        ],
    );
    assert_has(
        lanes,
        &[
            "903,117 waiting",
            "oldest 2 h 4 min",
            "0 /sdelivered",
            "Connection timed out",
        ],
    );
    assert!(!lanes.contains("empty in"), "{lanes}");
    assert_has(letters, &["default2340.0 KiB00"]);
    assert_has(
        events,
        &[
            "241 times",
            "See whether the uplink works; messages wait here meanwhile.",
            "edgeferry dead-letter ls shows it; put the device or the route right.",
        ],
    );
}

#[test]
fn an_account_that_is_off_and_one_that_cannot_be_counted_are_said() {
    let with = |unaccounted| {
        let mut state = gateway::calm();
        state.lanes[0].ledger.unaccounted = unaccounted;
        shown(gateway::judged(state), &["#ledger"]).remove(0)
    };
    assert_has(&with(Some(-3)), &["does not add up by -3"]);
    assert_has(
        &with(None),
        &["Waiting cannot be counted on its own just now: it is what is left over."],
    );
}

#[test]
fn an_age_that_is_not_known_is_said_and_is_a_gap_in_the_graph() {
    let mut state = gateway::away();
    state.lanes[0].queue.age_s = None;
    state.lanes[0].queue.is_age_unknown = true;
    let (_server, address) = gateway::serve(gateway::judged(state));
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    let figures = whole_text(&mut browser, "#figures");
    assert!(figures.contains("oldest has waitednot known"), "{figures}");
    assert!(browser.text("#lanes").contains("age of the oldest not known"));
    browser.until(
        "the graph has come to it",
        "document.querySelector('#age-text').textContent.startsWith('How long the oldest has waited: not known now')",
    );
}

#[test]
fn what_a_broker_dropped_is_said_once_however_many_lanes_it_has() {
    let mut state = gateway::calm();
    for lane in &mut state.lanes {
        lane.brokers[0].dropped_by_broker = Some(412);
    }
    let (_server, address) = gateway::serve(gateway::judged(state));
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    let said = browser.text("#lanes");
    assert_eq!(said.matches("has dropped 412 messages").count(), 1, "{said}");
}

#[test]
fn while_kafka_is_away_it_counts_what_waits() {
    let mosquitto = Mosquitto::start();
    let (line, address) = listening();
    // Good for two days, as all of the tests.
    let authority = Authority::new("Page");
    let config = Config::usual("5", &mosquitto, &Kafka::absent(), "nowhere")
        .kafka(&format!("ca_file = \"{}\"", authority.ca().display()))
        .http(&line);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until(
        "the end of the certificate is told",
        "/kafka ?ca_file .*in 1 day/.test(document.querySelector('#certificates').textContent)",
    );
    publish(&mosquitto, 5);
    browser.until("5 wait", &format!("{SHOWN} && {WAITING} === 5"));
    let safe = "/^Your data is safe/.test(document.querySelector('#safe').textContent)";
    browser.until("they are safe", safe);
    daemon.terminate();
}

#[test]
fn a_browser_gets_in_with_the_token_as_its_password_and_the_token_is_nowhere() {
    let token = "a-token-that-only-the-test-knows";
    let folder = Scratch::new("token");
    std::fs::write(folder.join("token"), token).expect("the folder is writable");
    let (line, address) = listening();
    let token_line = format!("token_file = \"{}\"", folder.join("token").display());
    let mosquitto = Mosquitto::absent();
    let config = Config::usual("5", &mosquitto, &Kafka::absent(), "nowhere")
        .http(&line)
        .http(&token_line);
    let mut daemon = Daemon::start(&config);
    let mut browser = Browser::start();
    browser.open_as(&address, "anybody", token);
    browser.until("it is in, and stays in", SHOWN);
    let seen = browser.eval("document.documentElement.outerHTML + location.href + document.cookie");
    assert!(!seen.to_string().contains(token));
    assert!(browser.requests().iter().all(|request| !request.contains(token)));
    daemon.terminate();
    assert!(!daemon.log().contains(token));
}

#[test]
fn a_port_that_another_program_has_does_not_keep_messages_waiting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("has one").port();
    let (mosquitto, kafka) = (Mosquitto::start(), shared());
    let topic = kafka.fresh_topic("port-taken");
    let config =
        Config::usual("5", &mosquitto, kafka, &topic).http(&format!("listen = \"127.0.0.1:{port}\""));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    publish(&mosquitto, 1);
    let record = crate::support::oracle::Reader::new(&kafka.bootstrap(), &topic).next(Duration::from_mins(1));
    assert!(record.is_some(), "the message came");
    assert!(
        daemon
            .log()
            .contains("http: the address cannot be had; messages go on"),
        "{}",
        daemon.log()
    );
    drop(taken);
    let mut browser = Browser::start();
    crate::support::wait::until("the port is had", Duration::from_mins(1), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.until("it is there", SHOWN);
    daemon.terminate();
}

#[test]
fn nothing_that_comes_from_outside_is_taken_for_markup() {
    let (_server, address) = gateway::serve(gateway::hostile());
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    // The lane's name is a choice as well.
    browser.eval("(() => { const lane = document.querySelector('#lane'); lane.selectedIndex = 2; lane.dispatchEvent(new Event('change')); })()");
    assert_eq!(browser.eval("typeof window.owned"), json!("undefined"));
    assert_eq!(
        browser.eval("document.querySelectorAll('img, body script:not(:last-of-type), b b, u').length"),
        json!(0)
    );
    let seen = browser.eval("document.body.textContent").to_string();
    let hostile = serde_json::to_string(HOSTILE).expect("JSON");
    assert!(seen.matches(hostile.trim_matches('"')).count() >= 12, "{seen}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The states that are looked at, and whether one of them is wide in every respect.
fn states() -> Vec<(&'static str, edgeferry::ops::State)> {
    let mut full = gateway::away();
    full.lanes[0].queue.is_full = true;
    full.lanes[0].queue.bytes = full.lanes[0].queue.max_bytes;
    full.lanes[0].brokers[0].link = Link::PushedBack;
    let mut failed = gateway::calm();
    failed.lanes[0].queue.failure = Some("No space left on device (os error 28)".into());
    let mut empty = gateway::calm();
    empty.lanes.clear();
    empty.certificates.clear();
    empty.disk.free_bytes = None;
    empty.disk.written_per_payload_byte = None;
    let mut hangs = gateway::calm();
    hangs.lanes[0].stalled_s = Some(95);
    hangs.lanes[1].is_reloading = true;
    let mut removed = gateway::away();
    removed.lanes[0].last_hour.dropped = 4_711;
    let judged = gateway::judged;
    vec![
        ("calm", gateway::calm()),
        ("kafka-away", gateway::away()),
        ("refused", gateway::hostile()),
        ("full", judged(full)),
        ("cannot-store", judged(failed)),
        ("no-lanes", judged(empty)),
        ("hangs", judged(hangs)),
        ("removed-by-policy", judged(removed)),
    ]
}

#[test]
fn every_text_has_the_contrast_of_wcag_aa_in_light_and_dark_and_nothing_is_wider_than_a_phone() {
    let mut browser = Browser::start();
    for (name, state) in states() {
        let (_server, address) = gateway::serve(state);
        for (width, height) in [DESKTOP, PHONE] {
            browser.size(width, height);
            browser.open(&address);
            browser.until("it shows the state", SHOWN_OR_EMPTY);
            browser.eval("document.querySelectorAll('details').forEach(each => each.open = true)");
            for scheme in ["light", "dark"] {
                browser.scheme(scheme);
                let poor = browser.eval(CONTRAST);
                let checked = poor["checked"].as_u64().expect("a number");
                assert!(checked > 30, "{name} {scheme}: only {checked} texts");
                assert_eq!(poor["poor"], json!([]), "{name} {scheme} {width}");
            }
            let wide = browser.eval(TOO_WIDE);
            assert_eq!(wide, json!([]), "{name}: wider than {width}");
        }
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
    }
}

const SHOWN_OR_EMPTY: &str = "document.querySelector('#live').textContent.startsWith('live,') && document.querySelector('#queued text') !== null";

/// Each text with what is really behind it, by the formula of WCAG 2.2 (1.4.3): 4.5, or 3 from 24 px, or 18.66 px if bold.
const CONTRAST: &str = r"(() => {
  const part = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const colour = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (front, back) => front.slice(0, 3).map((c, i) => c * front[3] + back[i] * (1 - front[3]));
  const behind = element => {
    const layers = [];
    for (let node = element; node; node = node.parentElement) layers.push(colour(getComputedStyle(node).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const poor = [];
  let checked = 0;
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement, style = getComputedStyle(element);
    if (!text.data.trim() || ['SCRIPT', 'NOSCRIPT'].includes(element.tagName) || !element.getClientRects().length) continue;
    const ink = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const back = behind(element), front = over(colour(ink), back);
    const [high, low] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    checked += 1;
    if (ratio < needed) poor.push(`${text.data.trim().slice(0, 40)}: ${ratio.toFixed(2)} (${ink} on ${back})`);
  }
  return { checked, poor };
})()";

/// What makes a reader scroll sideways: the page, or something that stands out of it.
const TOO_WIDE: &str = r"(() => {
  const width = document.documentElement.clientWidth, wide = [];
  if (document.documentElement.scrollWidth > width) wide.push(`the page: ${document.documentElement.scrollWidth}`);
  for (const element of document.querySelectorAll('body *:not(.skip)')) {
    const box = element.getBoundingClientRect();
    if (box.width && (box.right > width + 0.5 || box.left < -0.5) && !element.closest('svg')) wide.push(`${element.tagName}.${element.className}: ${box.left} to ${box.right}`);
    if (!element.closest('svg') && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline' && getComputedStyle(element).overflowX !== 'visible') wide.push(`${element.tagName}#${element.id}: scrolls`);
  }
  return wide;
})()";

#[test]
fn everything_can_be_reached_with_the_keyboard_and_is_seen_to_be() {
    let (_server, address) = gateway::serve(gateway::hostile());
    let mut browser = Browser::start();
    browser.size(DESKTOP.0, DESKTOP.1);
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.press("Tab");
        let focus = browser.eval(FOCUS);
        if focus["name"] == "BODY" {
            break;
        }
        assert_eq!(focus["seen"], json!(true), "{focus}");
        reached.push(focus["name"].as_str().expect("a name").to_owned());
    }
    assert_eq!(
        reached,
        [
            "A.skip",
            "SELECT#lane",
            "SUMMARY",
            "DIV#events",
            "A/metrics",
            "A/api/status",
            "A/health/ready"
        ]
    );
    browser.eval("document.querySelector('summary').focus()");
    browser.press("Enter");
    browser.until(
        "the table is open",
        "document.querySelector('details').open && document.querySelectorAll('#table td').length > 20",
    );
    // The next answers leave the focus and what is open as they are.
    let shown = browser.text("#live");
    browser.until(
        "it was asked again",
        &format!("document.querySelector('#live').textContent !== {}", json!(shown)),
    );
    assert_eq!(
        browser.eval("document.querySelector('details').open && document.activeElement.tagName"),
        json!("SUMMARY")
    );
}

const FOCUS: &str = r"(() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const name = at.tagName + (at.id ? '#' + at.id : '') + (at.className ? '.' + at.className : '') + (at.tagName === 'A' && !at.className ? new URL(at.href).pathname : '');
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.right > 0 && box.left >= 0;
  return { name: name.replace('DIV#events.more', 'DIV#events'), seen };
})()";

#[test]
fn a_screen_reader_finds_landmarks_headings_tables_and_a_text_for_each_picture() {
    let (_server, address) = gateway::serve(gateway::away());
    let mut browser = Browser::start();
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let names = |role: &str| -> Vec<String> {
        let of_role = nodes
            .iter()
            .filter(|node| node["ignored"] == false && node["role"]["value"] == role);
        of_role
            .map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    for landmark in ["banner", "main", "contentinfo"] {
        assert_eq!(names(landmark).len(), 1, "{landmark}");
    }
    let regions = names("region");
    for region in [
        "The way of a message",
        "Backlog over the last hours",
        "Dead letters",
        "Certificates",
        "Last warnings and errors",
    ] {
        assert!(regions.iter().any(|name| name == region), "{region}: {regions:?}");
    }
    let pictures: Vec<String> = names("img").into_iter().chain(names("image")).collect();
    assert!(
        pictures.len() >= 5 && pictures.iter().all(|name| !name.is_empty()),
        "{pictures:?}"
    );
    assert!(
        pictures
            .iter()
            .any(|name| name.starts_with("Messages that wait: 903,117 now")),
        "{pictures:?}"
    );
    assert!(names("columnheader").len() >= 8 && names("rowheader").len() >= 8);
    assert_eq!(names("status").len(), 2);
    assert!(
        names("heading").contains(&"Your data is safe, and waits for Kafka.".to_owned()),
        "{:?}",
        names("heading")
    );
    let levels = browser
        .eval("[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(each => Number(each.tagName[1]))");
    let levels: Vec<u64> = levels
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert_eq!(browser.eval("document.documentElement.lang"), json!("en"));
    // What changes with each answer is not read out; the sentence is.
    assert_eq!(
        browser.eval("document.querySelectorAll('[aria-live]').length"),
        json!(2)
    );
}

#[test]
fn nothing_moves_for_whoever_does_not_want_it() {
    let (_server, address) = gateway::serve(gateway::calm());
    let mut browser = Browser::start();
    let features = json!([{"name": "prefers-reduced-motion", "value": "reduce"}]);
    browser.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    browser.open(&address);
    browser.until("it shows the state", SHOWN);
    assert_eq!(browser.eval("document.getAnimations().length"), json!(0));
}

#[test]
fn pictures_of_it_are_kept() {
    let mut browser = Browser::start();
    for (name, state) in states() {
        let (_server, address) = gateway::serve(state);
        for (device, (width, height), scheme) in [
            ("desktop", DESKTOP, "light"),
            ("desktop", DESKTOP, "dark"),
            ("phone", PHONE, "light"),
            ("phone", PHONE, "dark"),
        ] {
            browser.size(width, height);
            browser.scheme(scheme);
            browser.open(&address);
            browser.until("it shows the state", SHOWN_OR_EMPTY);
            browser.screenshot(&format!("{name}-{device}-{scheme}"));
        }
    }
}
