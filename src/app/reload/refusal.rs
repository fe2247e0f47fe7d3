//! Why a reload is refused, in two forms. What is wrong quotes what stands in the file, and a secret may stand where none
//! belongs. So the full text goes to who asked for the reload and to the log, as `edgeferry check` would say it; the state, which
//! goes to brokers, Kafka, the page and reports, has the place and what kind of mistake it is.

use crate::config::LoadError;
use crate::exit::Exit;
use crate::ops::state::MISTAKES_MAX;
use crate::settings::Problem;

/// Longest form for the state, characters: a setting's path may be as long as the names in it.
const SHOWN_MAX: usize = 200;

/// What is wrong, and what it means for whoever asked.
#[derive(Debug)]
pub(in crate::app) struct Refusal {
    pub exit: Exit,
    pub why: Vec<Mistake>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Mistake {
    /// May quote the file.
    pub in_full: String,
    /// Quotes nothing but names of settings.
    pub shown: String,
}

impl Refusal {
    pub fn one(exit: Exit, mistake: Mistake) -> Self {
        Self {
            exit,
            why: vec![mistake],
        }
    }

    /// Of a file that cannot be read, or is no configuration.
    pub fn of_file(error: &LoadError) -> Self {
        let why = match error {
            LoadError::Invalid(problems) => problems.iter().map(Mistake::of_problem).collect(),
            LoadError::Unreadable { .. } => vec![Mistake::plain(error.to_string())],
        };
        Self {
            exit: Exit::Usage,
            why,
        }
    }

    /// For the state: the first ones, and how many more there are.
    pub fn shown(&self) -> (Vec<String>, u64) {
        let shown = self.why.iter().take(MISTAKES_MAX);
        let more = self.why.len().saturating_sub(MISTAKES_MAX);
        (shown.map(|mistake| mistake.shown.clone()).collect(), more as u64)
    }
}

impl Mistake {
    /// `shown` says where and what kind.
    pub fn new(in_full: String, shown: &str) -> Self {
        let shown = shown.chars().take(SHOWN_MAX).collect();
        Self { in_full, shown }
    }

    /// Our own words, which quote nothing.
    pub fn plain(text: String) -> Self {
        let shown = text.clone();
        Self::new(text, &shown)
    }

    fn of_problem(problem: &Problem) -> Self {
        let kind = match problem.field.is_empty() {
            true => "is no TOML",
            false => "cannot be used as it is",
        };
        let shown = format!("{}: {kind}", problem.place());
        Self::new(problem.to_string(), &shown)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const SECRET: &str = "hunter2-63e0";

    fn refused(text: &str) -> Refusal {
        let error = config::parse(Path::new("edgeferry.toml"), text).expect_err("it is wrong");
        Refusal::of_file(&error)
    }

    #[test]
    fn who_asked_gets_what_stands_in_the_file_and_the_state_does_not() {
        let refusal = refused(&format!(
            "[gateway]\ndata_dir = \"{SECRET}\"\n[[mqtt]]\nname = \"local\"\nurl = \"{SECRET}\"\npassword_file = \"{SECRET}\"\n\
             keep_alive = \"{SECRET}\"\n[kafka]\ndelivery = \"{SECRET}\"\n"
        ));
        let full: Vec<&str> = refusal.why.iter().map(|one| one.in_full.as_str()).collect();
        assert!(full.iter().any(|text| text.contains(SECRET)), "{full:#?}");
        let (shown, _) = refusal.shown();
        assert!(shown.iter().all(|text| !text.contains(SECRET)), "{shown:#?}");
        let wanted = "line 6: mqtt[0].password_file: cannot be used as it is";
        assert!(shown.iter().any(|text| text == wanted), "{shown:#?}");
    }

    #[test]
    fn what_is_no_toml_is_not_quoted_in_the_state() {
        let (shown, _) = refused(&format!("[gateway]\nid = {SECRET}!\n")).shown();
        assert!(!shown.is_empty());
        assert!(shown.iter().all(|text| !text.contains(SECRET)), "{shown:?}");
        let problem = Problem {
            file: "edgeferry.toml".into(),
            line: 2,
            field: String::new(),
            wrong: SECRET.to_owned(),
            right: None,
        };
        assert_eq!(Mistake::of_problem(&problem).shown, "line 2: is no TOML");
    }

    #[test]
    fn the_state_has_so_many_mistakes_and_how_many_more_there_are() {
        let lanes = "[[lane]]\nname = \"a b\"\n".repeat(50);
        let refusal = refused(&lanes);
        let (shown, more) = refusal.shown();
        assert_eq!(shown.len(), MISTAKES_MAX);
        assert_eq!(more, (refusal.why.len() - MISTAKES_MAX) as u64);
        assert!(more >= 40, "{more}");
        let long = Mistake::new(String::new(), &"ü".repeat(10_000));
        assert_eq!(long.shown.chars().count(), SHOWN_MAX);
    }
}
