//! The plan as text: checked as a whole, carried from stdin to stdout untouched but for the receipts.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result, anyhow, bail};
use indexmap::IndexMap;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object whose values are kept as they were written.
type Members = IndexMap<String, Box<RawValue>>;

/// A plan, as written.
pub struct Document {
    text: String,
}

impl Document {
    /// Takes `text` when it is one JSON object with no key twice in the same object.
    pub fn parse(text: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(text).context("the plan is not UTF-8")?;
        // The place of what is wrong is looked for only then: it takes twice as long.
        if serde_json::from_str::<UniqueKeys>(&text).is_err() {
            read::<UniqueKeys>(&text).context("the plan is not valid JSON")?;
        }
        if !text.trim_start().starts_with('{') {
            bail!("the plan is not a JSON object");
        }
        Ok(Self { text })
    }

    /// Reads the plan into `T`; errors name the JSON path.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        read(&self.text)
    }

    /// The plan with `value` as `<group>.<step>`, in one piece; an earlier one of the step is replaced.
    pub fn with(&self, group: &str, step: &str, value: &impl Serialize) -> Result<String> {
        let mut plan: Members = serde_json::from_str(&self.text)?;
        let mut members: Members = match plan.get(group) {
            Some(members) => Option::deserialize(&**members)?.unwrap_or_default(),
            None => Members::new(),
        };
        members.insert(step.to_owned(), to_raw_value(value)?);
        plan.insert(group.to_owned(), to_raw_value(&members)?);
        Ok(serde_json::to_string(&plan)?)
    }

    /// The plan as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| describe(error, ""))?;
    json.end()?;
    Ok(value)
}

/// Reads a part of the plan that stands at the path `at`.
pub fn read_part<T: DeserializeOwned>(part: serde_json::Value, at: &str) -> Result<T> {
    serde_path_to_error::deserialize(part).map_err(|error| describe(error, at))
}

/// The message for an error in the part of the plan at the path `at`: where, then what.
fn describe(error: serde_path_to_error::Error<serde_json::Error>, at: &str) -> anyhow::Error {
    let path = error.path().to_string();
    let error = error.into_inner();
    let message = error.to_string();
    if error.is_eof() {
        return anyhow!("it is cut short: {message}");
    }
    if !error.is_data() {
        return anyhow!(message);
    }
    // The path says where; the position would be the end of the value.
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let path: Vec<_> = [at, &path].into_iter().filter(|part| !matches!(*part, "" | ".")).collect();
    if path.is_empty() { anyhow!("{message}") } else { anyhow!("{}: {message}", path.join(".")) }
}

/// Any JSON in which no object has a key twice: which of the two values holds is anybody's guess.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("key `{key}` is there twice")));
            }
            map.next_value::<Self>()?;
            seen.insert(key);
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
