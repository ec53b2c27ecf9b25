//! Whether agents can find a skill. They read the front matter of its `SKILL.md`, as
//! <https://agentskills.io/specification> says.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use bottle_common::host::files;

/// How far into the file the end of the front matter is looked for, in bytes.
const LIMIT: u64 = 1 << 16;

/// Gives the reason why agents cannot find the skill in `directory`; `None` if they can. The skill
/// is copied in any case.
pub fn warning(directory: &Path) -> Option<String> {
    let path = directory.join("SKILL.md");
    if path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        return Some("there is no SKILL.md, so agents cannot find the skill".to_owned());
    }
    let file = match files::open(&path) {
        Ok(file) => file,
        Err(error) => return Some(format!("{error:#}")),
    };
    if has_front_matter(file) {
        return None;
    }
    Some(
        "SKILL.md has no front matter between two lines of `---`, so agents cannot find the skill"
            .to_owned(),
    )
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
