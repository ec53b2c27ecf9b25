//! The plan as JSON text. The whole text is checked. Then it is passed from stdin to stdout
//! unchanged, except for what the steps add.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use anyhow::{Context, Result, anyhow};
use indexmap::IndexMap;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::hinted;
use crate::text::shorten;

/// A JSON object whose values keep their text.
type Members = IndexMap<String, Box<RawValue>>;

/// The maximum number of characters of a JSON path in a message.
const MAX_PATH: usize = 300;
/// The maximum number of characters of a key in a message.
const MAX_KEY: usize = 100;
/// The hint if the text is no plan at all.
const DESCRIBED: &str = "docs/plan.md describes the plan, and so does `man bottle-plan`";

/// A plan as JSON text.
#[derive(Debug)]
pub struct Document {
    text: String,
}

impl Document {
    /// Checks that `text` is a JSON object.
    ///
    /// # Errors
    ///
    /// If the text is not UTF-8, is not valid JSON or not an object, or if an object in it has a
    /// key twice.
    pub fn parse(text: Vec<u8>) -> Result<Self> {
        refuse_byte_order_mark(&text)?;
        let text = String::from_utf8(text).context("the plan is not UTF-8")?;
        // This is read again with its path only if it is wrong, because that takes twice as long.
        if serde_json::from_str::<UniqueKeys>(&text).is_err() {
            read::<UniqueKeys>(&text).map_err(|error| {
                hinted(format!("the plan is not valid JSON: {error:#}"), DESCRIBED)
            })?;
        }
        if !text.trim_start().starts_with('{') {
            return Err(hinted("the plan is not a JSON object", DESCRIBED));
        }
        Ok(Self { text })
    }

    /// Reads the plan into `T`.
    ///
    /// # Errors
    ///
    /// If `T` does not accept a value. The message begins with the JSON path of the value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        read(&self.text)
    }

    /// Returns the plan's text with `value` as `<group>.<step>`. This replaces an earlier value of
    /// the step.
    ///
    /// # Errors
    ///
    /// If `value` cannot be written as JSON, or if `group` is not an object.
    pub fn with(&self, group: &str, step: &str, value: &impl Serialize) -> Result<String> {
        let mut plan: Members = serde_json::from_str(&self.text)?;
        let mut members = match plan.get(group) {
            Some(members) => Option::<Members>::deserialize(&**members)?.unwrap_or_default(),
            None => Members::new(),
        };
        members.insert(step.to_owned(), to_raw_value(value)?);
        plan.insert(group.to_owned(), to_raw_value(&members)?);
        Ok(serde_json::to_string(&plan)?)
    }

    /// Returns the plan's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| describe(error, ""))?;
    json.end()
        .map_err(|error| anyhow!(plain(&error.to_string())))?;
    Ok(value)
}

/// Fails if `text` begins with a mark that editors of Windows write.
fn refuse_byte_order_mark(text: &[u8]) -> Result<()> {
    let encoding = match text {
        [0xef, 0xbb, 0xbf, ..] => "with a byte order mark",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "as UTF-16",
        _ => return Ok(()),
    };
    Err(hinted(
        format!("the plan is written {encoding}"),
        "save it as UTF-8 without a byte order mark",
    ))
}

/// Says serde's message about the syntax, which ends with the position, in plain words.
fn plain(message: &str) -> String {
    let (what, position) = message.split_once(" at ").unwrap_or((message, ""));
    let what = match what {
        "key must be a string" => "a key in double quotes is expected",
        "expected value" | "expected ident" => {
            "a value is expected: an object, a list, a string in double quotes, a number, true, \
             false or null"
        }
        "expected `:`" => "a `:` is expected after a key; a list is written in `[` and `]`",
        "expected `,` or `}`" => "a `,` or a `}` is expected",
        "expected `,` or `]`" => "a `,` or a `]` is expected",
        "trailing comma" => "nothing follows the comma",
        "trailing characters" => "something follows the end of the plan",
        "recursion limit exceeded" => "it is nested deeper than 127 levels",
        _ if what.starts_with("EOF while parsing") => "it is cut short",
        _ if what.starts_with("control character") => {
            "a string contains a control character, such as a line break, which is written `\\n`"
        }
        what => what,
    };
    match position {
        "" => what.to_owned(),
        position => format!("{position}: {what}"),
    }
}

