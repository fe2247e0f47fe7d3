//! What a mistake probably comes from, where only somebody who knows the tables can tell.

use crate::route;
use crate::settings::Problem;

/// Tables of a route: in TOML all lines below their headers are theirs.
const TABLES: [&str; 5] = ["cloudevents", "wasp", "ngsiv2", "match", "add_headers"];

/// The same problem; what would be right is said more closely if it can be.
pub(super) fn explained(mut problem: Problem) -> Problem {
    if let Some(right) = right(&problem) {
        problem.right = Some(right);
    }
    problem
}

fn right(problem: &Problem) -> Option<String> {
    let (table, key) = problem.field.rsplit_once('.')?;
    if problem.wrong == "is a single table" && key == "when" {
        return Some("put it into brackets, there may be several of it: when = [{ .. }]".to_owned());
    }
    if key == "headers" && problem.wrong.starts_with("invalid type: map") {
        return Some(
            "write headers of your own in a table [route.add_headers] behind the other keys".to_owned(),
        );
    }
    if key == "matches" && problem.wrong.contains("escape") {
        return Some("write it in single quotes, which leave a backslash alone: matches = '\\d+'".to_owned());
    }
    let (route, table) = table.rsplit_once('.')?;
    let is_misplaced = route.starts_with("route[")
        && !route.contains('.')
        && TABLES.contains(&table)
        && route::KEYS.contains(&key);
    is_misplaced.then(|| {
        format!("it is a key of the route: move the line above [route.{table}], whatever stands below belongs to the table")
    })
}
