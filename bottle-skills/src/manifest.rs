//! What agents read of a skill before they use it: the front matter of its `SKILL.md`, by the rules of
//! <https://agentskills.io/specification>.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use bottle_common::stage;

/// The longest front matter that is looked through, in bytes.
const LIMIT: u64 = 1 << 16;
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1024;
const MAX_COMPATIBILITY: usize = 500;

/// What of the skill in `directory`, called `name`, is not by the rules. It is copied all the same.
pub fn warnings(directory: &Path, name: &str) -> Vec<String> {
    let path = directory.join("SKILL.md");
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return vec!["there is no SKILL.md: agents do not find it".to_owned()];
    }
    let file = match stage::open(&path) {
        Ok(file) => file,
        Err(error) => return vec![format!("{error:#}")],
    };
    match front_matter(file) {
        Some(lines) => broken_rules(&lines, name),
        None => vec!["SKILL.md has no front matter between two lines of `---`: agents do not find it".to_owned()],
    }
}

/// The lines between the first two of `---`.
fn front_matter(file: impl Read) -> Option<Vec<String>> {
    let mut lines = BufReader::new(file.take(LIMIT)).split(b'\n').map_while(Result::ok);
    let mut next = || lines.next().map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
    if next()?.trim_start_matches('\u{feff}') != "---" {
        return None;
    }
    let mut found = Vec::new();
    loop {
        match next()? {
            line if line == "---" => return Some(found),
            line => found.push(line),
        }
    }
}

fn broken_rules(lines: &[String], directory: &str) -> Vec<String> {
    let mut broken = Vec::new();
    match field(lines, "name") {
        Field::Missing => broken.push("SKILL.md has no name".to_owned()),
        Field::Text(name) if name.is_empty() => broken.push("SKILL.md has an empty name".to_owned()),
        Field::Text(name) => {
            if name.chars().count() > MAX_NAME {
                broken.push(format!("the name in SKILL.md is longer than {MAX_NAME} characters"));
            }
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !name.chars().all(fits) || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
                let rule = "has other characters than lowercase letters, digits and single hyphens between them";
                broken.push(format!("the name in SKILL.md {rule}: `{}`", start(&name)));
            }
            if name != directory {
                broken.push(format!("the name in SKILL.md is not the directory's: `{}`", start(&name)));
            }
        }
        Field::Other => {}
    }
    match field(lines, "description") {
        Field::Missing => broken.push("SKILL.md has no description".to_owned()),
        Field::Text(text) if text.is_empty() => broken.push("SKILL.md has an empty description".to_owned()),
        Field::Text(text) if text.chars().count() > MAX_DESCRIPTION => {
            broken.push(format!("the description in SKILL.md is longer than {MAX_DESCRIPTION} characters"));
        }
        Field::Text(_) | Field::Other => {}
    }
    if let Field::Text(text) = field(lines, "compatibility")
        && text.chars().count() > MAX_COMPATIBILITY
    {
        broken.push(format!("the compatibility in SKILL.md is longer than {MAX_COMPATIBILITY} characters"));
    }
    broken
}

/// As much of `name` as is worth showing.
fn start(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// A field of the front matter.
#[derive(Debug, Eq, PartialEq)]
enum Field {
    Missing,
    /// Its text.
    Text(String),
    /// It is written in a way that is not looked into; a YAML parser would be larger than this program may be.
    Other,
}

/// Reads the field `name` at the top level of `lines`, as far as scalars go: plain, quoted or a block.
fn field(lines: &[String], name: &str) -> Field {
    let value = |line: &String| {
        let rest = line.strip_prefix(name)?.trim_start().strip_prefix(':')?;
        (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| rest.trim().to_owned())
    };
    let Some((number, first)) = lines.iter().enumerate().find_map(|(number, line)| Some((number, value(line)?))) else {
        return Field::Missing;
    };
    let is_inside = |line: &&String| line.is_empty() || line.starts_with([' ', '\t']);
    let more: Vec<_> = lines[number + 1..].iter().take_while(is_inside).map(|line| line.trim()).collect();
    let folded = |first: &str| {
        let mut words = vec![first.to_owned()];
        words.extend(more.iter().map(|&line| line.to_owned()));
        words.retain(|line| !line.is_empty());
        words.join(" ")
    };
    match first.chars().next() {
        // A block's head, or a comment.
        Some('|' | '>' | '#') => Field::Text(folded("")),
        Some(quote @ ('"' | '\'')) => {
            match folded(&first).strip_prefix(quote).and_then(|text| text.split_once(quote)) {
                // Escapes and doubled quotes are more than one character for one.
                Some((text, rest)) if !text.contains('\\') && !rest.starts_with(quote) => Field::Text(text.to_owned()),
                _ => Field::Other,
            }
        }
        Some('{' | '[' | '&' | '*' | '!') => Field::Other,
        _ => Field::Text(folded(first.split(" #").next().unwrap_or(&first).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, broken_rules, field, front_matter};

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn reads_scalars_of_every_form() {
        for (text, expected) in [
            ("name: verify", Some("verify")),
            ("name:", Some("")),
            ("name: 'verify' # mine", Some("verify")),
            ("name: \"verify\"", Some("verify")),
            ("name: verify # mine", Some("verify")),
            ("name: >-\n  a\n  b\n\nother: c", Some("a b")),
            ("name: |\n  a\n  b", Some("a b")),
            ("name: a\n  b", Some("a b")),
            ("name: # none", Some("")),
            ("other: x\nname : y", Some("y")),
            ("name: *anchor", None),
            ("name: \"a\\nb\"", None),
            ("name: ''''", None),
        ] {
            let expected = expected.map_or(Field::Other, |text| Field::Text(text.to_owned()));
            assert_eq!(field(&lines(text), "name"), expected, "{text}");
        }
        for text in ["", "names: x", "metadata:\n  name: x", "name:x"] {
            assert_eq!(field(&lines(text), "name"), Field::Missing, "{text}");
        }
    }

    #[test]
    fn the_limits_are_as_published() {
        let broken = |name: &str, length| {
            broken_rules(&lines(&format!("name: {name}\ndescription: {}", "ä".repeat(length))), name)
        };
        assert_eq!(broken(&"a".repeat(64), 1024), [""; 0]);
        assert_eq!(broken(&"a".repeat(65), 1025).len(), 2);
        for name in ["-a", "a-", "a--b", "A", "a_b", "a b", "ä"] {
            assert_eq!(broken(name, 1).len(), 1, "{name}");
        }
    }

    #[test]
    fn front_matter_is_between_two_lines() {
        let found = |text: &str| front_matter(text.as_bytes());
        assert_eq!(found("---\na\n---\nb\n"), Some(lines("a")));
        assert_eq!(found("\u{feff}---\r\na\r\n---\r\n"), Some(lines("a")));
        for text in ["", "a\n---\nb\n---\n", "---\na\n", "--- \n a"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
