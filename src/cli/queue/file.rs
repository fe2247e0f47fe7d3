//! The files of `export` and `import`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use super::access::{Answers, Failure, Input};
use super::print::{self, Printer};
use crate::exit::Exit;
use crate::files;
use crate::ops::hand::Answer;
use crate::ops::hand::format::{Ending, Line, Reader};

/// Writes the lines of an export that `work` answers to `output`, or to standard output.
pub(super) fn write(
    output: Option<&Path>,
    printer: &mut Printer,
    work: impl FnOnce(Answers<'_>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let Some(path) = output else {
        return work(&mut |answer| put(answer, &mut io::stdout().lock(), printer));
    };
    let unfinished = files::unfinished(path);
    let fail = |error: io::Error| Failure::File(format!("cannot write {}: {error}", path.display()));
    let mut out = BufWriter::new(files::create_private(&unfinished).map_err(fail)?);
    let written = work(&mut |answer| put(answer, &mut out, printer)).and_then(|exit| {
        out.flush().map_err(fail)?;
        out.get_ref().sync_all().map_err(fail)?;
        fs::rename(&unfinished, path).map_err(fail)?;
        Ok(exit)
    });
    if written.is_err() && fs::remove_file(&unfinished).is_err() {
        print::error(&format!("{} is left behind, unfinished", unfinished.display()));
    }
    written
}

fn put(answer: Answer, out: &mut dyn Write, printer: &mut Printer) -> io::Result<()> {
    match answer {
        Answer::Record(line) => {
            out.write_all(line.get().as_bytes())?;
            out.write_all(b"\n")
        }
        other => printer.print(other),
    }
}

/// Opens a file to import and reads it to its end first: nothing is taken from one that is not what was written.
pub(super) fn checked(path: &Path, damaged: bool) -> Result<Input, Failure> {
    let fail = |error: io::Error| Failure::File(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Failure::Usage(format!(
            "{} is no file: write the export to a file first, it is read twice",
            path.display()
        )));
    }
    if let Some(fault) = fault(&file).map_err(|what| Failure::Usage(format!("{}: {what}", path.display())))?
        && !damaged
    {
        let path = path.display();
        return Err(Failure::File(format!(
            "{path} is not what was written: {fault}; nothing was taken. Write --damaged to take what is legible"
        )));
    }
    file.rewind().map_err(fail)?;
    Ok(BufReader::new(file))
}

/// What is wrong with it. A torn end is no fault here: what comes before it is whole.
fn fault(file: &File) -> Result<Option<String>, String> {
    let mut reader = Reader::open(BufReader::new(file)).map_err(|error| error.to_string())?;
    while let Some(line) = reader.next_line().map_err(|error| error.to_string())? {
        if let Line::Bad(why) = line {
            return Ok(Some(why));
        }
    }
    Ok(match reader.ending() {
        Some(Ending::Altered(what)) => Some(what.clone()),
        _ => None,
    })
}
