//! Reads the objects of the plan: decides which keys they may have, and which values are unset.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use derive_more::Deref;
use indexmap::IndexMap;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use crate::text::shorten;

/// A JSON object of the plan, read into `T`. (Serde alone would also accept an array.)
///
/// If `STRICT`, a key that `T` does not have is refused. Otherwise it is refused only if it looks
/// like a misspelling of a key that `T` has.
#[derive(Clone, Debug, Default, Deref)]
pub struct Section<T, const STRICT: bool = false>(T);

/// A [`Section`] in which every unknown key is refused.
pub type Strict<T> = Section<T, true>;

impl<T, const STRICT: bool> Section<T, STRICT> {
    /// Returns the value that was read.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<'de, T: DeserializeOwned, const STRICT: bool> Deserialize<'de> for Section<T, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(ObjectVisitor::<T, STRICT>(PhantomData))
            .map(Self)
    }
}

struct ObjectVisitor<T, const STRICT: bool>(PhantomData<T>);

impl<'de, T: DeserializeOwned, const STRICT: bool> Visitor<'de> for ObjectVisitor<T, STRICT> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(Object::<A, STRICT>(members))
    }
}

/// The members of an object. The struct that is read from them names the known keys.
struct Object<A, const STRICT: bool>(A);

impl<'de, A: MapAccess<'de>, const STRICT: bool> Deserializer<'de> for Object<A, STRICT> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let members = CheckedKeys {
            members: self.0,
            count: 0,
            known,
            is_strict: STRICT,
            refusal: None,
        };
        visitor.visit_map(members)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The members of an object whose keys are checked while they are read.
struct CheckedKeys<A> {
    members: A,
    /// The number of keys that have been read.
    count: usize,
    known: &'static [&'static str],
    is_strict: bool,
    /// Why the key that was just read is refused.
    refusal: Option<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for CheckedKeys<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.members.next_key::<String>()? else {
            return Ok(None);
        };
        self.count += 1;
        if self.count > MAX_MEMBERS {
            return Err(too_many());
        }
        self.refusal = refusal(&key, self.known, self.is_strict);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.refusal.take() {
            // The error is raised at the value, so that the path in the message ends with the key.
            Some(refusal) => self.members.next_value_seed(Refused(refusal, PhantomData)),
            None => self.members.next_value_seed(seed),
        }
    }
}

pub(crate) fn too_many<E: Error>() -> E {
    E::custom(format_args!("more than {MAX_MEMBERS} members"))
}

/// Refuses the value, whatever it is, with this message.
struct Refused<T>(String, PhantomData<T>);

impl<'de, T> DeserializeSeed<'de> for Refused<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<T, D::Error> {
        Err(D::Error::custom(self.0))
    }
}

/// The maximum number of members of an object or a list.
pub(crate) const MAX_MEMBERS: usize = 10_000;
/// A longer key, in bytes, is not compared with the known ones, because that would take too long.
const MAX_NEAR_MISS: usize = 100;
/// The maximum number of characters of a key in a message.
const MAX_SHOWN: usize = 100;

/// Returns why `key` is refused in an object that has the keys `known`; `None` if it is accepted.
fn refusal(key: &str, known: &[&str], is_strict: bool) -> Option<String> {
    if known.contains(&key) {
        return None;
    }
    let meant = near_miss(key, known);
    let key = shorten(key, MAX_SHOWN);
    match meant {
        Some(meant) => Some(format!("unknown key `{key}`: did you mean `{meant}`?")),
        None if is_strict => Some(format!("unknown key `{key}`")),
        None => None,
    }
}

/// Returns the key of `known` that `key` is a misspelling of: in another case, with another
/// separator, or with up to two typos (an extra, missing, wrong or swapped letter; one if the key
/// has fewer than six letters).
pub(crate) fn near_miss<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    if key.len() > MAX_NEAR_MISS {
        return None;
    }
    let normal = |key: &str| key.to_lowercase().replace('-', "_");
    let plain = normal(key);
    let slips = |known: &str| strsim::damerau_levenshtein(&normal(known), &plain);
    let nearest = known.iter().min_by_key(|known| (slips(known), **known))?;
    let allowed = if nearest.len() < 6 { 1 } else { 2 };
    (slips(nearest) <= allowed).then_some(nearest)
}

/// A value that only the launcher reads. Its key is known, and any value is passed through
/// unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opaque;

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_ignored_any(IgnoredAny)
            .map(|_| Self)
    }
}