/// Reads `part` of the plan, which is at the JSON path `at`, into `T`.
///
/// # Errors
///
/// If `T` does not accept a value. The message begins with the JSON path of the value.
pub fn read_part<T: DeserializeOwned>(part: &RawValue, at: &str) -> Result<T> {
    let mut json = serde_json::Deserializer::from_str(part.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| describe(error, at))
}

/// Describes an error in the part of the plan at the JSON path `at`. The message says where the
/// error is, then what is wrong. It never repeats a value, which may be a secret.
fn describe(error: serde_path_to_error::Error<serde_json::Error>, at: &str) -> anyhow::Error {
    let mut path = at.to_owned();
    push(&mut path, &error.path().to_string());
    let error = error.into_inner();
    let message = error.to_string();
    if !error.is_data() {
        return anyhow!(plain(&message));
    }
    // The path says where the error is. The position is that of the value's end.
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let why = if let Some(key) = missing_key(message) {
        push(&mut path, key);
        "required, but not there".to_owned()
    } else {
        reworded(message)
    };
    if path.is_empty() {
        return anyhow!(why);
    }
    anyhow!("{}: {why}", shorten(&path, MAX_PATH))
}

/// Appends `more` to the JSON path `path`.
fn push(path: &mut String, more: &str) {
    if matches!(more, "" | ".") {
        return;
    }
    if !path.is_empty() && !more.starts_with('[') {
        path.push('.');
    }
    path.push_str(more);
}

/// Returns the key that is missing, if that is what serde's `message` says.
fn missing_key(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Rephrases serde's type error.
fn reworded(message: &str) -> String {
    let is_type = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    let parts = message.rsplit_once(", expected ").filter(|_| is_type);
    let Some((found, expected)) = parts else {
        return message.to_owned();
    };
    let found = found.split_once(": ").map_or("", |(_, found)| found);
    let found = match found.split(' ').next() {
        Some("string") => "a string",
        Some("integer" | "floating" | "number") => "a number",
        Some("boolean") => "a boolean",
        Some("sequence") => "a list",
        Some("map") => "an object",
        Some("null" | "unit") => "null",
        _ => "this",
    };
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        expected => expected,
    };
    format!("expected {expected}, not {found}")
}

