//! `./dev bench formats`: what shaping costs. Messages a second that the router alone makes into records, one thread, for each format,
//! with a payload of about 120 bytes.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and gives up when something is wrong"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use edgeferry::clock::Told;
use edgeferry::message::{Arrival, Epoch, Seq, Stamp, Stored};
use edgeferry::route::Router;
use rustix::time::{ClockId, clock_gettime};

const MESSAGES: usize = 100_000;
/// The best of several rounds: what disturbs only takes.
const ROUNDS: usize = 5;
const DEVICES: usize = 100;

const HEAD: &str = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                    [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n\
                    [[route]]\nfrom = \"json/key/{device}/attrs\"\ntopic = \"telemetry\"\n";

const JSON: &str = "{\"temperature\":21.25,\"humidity\":40.5,\"pressure\":1013.25,\"battery\":3.61,\"status\":\"ok\",\"open\":false,\
                    \"counter\":1234567}";
const UL: &str = "temperature|21.25|humidity|40.5|pressure|1013.25|battery|3.61|status|ok|open|false|counter|1234567|uptime|86400\
                  |rssi|-71";

fn main() {
    println!("messages a second through the router alone, one thread, best of {ROUNDS} rounds of {MESSAGES}");
    let tenant = "format = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"smartcity\"\n";
    let binary = "format = \"cloudevents\"\n[route.cloudevents]\nmode = \"binary\"\n";
    let ul = format!("{tenant}payload = \"ul\"\n");
    for (name, route, payload) in [
        ("raw", "", JSON),
        ("cloudevents structured", "format = \"cloudevents\"\n", JSON),
        ("cloudevents binary", binary, JSON),
        ("wasp", "format = \"wasp\"\n", JSON),
        ("ngsiv2, JSON", tenant, JSON),
        ("ngsiv2, Ultralight", &ul, UL),
    ] {
        println!(
            "{name:>24} {:>10.0}   ({} bytes)",
            measure(route, payload),
            payload.len()
        );
    }
}

/// Messages a second, by the CPU time of this thread.
fn measure(route: &str, payload: &str) -> f64 {
    let text = format!("{HEAD}{route}");
    let (config, _) = edgeferry::config::parse(Path::new("bench.toml"), &text).expect("loads");
    let router = Router::new(config.routes, "gw-7", "default");
    let messages: Vec<Stored> = (0..MESSAGES).map(|number| message(number, payload)).collect();
    let rounds = (0..ROUNDS).map(|_| {
        let begin = cpu();
        let mut records = 0;
        for message in &messages {
            let told = Told::as_it_stood(&message.arrival.stamp);
            records += black_box(router.route(message, &told)).records.len();
        }
        let took = cpu() - begin;
        assert_eq!(records, MESSAGES);
        took
    });
    let best = rounds.reduce(f64::min).expect("at least one round");
    f64::from(u32::try_from(MESSAGES).expect("fits")) / best
}

fn message(number: usize, payload: &str) -> Stored {
    let device = number % DEVICES;
    let arrival = Arrival {
        stamp: Stamp::right(1_763_600_000_000),
        ..Arrival::trial(
            1,
            format!("json/key/574bd77c-4aba-4557-aa9e-{device:012}/attrs"),
            payload.to_owned(),
        )
    };
    Stored {
        seq: Seq(1 + number as u64),
        epoch: Epoch(0x0123_4567_89ab_cdef),
        arrival,
    }
}

/// CPU time of this thread so far, seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("not negative").as_secs_f64()
}