/// Reads `null` as the type's default; for `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// The errors of the type.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an object into a map, and `null` as an empty map; for `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// The errors of keys and values, and if there are more than 10,000 members.
pub fn map_or_default<'de, D, K, V>(deserializer: D) -> Result<IndexMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Eq + Hash,
    V: Deserialize<'de>,
{
    let map = Option::<Bounded<IndexMap<K, V>>>::deserialize(deserializer)?;
    Ok(map.map(|map| map.0).unwrap_or_default())
}

/// Reads a list, and `null` as an empty list; for `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// The errors of the values, and if there are more than 10,000 values.
pub fn list_or_default<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Option::<Bounded<Vec<T>>>::deserialize(deserializer)?;
    Ok(list.map(|list| list.0).unwrap_or_default())
}

/// A collection of at most 10,000 members. Reading stops with an error at the next one.
pub struct Bounded<C>(pub C);

impl<'de, K, V> Deserialize<'de> for Bounded<IndexMap<K, V>>
where
    K: Deserialize<'de> + Eq + Hash,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BoundedVisitor::<IndexMap<K, V>>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<Vec<T>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor::<Vec<T>>(PhantomData))
    }
}

struct BoundedVisitor<C>(PhantomData<C>);

impl<'de, K, V> Visitor<'de> for BoundedVisitor<IndexMap<K, V>>
where
    K: Deserialize<'de> + Eq + Hash,
    V: Deserialize<'de>,
{
    type Value = Bounded<IndexMap<K, V>>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = IndexMap::new();
        while let Some((key, value)) = members.next_entry()? {
            if map.len() == MAX_MEMBERS {
                return Err(too_many());
            }
            map.insert(key, value);
        }
        Ok(Bounded(map))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<Vec<T>> {
    type Value = Bounded<Vec<T>>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = members.next_element()? {
            if list.len() == MAX_MEMBERS {
                return Err(too_many());
            }
            list.push(value);
        }
        Ok(Bounded(list))
    }
}

/// Reads `null`, `""` and `"."` as unset; for `#[serde(deserialize_with)]`. Python prints an empty
/// path as `.`.
///
/// # Errors
///
/// The errors of the type.
pub fn unless_unset<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String>,
    T::Error: fmt::Display,
{
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("" | ".") => Ok(None),
        Some(text) => T::try_from(text.to_owned())
            .map(Some)
            .map_err(D::Error::custom),
    }
}

