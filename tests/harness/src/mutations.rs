//! Inputs for fuzzing: known ones with a few mutations.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// The most mutations of one input.
const MAX_MUTATIONS: usize = 6;

/// Gives a property `cases` inputs, or as many as the environment variable `PROPTEST_CASES` says.
pub fn config(cases: u32) -> Config {
    let default = Config::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default.cases,
        None => cases,
    };
    Config {
        cases,
        failure_persistence: None,
        // A failure is shrunk for no longer than that.
        max_shrink_time: 60_000,
        ..default
    }
}

/// One of `seeds` with up to six mutations. `fragments` are put into it, or take the place of what
/// was there.
pub fn mutated(seeds: Vec<Vec<u8>>, fragments: &[&str]) -> impl Strategy<Value = Vec<u8>> {
    let fragments: Vec<_> = fragments
        .iter()
        .map(|fragment| fragment.as_bytes().to_vec())
        .collect();
    let fragment = prop_oneof![
        4 => proptest::sample::select(fragments),
        1 => vec(any::<u8>(), 1..4),
    ];
    let mutation = (any::<prop::sample::Index>(), 0..24_usize, 0..4_u8, fragment);
    let mutations = vec(mutation, 0..=MAX_MUTATIONS);
    (proptest::sample::select(seeds), mutations).prop_map(|(mut input, mutations)| {
        for (at, length, kind, fragment) in mutations {
            let start = at.index(input.len() + 1);
            let end = (start + length).min(input.len());
            let new = match kind {
                0 => Vec::new(),
                1 => input[start..end].repeat(2),
                _ => fragment,
            };
            let end = if kind == 3 { start } else { end };
            input.splice(start..end, new);
        }
        input
    })
}

/// Does the same with text.
pub fn mutated_text(seeds: &[&str], fragments: &[&str]) -> impl Strategy<Value = String> {
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    mutated(seeds, fragments).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
