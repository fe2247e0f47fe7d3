use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::settings;

/// A file of nothing but routes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Routes {
    route: Vec<Raw>,
}

/// The routes of a text, or what is wrong with it.
fn parsed(text: &str) -> Result<Vec<Config>, Vec<settings::Problem>> {
    let resolved = settings::parse(Path::new("test.toml"), text, |raw: Routes, problems| {
        resolve(raw.route, problems).into_iter().collect()
    });
    resolved.map(|(routes, _)| routes)
}

proptest! {
    #[test]
    fn parsing_when_never_panics(
        any in any::<String>(),
        entries in proptest::collection::vec(
            "(value = \"(json:)?[/ab{}]{0,3}\")?, ?(not = true, )?(equals|one_of|exists|between|matches) = (-?[0-9.e]{1,4}|\"[a\\[(]{0,2}\"|true|\\[(1, ){0,2}[0-9a\"]{0,2}\\]|nan|inf)",
            0..3,
        ),
    ) {
        let entries: Vec<String> = entries.iter().map(|entry| format!("{{ {entry} }}")).collect();
        for when in [&any, &entries.join(", ")] {
            let text = format!("[[route]]\nfrom = \"x/{{a}}/{{b}}\"\ntopic = \"t\"\nkey = \"{{a}}\"\nwhen = [{when}]\n");
            if let Err(problems) = parsed(&text) {
                prop_assert!(!problems.is_empty(), "refused without a reason: {}", text);
            }
        }
    }

    #[test]
    fn parsing_match_and_headers_never_panics(name in "[a-z\"{} -]{0,4}", text in any::<String>(), near in "[a-c{}\\[\\]()*:/~]{0,8}") {
        for text in [&text, &near] {
            let text = serde_json::to_string(text).expect("text");
            for table in ["match", "add_headers"] {
                let file = format!("[[route]]\nfrom = \"x/{{a}}/{{b}}\"\ntopic = \"t\"\nkey = \"{{a}}\"\n[route.{table}]\n\"{name}\" = {text}\n");
                if let Err(problems) = parsed(&file) {
                    prop_assert!(!problems.is_empty(), "refused without a reason: {}", file);
                }
            }
        }
    }
}
