//! The plan's types in its JSON Schema, `docs/plan.schema.json`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::plan::keys::{Opaque, Section};

/// A value that may also be unset: empty, `.` or null.
pub(crate) struct Unset<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Unset<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Unset{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<T>(), {"enum": ["", ".", null]}]})
    }
}

/// A value that may also be empty or null.
pub(crate) struct Empty<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Empty<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Empty{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<T>(), {"enum": ["", null]}]})
    }
}

impl<T: JsonSchema, const STRICT: bool> JsonSchema for Section<T, STRICT> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        if STRICT {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
        schema
    }
}

impl JsonSchema for Opaque {
    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// The checked types as regular expressions, in the syntax of ECMA-262 that JSON Schema uses.
pub(crate) mod pattern {
    pub const MACHINE_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";
    pub const SKILL_NAME: &str =
        r"^[^./\u0000-\u001f\u007f-\u009f-][^/\u0000-\u001f\u007f-\u009f]*$";
    pub const REMOTE_NAME: &str = "^[A-Za-z0-9._-]+$";
    pub const IDENTITY_TEXT: &str = r#"^(?=.*[^\s.,:;<>"\\'])[^<>\u0000-\u001f\u007f-\u009f-][^<>\u0000-\u001f\u007f-\u009f]*$"#;
    pub const IGNORE_PATTERN: &str =
        r"^(?! *$)[^#\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    pub const HOST_PATH: &str = r"^/[^\u0000]*$";

    const HOST: &str = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)";
    const PORT: &str = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|\
                        655[0-2][0-9]|6553[0-5]))";
    const USER: &str = "([A-Za-z0-9._+~][A-Za-z0-9._+~-]*@)?";
    /// The control characters, for a character class that excludes them.
    const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";

    pub fn host_port() -> String {
        format!("^{HOST}{PORT}$")
    }

    pub fn http_url() -> String {
        format!("^[Hh][Tt][Tt][Pp][Ss]?://{HOST}{PORT}?(/[!\"$->@-~]*)?$")
    }

    pub fn remote_url() -> String {
        let ssh = format!("ssh://{USER}{HOST}{PORT}?/[^{CONTROL}]+");
        let https = format!("https://{HOST}{PORT}?/[^?#{CONTROL}]+");
        let scp = format!("{USER}{HOST}:/?[^/@:{CONTROL}][^/@{CONTROL}]*(/[^{CONTROL}]*)?");
        format!("^({ssh}|{https}|{scp})$")
    }
}
