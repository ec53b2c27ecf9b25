//! The entries of git's configuration files, as git lists them and reads them.

use std::fmt::Write as _;

/// A variable and its value, as git lists them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// `section.variable` or `section.subsection.variable`
    pub key: String,
    /// The value. A boolean variable may have none.
    pub value: Option<String>,
}

/// The memory that an entry without its text takes, in bytes, approximately.
pub const ENTRY_COST: usize = 100;

impl Entry {
    /// The memory that the entry takes, in bytes, approximately.
    pub fn cost(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, String::len) + ENTRY_COST
    }

    /// Splits the key into section, subsection and variable.
    pub fn parts(&self) -> (&str, Option<&str>, &str) {
        let (section, rest) = self.key.split_once('.').unwrap_or((&self.key, ""));
        match rest.rsplit_once('.') {
            Some((subsection, name)) => (section, Some(subsection), name),
            None => (section, None, rest),
        }
    }

    /// Whether one of `patterns` matches the key. `section.variable` matches with any subsection. A
    /// pattern that ends with `*` matches all keys that begin with the text before it.
    pub fn is_of(&self, patterns: &[&str]) -> bool {
        let (section, _, name) = self.parts();
        patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => self.key.starts_with(start),
                None => pattern.split_once('.') == Some((section, name)),
            })
    }

    /// Returns the key for a message. An address in it is left out, because it may contain a token.
    pub fn shown(&self) -> String {
        match self.parts() {
            (section, Some(subsection), name) if subsection.contains(['@', ':']) => {
                format!("{section}.*.{name}")
            }
            _ => self.key.clone(),
        }
    }
}

/// Parses the output of `git config --list -z`.
pub fn parse(list: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for entry in list.split(|&byte| byte == 0) {
        if entry.is_empty() {
            continue;
        }
        let text = String::from_utf8_lossy(entry).into_owned();
        entries.push(match text.split_once('\n') {
            Some((key, value)) => Entry {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            },
            None => Entry {
                key: text,
                value: None,
            },
        });
    }
    entries
}

/// Returns the value of `key`. If the key is set several times, the last value counts.
pub fn value<'a>(entries: &'a [Entry], key: &str) -> Option<&'a str> {
    let entry = entries.iter().rev().find(|entry| entry.key == key)?;
    entry.value.as_deref()
}

/// Formats `entries` as a configuration file, from which git reads the same entries.
pub fn render(entries: &[Entry]) -> String {
    let mut config = String::new();
    let mut last = None;
    for entry in entries {
        let (section, subsection, name) = entry.parts();
        if last != Some((section, subsection)) {
            last = Some((section, subsection));
            let _ = match subsection {
                Some(subsection) => {
                    let subsection = subsection.replace('\\', "\\\\").replace('"', "\\\"");
                    writeln!(config, "[{section} \"{subsection}\"]")
                }
                None => writeln!(config, "[{section}]"),
            };
        }
        let _ = match &entry.value {
            Some(value) => writeln!(config, "\t{name} = {}", quoted(value)),
            None => writeln!(config, "\t{name}"),
        };
    }
    config
}

/// Formats `value` for git-config(1), in double quotes if git would otherwise read another value.
fn quoted(value: &str) -> String {
    let is_special = |c: char| c.is_control() || matches!(c, '"' | '\\' | '#' | ';');
    if !value.contains(is_special) && value.trim() == value && !value.contains("  ") {
        return value.to_owned();
    }
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            c => text.push(c),
        }
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::{ENTRY_COST, Entry, parse, quoted, render, value};

    fn entries(lines: &[&str]) -> Vec<Entry> {
        let list = lines.iter().map(|line| line.replacen('=', "\n", 1) + "\0");
        parse(list.collect::<String>().as_bytes())
    }

    #[test]
    fn values_that_git_would_misread_are_quoted() {
        for (value, expected) in [
            ("ssh://git@host/repo.git", "ssh://git@host/repo.git"),
            ("git@host:a b.git", "git@host:a b.git"),
            (r#"git@host:a;b#c"d\e"#, r#""git@host:a;b#c\"d\\e""#),
            ("git@host:a ", "\"git@host:a \""),
            (" a", "\" a\""),
            ("a  b", "\"a  b\""),
            ("a\nb\tc\u{8}d", r#""a\nb\tc\bd""#),
            ("a\\nb", r#""a\\nb""#),
            ("", ""),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }

    #[test]
    fn a_list_is_parsed_and_rendered() {
        let list = b"core.bare\nfalse\0core.flag\0remote.a.b.url\nx\ny\0remote.a.b.fetch\n+r\0";
        let read = parse(list);
        let expected = entries(&[
            "core.bare=false",
            "core.flag",
            "remote.a.b.url=x\ny",
            "remote.a.b.fetch=+r",
        ]);
        assert_eq!(read, expected);
        assert_eq!(
            render(&read),
            "[core]\n\tbare = false\n\tflag\n[remote \"a.b\"]\n\turl = \"x\\ny\"\n\tfetch = +r\n"
        );
        assert_eq!(
            render(&entries(&[
                "url.a\\\"b.insteadof=c",
                "core.x=1",
                "url.a.insteadof=d"
            ])),
            "[url \"a\\\\\\\"b\"]\n\tinsteadof = c\n[core]\n\tx = 1\n[url \"a\"]\n\tinsteadof = d\n"
        );
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn an_entry_costs_its_text_and_more() {
        let cost = |line| entries(&[line])[0].cost() - ENTRY_COST;
        assert_eq!((cost("a.b=12345"), cost("a.bc")), (8, 4));
    }

    #[test]
    fn the_last_value_counts() {
        let set = entries(&["a.b=1", "a.c=x", "a.b=2"]);
        assert_eq!((value(&set, "a.b"), value(&set, "a.d")), (Some("2"), None));
    }
}
