//! Findings for people: grouped, most serious first, calm.

use std::io::{self, Write};

use super::{Finding, Kind, Standing};

/// All of them, or a word that there is none.
pub fn print(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    if findings.is_empty() {
        return writeln!(
            out,
            "\nNothing is known that this configuration could lose, reorder, duplicate or delay beyond an outage."
        );
    }
    writeln!(
        out,
        "\nWhat this configuration can lose, reorder, duplicate or delay, and what changes it (docs/guarantees.md):"
    )?;
    for kind in [Kind::Lose, Kind::Reorder, Kind::Duplicate, Kind::Delay] {
        let of_kind = || findings.iter().filter(|finding| finding.kind == kind);
        if of_kind().next().is_none() {
            continue;
        }
        writeln!(out, "\n  It can {} messages:", kind.word())?;
        for finding in of_kind() {
            writeln!(out, "  - {}{}", finding.why, aside(finding.standing))?;
            writeln!(out, "      {}: {}", finding.setting, finding.right)?;
        }
    }
    Ok(())
}

/// One line, for the journal: the service manager runs the check before each start.
pub fn summary(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let open = findings.iter().filter(|finding| finding.is_open_loss()).count();
    match open {
        0 => Ok(()),
        open => writeln!(
            out,
            "{open} way(s) to lose messages that nobody chose: run edgeferry check to see them"
        ),
    }
}

const fn aside(standing: Standing) -> &'static str {
    match standing {
        Standing::Open => "",
        Standing::Unseen => " (cannot be seen from here)",
        Standing::AsConfigured => " (as configured)",
    }
}
