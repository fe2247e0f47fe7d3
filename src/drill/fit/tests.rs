use std::path::Path;

use super::*;
use crate::config;

fn fit(routes: &str) -> Fit {
    let text = format!(
        "[gateway]\nid = \"g\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\nbootstrap_servers = [\"k:1\"]\n{routes}"
    );
    let (config, _) = config::parse(Path::new("t.toml"), &text).unwrap();
    of(&config, "g")
}

#[test]
fn every_route_of_the_shipped_examples_has_messages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (config, _) = config::load(&path).unwrap();
        let fit = of(&config, "drill");
        assert_eq!(fit.without, [], "{}", path.display());
        assert!(fit.shapes.len() >= config.routes.len(), "{}", path.display());
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn conditions_and_templates_find_what_they_look_at() {
    let fit = fit(
        "[[route]]\nfrom = \"a/{kind}/{device}\"\ntopic = \"t-{json:/site/name}\"\n\
         when = [{ value = \"kind\", one_of = [\"x\", \"y\"] }, { value = \"json:/t\", between = [20, 30] }, \
         { value = \"property:unit\", equals = \"C\" }, { value = \"json:/list/0/ok\", equals = true }]\n\
         [route.match]\ndevice = \"pump-[0-9]{3}\"\n",
    );
    assert_eq!(fit.without, []);
    let message = fit.shapes[0].message(7, "");
    assert!(message.topic.starts_with("a/x/pump-"), "{}", message.topic);
    assert_eq!(message.user, [("unit".to_owned(), "C".to_owned())]);
    assert_eq!(mark::find(&message.payload), Some(7));
    assert_eq!(fit.shapes[0].topics().collect::<Vec<_>>(), ["t-drill-0"]);
}

#[test]
fn a_route_that_nothing_fits_says_so() {
    let fit =
        fit("[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n[route.match]\ndevice = \"\\\\p{Greek}\"\n");
    assert!(fit.shapes.is_empty());
    assert!(fit.without[0].1.contains("a/{device}"), "{:?}", fit.without);
}

#[test]
fn a_message_for_two_lanes_says_what_it_becomes_in_each() {
    let fit = fit(
        "[[lane]]\nname = \"b\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n\
         [[route]]\nfrom = \"a/{device}\"\ntopic = \"u\"\nlane = \"b\"\n",
    );
    let becomes = &fit.shapes[0].becomes;
    assert_eq!(becomes["default"].topics, ["t"]);
    assert_eq!(becomes["b"].topics, ["u"]);
}

#[test]
fn what_a_format_refuses_is_made_too() {
    let fit = fit(
        "[[route]]\nfrom = \"/{apikey}/{device}/attrs\"\ntopic = \"t\"\nkey = \"{device}\"\nformat = \"ngsiv2\"\n\
         [route.ngsiv2]\nservice = \"s\"\n",
    );
    assert_eq!(fit.bad.len(), 1);
    assert!(fit.bad[0].becomes["default"].is_letter);
}

#[test]
fn devices_differ_where_they_can() {
    let fit = fit("[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n");
    assert_eq!(fit.shapes.len(), DEVICES);
    let topics: Vec<String> = fit
        .shapes
        .iter()
        .map(|shape| shape.message(1, "").topic)
        .collect();
    assert_eq!(topics[4], "a/drill-4");
}
