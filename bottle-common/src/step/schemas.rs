//! Generates the JSON Schemas in `docs/` from the types that read the plan and print the receipts.

use schemars::{JsonSchema, schema_for};

use crate::guest::listing::Difference;
use crate::plan::wire;
use crate::step::receipt::{Ca, Git, Prompt, Receipt, Skills, Supervise};

/// `receipts` in a provisioned plan.
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

/// `checks` in a checked plan: the differences that each step found. An empty list means that
/// everything is in place.
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
fn the_schemas_match_the_types() {
    for (name, mut schema) in [
        ("plan", wire::schema()),
        ("receipts", schema_for!(Receipts)),
        ("checks", schema_for!(Checks)),
    ] {
        // The number is that of the shape, which RELEASING.md promises.
        schema.insert("$id".to_owned(), format!("urn:bottle:{name}:1").into());
        let text = format!("{:#}\n", schema.as_value());
        harness::document(&format!("docs/{name}.schema.json"), &text);
    }
}