/// Reads `null` and `""` as unset; for `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// The errors of the type.
pub fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String>,
    T::Error: fmt::Display,
{
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => T::try_from(text).map(Some).map_err(D::Error::custom),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::{Opaque, Section, Strict, near_miss, or_default, refusal, unless_unset};
    use crate::plan::values::HostPath;

    const KNOWN: &[&str] = &["git", "skills", "prompt", "user_cwd", "Upstream"];

    #[test]
    fn near_misses_are_refused_with_the_key_that_was_meant() {
        for (key, meant) in [
            ("skils", "skills"),
            ("skill", "skills"),
            ("Skills", "skills"),
            ("sklils", "skills"),
            ("skillsss", "skills"),
            ("sikls", "skills"),
            ("promt", "prompt"),
            ("gti", "git"),
            ("Git", "git"),
            ("gits", "git"),
            ("gi", "git"),
            ("user-cwd", "user_cwd"),
            ("userCwd", "user_cwd"),
            ("UpStream", "Upstream"),
            ("upstreem", "Upstream"),
            ("upstre", "Upstream"),
            ("SKILLS", "skills"),
            ("user-cwdxx", "user_cwd"),
        ] {
            let message = format!("unknown key `{key}`: did you mean `{meant}`?");
            assert_eq!(refusal(key, KNOWN, false).as_deref(), Some(&*message));
            assert_eq!(refusal(key, KNOWN, true).as_deref(), Some(&*message));
        }
    }

    #[test]
    fn other_keys_are_refused_only_in_strict_sections() {
        for key in [
            "env",
            "digits",
            "getx",
            "g",
            "kills-not",
            "sk",
            "pro",
            "",
            "user",
            "skillsxyz",
        ] {
            assert_eq!(refusal(key, KNOWN, false), None, "{key}");
            assert_eq!(
                refusal(key, KNOWN, true),
                Some(format!("unknown key `{key}`"))
            );
        }
        for key in KNOWN {
            assert_eq!(refusal(key, KNOWN, true), None);
        }
    }

    #[test]
    fn a_word_of_five_letters_may_have_one_slip() {
        let known = ["slugs"];
        assert_eq!(
            refusal("slgus", &known, false).as_deref(),
            Some("unknown key `slgus`: did you mean `slugs`?")
        );
        assert_eq!(refusal("plugin", &known, false), None);
        assert_eq!(refusal("slu", &known, false), None);
    }

    #[test]
    fn a_long_key_is_no_near_miss_and_is_cut() {
        let (longest, longer) = ("a".repeat(100), "a".repeat(101));
        assert_eq!(near_miss(&longest, &[&longer]), Some(&*longer));
        assert_eq!(near_miss(&longer, &[&longest]), None);
        assert_eq!(near_miss(&"a".repeat(102), &[&longer]), None);
        for (key, shown) in [("x".repeat(100), ""), ("x".repeat(101), "…")] {
            let message = format!("unknown key `{}{shown}`", "x".repeat(100));
            assert_eq!(refusal(&key, KNOWN, true), Some(message));
        }
    }

    #[derive(Debug, Default, Deserialize)]
    struct Example {
        #[serde(default, deserialize_with = "or_default")]
        number: u8,
        #[serde(default, deserialize_with = "unless_unset")]
        path: Option<HostPath>,
        #[serde(default, rename = "carried")]
        _carried: Opaque,
    }

    fn read<const STRICT: bool>(json: serde_json::Value) -> Result<Example, String> {
        let section: Result<Section<Example, STRICT>, _> = serde_json::from_value(json);
        section
            .map(Section::into_inner)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_is_an_object_with_valid_keys() {
        let example = read::<true>(json!({"number": 7, "path": "/a", "carried": {"x": [1]}}));
        let example = example.unwrap();
        assert_eq!(
            (example.number, example.path.unwrap().0.to_str()),
            (7, Some("/a"))
        );
        assert!(read::<false>(json!({"other": 1})).is_ok());
        assert_eq!(
            read::<true>(json!({"other": 1})).unwrap_err(),
            "unknown key `other`"
        );
        let near = "unknown key `nubmer`: did you mean `number`?";
        assert_eq!(read::<false>(json!({"nubmer": 1})).unwrap_err(), near);
        for other in [json!([7]), json!("x"), json!(1), json!(true), json!(null)] {
            assert!(
                read::<false>(other)
                    .unwrap_err()
                    .contains("expected an object")
            );
        }
        assert!(serde_json::from_str::<Strict<Example>>("[]").is_err());
        // An opaque value may be anything.
        for carried in ["null", "-1.5e3", r#""x""#, r#"{"x": [1, {}]}"#] {
            let text = format!(r#"{{"carried": {carried}, "number": 7}}"#);
            let example = serde_json::from_str::<Strict<Example>>(&text).unwrap();
            assert_eq!(example.number, 7, "{carried}");
        }
    }

    #[test]
    fn the_number_of_members_is_limited() {
        let members = |number: usize| {
            let members = (0..number).map(|key| (format!("key-{key}"), json!(1)));
            serde_json::Value::Object(members.collect())
        };
        assert!(read::<false>(members(10_000)).is_ok());
        assert_eq!(
            read::<false>(members(10_001)).unwrap_err(),
            "more than 10000 members"
        );
        let map = |number| super::map_or_default::<_, String, u8>(members(number));
        assert!(map(10_000).is_ok() && map(10_001).is_err());
        let list = |number| super::list_or_default::<_, u8>(json!(vec![1; number]));
        assert!(list(10_000).is_ok() && list(10_001).is_err());
    }

    #[test]
    fn null_is_the_default_and_a_path_may_be_unset() {
        assert_eq!(read::<true>(json!({"number": null})).unwrap().number, 0);
        for unset in [json!(null), json!(""), json!(".")] {
            assert!(read::<true>(json!({"path": unset})).unwrap().path.is_none());
        }
        assert!(read::<true>(json!({"path": "/"})).unwrap().path.is_some());
        for path in ["..", "./", " "] {
            assert!(read::<true>(json!({"path": path})).is_err(), "{path}");
        }
        assert!(read::<true>(json!({"path": 1})).is_err());
        assert!(
            read::<true>(json!({"path": "a\0"}))
                .unwrap_err()
                .contains("NUL")
        );
    }
}
