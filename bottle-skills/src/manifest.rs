//! Finds out whether agents can find a skill. They read the front matter of its `SKILL.md`, as
//! <https://agentskills.io/specification> says.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use bottle_common::host::directory::Directory;

const NAME: &str = "SKILL.md";
/// The number of bytes in which the end of the front matter is looked for.
const LIMIT: u64 = 1 << 16;

/// Whether `directory` has a SKILL.md that is a file.
pub fn is_in(directory: &Directory) -> bool {
    matches!(directory.open_file(NAME.as_ref()), Ok(Some(_)))
}

/// Returns why agents cannot find the skill in `directory`; `None` if they can. The skill is copied
/// in either case.
pub fn warning(directory: &Directory) -> Option<String> {
    match open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some("there is no SKILL.md, so agents cannot find the skill".to_owned())
        }
        Err(error) => Some(format!(
            "read {}: {error}",
            directory.path().join(NAME).display()
        )),
        Ok(file) if has_front_matter(&file) => None,
        Ok(_) => Some(
            "SKILL.md has no front matter between two lines of `---`, so agents cannot find the skill"
                .to_owned(),
        ),
    }
}

/// Opens the SKILL.md in `directory`, or the file of the skill that it is a link to.
fn open(directory: &Directory) -> io::Result<File> {
    let not_a_file = || io::Error::other("not a regular file");
    if let Some(file) = directory.open_file(NAME.as_ref())? {
        return Ok(file);
    }
    directory.target(NAME.as_ref()).map_err(|_| not_a_file())?;
    let target = fs::canonicalize(directory.path().join(NAME));
    let target = target.map_err(|_| io::Error::other("a link that leads nowhere"))?;
    let below = target.strip_prefix(directory.path());
    let below = below.map_err(|_| io::Error::other("a link that leads out of the skill"))?;
    directory
        .below(below, Directory::open_file)?
        .ok_or_else(not_a_file)
}

/// Whether `file` starts with a line `---` and has another such line after it.
fn has_front_matter(file: impl Read) -> bool {
    let lines = BufReader::new(file.take(LIMIT))
        .split(b'\n')
        .map_while(Result::ok);
    let mut lines = lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
    let Some(first) = lines.next() else {
        return false;
    };
    first.trim_start_matches('\u{feff}') == "---" && lines.any(|line| line == "---")
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, has_front_matter};

    #[test]
    fn front_matter_is_between_two_lines() {
        for text in [
            "---\na\n---\nb\n",
            "---\n---",
            "\u{feff}---\r\na\r\n---\r\n",
            "---  \n---\t",
        ] {
            assert!(has_front_matter(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "a\n---\nb\n---\n",
            "---\na\n",
            "--- x\n---\n",
            " ---\n---",
            "---\n ---",
        ] {
            assert!(!has_front_matter(text.as_bytes()), "{text}");
        }
        let long = "x".repeat(usize::try_from(LIMIT).unwrap());
        assert!(!has_front_matter(format!("---\n{long}\n---\n").as_bytes()));
    }
}