/// Any JSON in which no object has a key twice. With two, it would be unclear which of the values
/// is meant.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        // Hashes are compared instead of keys, which would take much memory in a large plan. It is
        // so unlikely that two keys have the same hash that no valid plan will be refused for it.
        let hasher = RandomState::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(hasher.hash_one(&key)) {
                let key = shorten(&key, MAX_KEY);
                return Err(A::Error::custom(format_args!("key `{key}` is there twice")));
            }
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::Document;

    const VALUE: &str = "a value is expected: an object, a list, a string in double quotes, a \
                         number, true, false or null";

    fn parse(text: &str) -> Result<Document, String> {
        Document::parse(text.into()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn text_that_is_not_a_plan_is_refused() {
        let invalid = "the plan is not valid JSON: ";
        for (text, message) in [
            ("[]", "the plan is not a JSON object".to_owned()),
            (" 1 ", "the plan is not a JSON object".to_owned()),
            (r#""{}""#, "the plan is not a JSON object".to_owned()),
            (
                r#"{"a": 1, "a": 1}"#,
                format!("{invalid}key `a` is there twice"),
            ),
            (
                r#"{"a": {"b": [{"c": 1, "c": 2}]}}"#,
                format!("{invalid}a.b[0]: key `c` is there twice"),
            ),
            (
                r#"{"a": 1, "\u0061": 1}"#,
                format!("{invalid}key `a` is there twice"),
            ),
            (
                r#"{"a": {"#,
                format!("{invalid}line 1 column 7: it is cut short"),
            ),
            (
                r#"{"a": 1} {}"#,
                format!("{invalid}line 1 column 10: something follows the end of the plan"),
            ),
            (
                "{a: 1}",
                format!("{invalid}line 1 column 2: a key in double quotes is expected"),
            ),
            ("", format!("{invalid}line 1 column 0: it is cut short")),
            (
                "{1, 2}",
                format!("{invalid}line 1 column 2: a key in double quotes is expected"),
            ),
            (
                r#"{"a": None}"#,
                format!("{invalid}line 1 column 7: {VALUE}"),
            ),
            (
                r#"{"a": nul}"#,
                format!("{invalid}line 1 column 10: {VALUE}"),
            ),
            (
                r#"{"a": 1,}"#,
                format!("{invalid}line 1 column 9: nothing follows the comma"),
            ),
            (
                "{\"a\": \"\n\"}",
                format!(
                    "{invalid}line 2 column 0: a string contains a control character, such as a \
                     line break, which is written `\\n`"
                ),
            ),
            (
                &"[".repeat(200),
                format!("{invalid}line 1 column 128: it is nested deeper than 127 levels"),
            ),
            (
                "{\"a\" 1}",
                format!(
                    "{invalid}line 1 column 6: a `:` is expected after a key; a list is written in `[` and `]`"
                ),
            ),
            (
                "\u{feff}{}",
                "the plan is written with a byte order mark".to_owned(),
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), message);
        }
        let error = Document::parse(b"\xff\xfe{\0}\0".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "the plan is written as UTF-16");
        let error = Document::parse(b"{\"a\": \"\xff\"}".to_vec()).unwrap_err();
        assert!(format!("{error:#}").starts_with("the plan is not UTF-8: "));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_repeated() {
        for (message, reworded) in [
            (
                "invalid type: string \"s3cret\", expected a boolean",
                "expected a boolean, not a string",
            ),
            (
                "invalid type: string \"a, expected b\", expected a map",
                "expected an object, not a string",
            ),
            (
                "invalid type: integer `7`, expected a sequence",
                "expected a list, not a number",
            ),
            (
                "invalid type: floating point `7.5`, expected a string",
                "expected a string, not a number",
            ),
            (
                "invalid type: boolean `true`, expected an object",
                "expected an object, not a boolean",
            ),
            (
                "invalid type: sequence, expected x",
                "expected x, not a list",
            ),
            ("invalid type: map, expected x", "expected x, not an object"),
            ("invalid type: null, expected x", "expected x, not null"),
            (
                "invalid type: unit value, expected x",
                "expected x, not null",
            ),
            (
                "invalid value: integer `7`, expected x",
                "expected x, not a number",
            ),
            ("not a `host:port`", "not a `host:port`"),
            ("x, expected y", "x, expected y"),
        ] {
            assert_eq!(super::reworded(message), reworded);
        }
    }

    #[test]
    fn keys_of_different_objects_may_be_the_same() {
        assert!(
            parse(r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": null}], "c": [true, 1.5, -1]}"#).is_ok()
        );
    }

    #[test]
    fn an_addition_leaves_the_rest_as_it_was_written() {
        let text = r#"{"z": 1.50, "big": 123456789012345678901234567890, "a": "\u00e4", "receipts": {"ca": 1, "git": 2}}"#;
        let plan = parse(text).unwrap();
        assert_eq!(plan.text(), text);
        let with = plan.with("receipts", "git", &json!({"ms": 3})).unwrap();
        let expected = r#"{"z":1.50,"big":123456789012345678901234567890,"a":"\u00e4","receipts":{"ca":1,"git":{"ms":3}}}"#;
        assert_eq!(with, expected);
        let with = plan.with("checks", "ca", &Value::Null).unwrap();
        assert!(
            with.ends_with(r#","receipts":{"ca": 1, "git": 2},"checks":{"ca":null}}"#),
            "{with}"
        );
        let with = parse(r#"{"receipts": null}"#)
            .unwrap()
            .with("receipts", "ca", &1)
            .unwrap();
        assert_eq!(with, r#"{"receipts":{"ca":1}}"#);
    }

    #[test]
    fn an_error_begins_with_the_path() {
        let plan = parse(r#"{"a": [{"b": "x"}]}"#).unwrap();
        let error = plan.read::<HashMap<String, Vec<HashMap<String, bool>>>>();
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "a[0].b: expected a boolean, not a string");
    }

    #[test]
    fn a_long_key_and_a_long_path_are_cut() {
        for (length, shown) in [(100, "é".repeat(100)), (101, "é".repeat(100) + "…")] {
            let key = "é".repeat(length);
            let error = parse(&format!(r#"{{"{key}": 1, "{key}": 2}}"#)).unwrap_err();
            let message = format!("the plan is not valid JSON: key `{shown}` is there twice");
            assert_eq!(error, message);
        }
        for (length, shown) in [(300, "é".repeat(300)), (301, "é".repeat(300) + "…")] {
            let key = "é".repeat(length);
            let plan = parse(&format!(r#"{{"{key}": "x"}}"#)).unwrap();
            let error = plan
                .read::<HashMap<String, bool>>()
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("{shown}: expected a boolean, not a string"));
        }
    }
}
