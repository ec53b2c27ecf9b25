//! How the plan's objects are read: which keys they may have, and which values count as unset.

use std::fmt;
use std::marker::PhantomData;

use derive_more::Deref;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_aux::serde_introspection::serde_introspect;

/// A JSON object of the plan, read into `T`. Serde alone would also take an array for it.
///
/// A key that `T` does not have is refused when `STRICT`; otherwise only when it looks like a slip of the pen.
#[derive(Clone, Debug, Default, Deref)]
pub struct Section<T, const STRICT: bool = false>(T);

/// A [`Section`] in which every unknown key is refused.
pub type Strict<T> = Section<T, true>;

impl<T, const STRICT: bool> Section<T, STRICT> {
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<'de, T: DeserializeOwned, const STRICT: bool> Deserialize<'de> for Section<T, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T, const STRICT: bool>(PhantomData<T>);

        impl<'de, T: DeserializeOwned, const STRICT: bool> Visitor<'de> for Object<T, STRICT> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<T, A::Error> {
                let known = serde_introspect::<T>();
                T::deserialize(MapAccessDeserializer::new(CheckedKeys { inner, known, strict: STRICT, refusal: None }))
            }
        }
        deserializer.deserialize_map(Object::<T, STRICT>(PhantomData)).map(Self)
    }
}

struct CheckedKeys<A> {
    inner: A,
    known: &'static [&'static str],
    strict: bool,
    /// Why the key that was just read cannot be.
    refusal: Option<String>,
}

impl<A> CheckedKeys<A> {
    fn refusal(&self, key: &str) -> Option<String> {
        if self.known.contains(&key) {
            return None;
        }
        let plain = key.to_lowercase().replace('-', "_");
        let near =
            self.known.iter().map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &plain), known)).min();
        match near {
            // Two slips in a word of six letters are still that word; in a shorter one, one.
            Some((slips, known)) if slips <= if known.len() < 6 { 1 } else { 2 } => {
                Some(format!("unknown key `{key}`: did you mean `{known}`?"))
            }
            _ => self.strict.then(|| format!("unknown key `{key}`")),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for CheckedKeys<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.inner.next_key::<String>()? else {
            return Ok(None);
        };
        self.refusal = self.refusal(&key);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.refusal.take() {
            // At the value, so that the path in the message ends with the key.
            Some(refusal) => self.inner.next_value_seed(Refused(refusal, PhantomData)),
            None => self.inner.next_value_seed(seed),
        }
    }
}

/// A value that cannot be, whatever it is.
struct Refused<T>(String, PhantomData<T>);

impl<'de, T> DeserializeSeed<'de> for Refused<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<T, D::Error> {
        Err(D::Error::custom(self.0))
    }
}

/// A value that is the launcher's business: known by its key, carried untouched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried;

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Self)
    }
}

/// Reads `null` as the type's default; for `#[serde(deserialize_with)]`.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `null`, `""` and `"."` as unset: the launcher's language prints an empty path as `.`.
pub fn unless_unset<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String>,
    T::Error: fmt::Display,
{
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !matches!(text.as_str(), "" | ".") => T::try_from(text).map(Some).map_err(D::Error::custom),
        _ => Ok(None),
    }
}
