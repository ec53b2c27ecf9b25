//! The JSON Schemas in `docs/`, made from the types that read the plan and print the receipts.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};

use crate::check::Difference;
use crate::receipt::{Ca, Git, Prompt, Receipt, Skills, Supervise};
use crate::section::{Carried, Section};
use crate::written;

/// A value that may also be unset.
pub struct Unset<T>(PhantomData<T>);

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

impl JsonSchema for Carried {
    fn schema_name() -> Cow<'static, str> {
        "Carried".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// `receipts` of a plan that was provisioned.
#[derive(JsonSchema)]
#[schemars(title = "Receipts of the provisioning steps")]
#[allow(dead_code, reason = "only its schema matters")]
struct Receipts {
    ca: Option<Receipt<Ca>>,
    prompt: Option<Receipt<Prompt>>,
    skills: Option<Receipt<Skills>>,
    git: Option<Receipt<Git>>,
    supervise: Option<Receipt<Supervise>>,
}

/// `checks` of a plan that was checked: how the guest differs, by step. An empty list is a guest in place.
#[derive(JsonSchema)]
#[schemars(title = "Differences found by the provisioning steps")]
#[allow(dead_code, reason = "only its schema matters")]
struct Checks {
    ca: Option<Vec<Difference>>,
    prompt: Option<Vec<Difference>>,
    skills: Option<Vec<Difference>>,
    git: Option<Vec<Difference>>,
    supervise: Option<Vec<Difference>>,
}

#[test]
fn the_schemas_are_those_of_the_types() {
    for (name, schema) in
        [("plan", written::schema()), ("receipts", schema_for!(Receipts)), ("checks", schema_for!(Checks))]
    {
        harness::document(&format!("docs/{name}.schema.json"), &format!("{:#}\n", schema.as_value()));
    }
}
