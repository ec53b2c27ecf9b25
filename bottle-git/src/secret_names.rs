//! Recognises files that may contain secrets, by their names.

use std::ffi::OsStr;
use std::path::Path;

use bottle_common::host::choice::Judge;

/// Words in the names of files that may contain secrets.
const WORDS: &[&str] = &[
    ".aws",
    ".dev.vars",
    ".docker",
    ".kube",
    ".ssh",
    "_history",
    "account",
    "adminsdk",
    "auth",
    "boto",
    CONFIG,
    "cookie",
    "cred",
    "dockercfg",
    "gnupg",
    "hosts",
    "key",
    "kubeconfig",
    "local.settings",
    "netrc",
    "npmrc",
    "nuget.config",
    "pass",
    "pypirc",
    "renviron",
    "s3cfg",
    "secret",
    "secring",
    "ssh_host_",
    "terraformrc",
    "token",
    "vault",
    "wallet",
];
/// A word that suggests a secret only in the names of files that git does not know. In a work tree,
/// most configuration is that of the project's tools.
const CONFIG: &str = "config";
/// Suffixes of the names of such files.
const ENDS: &[&str] = &[
    ".asc", ".bak", ".cnf", ".conf", ".gpg", ".jks", ".kdbx", ".old", ".orig", ".ovpn", ".p12",
    ".p8", ".pem", ".pfx", ".ppk", ".swp", ".tfstate", ".tfvars", "~",
];
/// The directories in which tools keep secrets, and those that people name so.
const DIRECTORIES: &[&str] = &[
    ".aws",
    ".azure",
    ".docker",
    ".gcloud",
    ".gnupg",
    ".kube",
    ".ssh",
    "credentials",
    "keys",
    "secrets",
    "tokens",
];
/// The suffixes of the names of program text, documents and pictures. A file in a work tree with
/// such a name is about what its name says: `token.rs` and `keyboard.svg` are no secrets.
const HARMLESS: &[&str] = &[
    ".adoc", ".c", ".cc", ".cpp", ".cs", ".css", ".dart", ".ex", ".exs", ".gif", ".go", ".h",
    ".hpp", ".hs", ".html", ".ico", ".java", ".jpeg", ".jpg", ".js", ".jsx", ".kt", ".less",
    ".lua", ".md", ".mjs", ".ml", ".php", ".pl", ".png", ".proto", ".py", ".rb", ".rs", ".rst",
    ".scala", ".scss", ".svelte", ".svg", ".swift", ".ts", ".tsx", ".vue", ".webp", ".zig",
];
/// The configuration files of package managers, which may contain a token.
const REGISTRIES: &[&str] = &[".npmrc", ".yarnrc", ".yarnrc.yml"];

/// Whether a file with this name may contain a secret.
pub fn is_secret(name: &str) -> bool {
    has_word(&name.to_lowercase(), |_| true)
}

/// What the name of an untracked file in a work tree says.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It is harmless.
    Harmless,
    /// Its content decides.
    Depends(Judge),
    /// It may be a secret.
    Secret,
}

/// Judges an untracked file of a work tree by its path.
pub fn untracked(path: &Path) -> Verdict {
    let lower = |name: &OsStr| name.to_string_lossy().to_lowercase();
    let name = lower(path.file_name().unwrap_or_default());
    if HARMLESS.iter().any(|end| name.ends_with(end)) && !name.starts_with(".env") {
        return Verdict::Harmless;
    }
    let mut directories = path.parent().into_iter().flatten().map(lower);
    let is_below =
        directories.any(|name| name.starts_with(".env") || DIRECTORIES.contains(&&*name));
    if is_below {
        Verdict::Secret
    } else if Path::new(&name).extension() == Some("pem".as_ref()) {
        Verdict::Depends(private_key)
    } else if REGISTRIES.contains(&&*name) {
        Verdict::Depends(token)
    } else if has_word(&name, |word| word != CONFIG) {
        Verdict::Secret
    } else {
        Verdict::Harmless
    }
}

/// Whether the lower-case `name` has a suffix or one of the words that `counts` accepts.
fn has_word(name: &str, counts: fn(&str) -> bool) -> bool {
    name.starts_with("id_")
        || name.contains(".env")
        || WORDS.iter().any(|word| counts(word) && name.contains(word))
        || ENDS.iter().any(|end| name.ends_with(end))
}

fn private_key(content: &[u8]) -> Option<&'static str> {
    contains(content, "PRIVATE KEY").then_some("it contains a private key")
}

fn token(content: &[u8]) -> Option<&'static str> {
    let words = ["auth", "password", "token"];
    let content = content.to_ascii_lowercase();
    let has_token = words.iter().any(|word| contains(&content, word));
    has_token.then_some("it contains a token or a password")
}

fn contains(content: &[u8], text: &str) -> bool {
    content
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Verdict, private_key, token, untracked};

    #[test]
    fn secrets_of_a_work_tree_have_names() {
        for name in [
            ".env",
            ".env.local",
            ".ENV",
            ".env.ts",
            "a/.envrc",
            "prod.env",
            "id_ed25519",
            "id_rsa.pub",
            ".aws/config",
            "a/.ssh/known",
            "a/.kube/config",
            "Secrets/a",
            "credentials",
            "credentials.json",
            "api_key",
            "private_key",
            "my-token.txt",
            "passwords.csv",
            "server.key",
            "a.p12",
            "a.asc",
            "terraform.tfstate",
            ".netrc",
            ".git-credentials",
            ".pypirc",
            "auth.json",
            "vault.yml",
            ".env~",
            ".env/prod",
            ".env.d/prod",
            "keys/prod",
            "a/tokens/b",
            "kubeconfig",
            ".dev.vars",
            ".bash_history",
            "local.settings.json",
        ] {
            let found = untracked(Path::new(name));
            assert!(matches!(found, Verdict::Secret), "{name}");
        }
        for name in [
            "new",
            "src/auth.rs",
            "token.py",
            "keyboard.svg",
            "tsconfig.json",
            "vite.config.ts",
            "config/app.yaml",
            "Makefile",
            "docs/passwords.md",
            "src/secrets/a.js",
            "environment.yml",
            "certificate.crt",
        ] {
            let found = untracked(Path::new(name));
            assert!(matches!(found, Verdict::Harmless), "{name}");
        }
        for name in ["a/server.pem", ".npmrc", "b/.YARNRC.yml"] {
            let found = untracked(Path::new(name));
            assert!(matches!(found, Verdict::Depends(_)), "{name}");
        }
    }

    #[test]
    fn keys_and_tokens_are_found_in_contents() {
        for (content, is_key) in [
            ("-----BEGIN PRIVATE KEY-----\n", true),
            ("x\n-----BEGIN OPENSSH PRIVATE KEY-----", true),
            ("-----BEGIN CERTIFICATE-----\n", false),
            ("", false),
        ] {
            assert_eq!(
                private_key(content.as_bytes()).is_some(),
                is_key,
                "{content}"
            );
        }
        for (content, is_token) in [
            ("//registry.npmjs.org/:_authToken=abc", true),
            ("npmAuthToken: abc", true),
            ("_password=abc", true),
            ("registry=https://registry.example/\n", false),
            ("", false),
        ] {
            assert_eq!(token(content.as_bytes()).is_some(), is_token, "{content}");
        }
    }
}
