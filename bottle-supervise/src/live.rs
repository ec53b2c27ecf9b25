//! Asks whether the supervisor answers the agent as an MCP server.

use anyhow::Result;
use bottle_common::guest::listing::Difference;
use bottle_common::guest::paths;
use bottle_common::plan::Plan;
use bottle_common::plan::values::HttpUrl;
use bottle_common::step::Check;
use bottle_common::step::live::{self, Answer, Fields};
use bottle_common::step::options::{NoOptions, Questions};
use bottle_common::text::shorten;
use serde::Deserialize;
use serde_json::Deserializer;

const ASK: &str = include_str!("live.sh");

/// The number of characters that are shown of a part of the answer.
const MAX_SHOWN: usize = 100;

/// Sends an MCP `initialize` to the supervisor.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `live` has"
)]
pub fn live(plan: &Plan, _: &NoOptions, questions: &Questions) -> Result<Check> {
    let Some(url) = plan.supervise_url.clone() else {
        return Ok(Check::nothing("and so none to ask"));
    };
    let (host, port) = url.address();
    let scheme = if url.is_https() { "https" } else { "http" };
    let (port, path) = (port.to_string(), url.path());
    let parameters = [scheme, &host, &port, &path, paths::CA_BUNDLE];
    let exec = live::exec(&plan.guest_env, questions, ASK, &parameters);
    let compare = move |text: &str| compare(&url, text);
    let limit = live::time_limit(questions, 1);
    Ok(Check::new(exec, "it answers", compare).within(limit))
}

/// Compares `text`, the output of [`ASK`], with a guest in which the supervisor answers.
fn compare(url: &HttpUrl, text: &str) -> Result<Vec<Difference>> {
    let mut fields = Fields::new(text);
    let proxy = fields.text()?;
    let answer = fields.answer()?;
    fields.end()?;
    let Some(mut why) = problem(answer)? else {
        return Ok(Vec::new());
    };
    if !proxy.is_empty() {
        let host = url.host();
        why = format!("{why}, through the proxy, since NO_PROXY leaves {host} out");
    }
    let plan = "an MCP server answers";
    Ok(vec![Difference::new(
        "live supervisor",
        url,
        plan,
        Some(&why),
    )])
}

/// Says why `answer` is not that of an MCP server; `None` if it is.
fn problem(answer: Answer) -> Result<Option<String>> {
    // What OpenSSL says comes before it.
    let Some(start) = answer.text.find("HTTP/1.") else {
        let is_silent = answer.is_good() && answer.text.trim().is_empty();
        if is_silent {
            return Ok(Some("closed without an answer".to_owned()));
        }
        return answer.why("bash or openssl", words).map(Some);
    };
    let http = &answer.text[start..];
    let (head, body) = http.split_once("\r\n\r\n").unwrap_or((http, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_once(' '));
    let status = status.map_or("", |(_, status)| status).trim();
    if !status.starts_with("200") {
        return Ok(Some(shorten(status, MAX_SHOWN).into_owned()));
    }
    let json = body.find('{').map_or("", |start| &body[start..]);
    let reply = Deserializer::from_str(json).into_iter::<Reply>().next();
    let is_initialized = |reply: &Reply| reply.result.protocol_version.is_some();
    if reply
        .and_then(Result::ok)
        .is_some_and(|reply| is_initialized(&reply))
    {
        return Ok(None);
    }
    let kind = lines.find_map(|line| {
        let (name, kind) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type")
            .then_some(kind.trim())
    });
    let kind = shorten(kind.unwrap_or("nothing"), MAX_SHOWN);
    Ok(Some(format!(
        "{kind}, which is no answer to MCP's initialize"
    )))
}

/// The answer to `initialize`, according to the Model Context Protocol.
#[derive(Deserialize)]
struct Reply {
    result: Initialized,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: Option<String>,
}

/// Finds the reason in a line that bash printed.
fn words(line: &str) -> Option<&str> {
    line.strip_prefix("bash: connect: ")
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::values::HttpUrl;

    use super::compare;

    #[test]
    fn only_an_mcp_server_is_one() {
        let url = HttpUrl::try_from("http://h:1/mcp".to_owned()).unwrap();
        let found = |proxy: &str, status: &str, said: &str| {
            let text = format!("{proxy}\0{status}\0{said}\0end\0");
            for end in 0..text.len() {
                assert!(compare(&url, &text[..end]).is_err(), "{end}");
            }
            let found = compare(&url, &text).unwrap();
            found.first().and_then(|found| found.guest.clone())
        };
        let http = |status: &str, head: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}")
        };
        let reply = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"1","x":{}}}"#;
        let events = format!("event: message\r\ndata: {reply}\r\n\r\n");
        let no_answer = "which is no answer to MCP's initialize";
        for (status, said, why) in [
            ("0", http("200 OK", "A: b", reply), None),
            (
                "0",
                http("200 OK", "Content-Type: text/event-stream", &events),
                None,
            ),
            // The server does not close, but it has answered. OpenSSL says something before.
            (
                "124",
                format!("depth=0\n{}", http("200 OK", "A: b", reply)),
                None,
            ),
            (
                "0",
                http("404 Not Found", "A: b", reply),
                Some("404 Not Found".to_owned()),
            ),
            (
                "0",
                http("200 OK", "content-type: text/html", "{}"),
                Some(format!("text/html, {no_answer}")),
            ),
            (
                "0",
                http("200 OK", "A: b", r#"{"error":{}}"#),
                Some(format!("nothing, {no_answer}")),
            ),
            (
                "0",
                http("200 OK", "A: b", r#"{"result":{}}"#),
                Some(format!("nothing, {no_answer}")),
            ),
            (
                "0",
                String::new(),
                Some("closed without an answer".to_owned()),
            ),
            ("124", String::new(), Some("no answer in time".to_owned())),
            (
                "1",
                "bash: connect: Connection refused\nbash: /dev".to_owned(),
                Some("Connection refused".to_owned()),
            ),
        ] {
            assert_eq!(found("", status, &said), why, "{said}");
            let through =
                why.map(|why| format!("{why}, through the proxy, since NO_PROXY leaves h out"));
            assert_eq!(found("p:1", status, &said), through, "{said}");
        }
        assert!(compare(&url, "\x00127\0\0end\0").is_err());
        assert!(compare(&url, "\x000\0\0end\0more\0").is_err());
    }
}
