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

use crate::http::Response;

const ASK: &str = include_str!("live.sh");

/// The number of characters that are shown of a part of the answer.
const MAX_SHOWN: usize = 100;
/// The first version of the Model Context Protocol. A version is the date of its publication.
const FIRST_VERSION: &str = "2024-11-05";
/// The id of the request.
const ID: u64 = 1;

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
    let (scheme, default) = if url.is_https() {
        ("https", 443)
    } else {
        ("http", 80)
    };
    let header = if port == default {
        host.clone()
    } else {
        format!("{host}:{port}")
    };
    let (port, path) = (port.to_string(), url.path());
    let parameters = [scheme, &host, &port, &path, &header, paths::CA_BUNDLE];
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
    let Some(response) = Response::parse(answer.text) else {
        let is_silent = answer.is_good() && answer.text.trim().is_empty();
        if is_silent {
            return Ok(Some("closed without an answer".to_owned()));
        }
        return answer.why(words).map(Some);
    };
    let shown = |text: &str| shorten(text, MAX_SHOWN).into_owned();
    if response.status.split(' ').next() != Some("200") {
        let status = shown(response.status);
        return Ok(Some(match response.header("location") {
            Some(location) => format!("{status} to {}", shown(location)),
            None => status,
        }));
    }
    for message in response.messages() {
        match serde_json::from_str(&message) {
            Ok(Reply {
                id: Some(ID),
                error: Some(error),
                ..
            }) => return Ok(Some(format!("the error {}", shown(&error.message)))),
            Ok(reply) if reply.is_initialized() => return Ok(None),
            _ => {}
        }
    }
    if !answer.is_good() {
        return answer.why(words).map(Some);
    }
    let kind = shown(response.header("content-type").unwrap_or("nothing"));
    Ok(Some(format!(
        "{kind}, which is no answer to MCP's initialize"
    )))
}

/// The answer to `initialize`, according to the Model Context Protocol.
#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Initialized>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
}

#[derive(Deserialize)]
struct RpcError {
    message: String,
}

impl Reply {
    /// Whether the server accepted the request, in a version that exists.
    fn is_initialized(&self) -> bool {
        let version = self.result.as_ref().map(|result| &*result.protocol_version);
        self.id == Some(ID)
            && version.is_some_and(|version| {
                version.len() == FIRST_VERSION.len() && version >= FIRST_VERSION
            })
    }
}

/// Finds the reason in a line that bash, cat or OpenSSL printed.
fn words(line: &str) -> Option<&str> {
    let is_of_bash = line.starts_with("bash: ") || line.starts_with("cat: ");
    let last = || line.rsplit(": ").next().filter(|_| is_of_bash);
    live::openssl_reason(line).or_else(last)
}

#[cfg(test)]
mod tests {
    use bottle_common::plan::values::HttpUrl;

    use super::compare;

    const NO_ANSWER: &str = "which is no answer to MCP's initialize";

    /// Gives what is said if the program ends with `status`, having said `said`.
    fn found(proxy: &str, status: &str, said: &str) -> Option<String> {
        let url = HttpUrl::try_from("http://h:1/mcp".to_owned()).unwrap();
        let text = format!("{proxy}\0{status}\0{said}\0end\0");
        for end in 0..text.len() {
            assert!(compare(&url, &text[..end]).is_err(), "{end}");
        }
        assert!(compare(&url, &format!("{text}more\0")).is_err());
        let found = compare(&url, &text).unwrap();
        found.first().and_then(|found| found.guest.clone())
    }

    fn json(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{body}")
    }

    fn reply(id: &str, version: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"{version}"}}}}"#)
    }

    #[test]
    fn an_mcp_server_is_one() {
        let good = reply("1", "2025-03-26");
        let events = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n\
             event: message\ndata: {{\"method\":\"notifications/message\"}}\n\ndata: {good}\n\n"
        );
        for (status, said) in [
            ("0", json("200 OK", &good)),
            ("0", json("200 OK", &reply("1", "2031-01-01"))),
            ("0", events.clone()),
            // The stream stays open, but the server has answered.
            ("124", events),
            ("0", format!("verify return:1\n{}", json("200 OK", &good))),
        ] {
            assert_eq!(found("", status, &said), None, "{said}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        let good = reply("1", "2025-03-26");
        let of = |kind: &str| format!("{kind}, {NO_ANSWER}");
        let page = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{good}");
        let redirect = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://h/x\r\n\r\n";
        for (status, said, why) in [
            (
                "0",
                json("404 Not Found", &good),
                "404 Not Found".to_owned(),
            ),
            ("0", json("2000 OK", &good), "2000 OK".to_owned()),
            (
                "0",
                redirect.to_owned(),
                "307 Temporary Redirect to http://h/x".to_owned(),
            ),
            ("0", page, of("text/html")),
            ("0", format!("HTTP/1.1 200 OK\r\n\r\n{good}"), of("nothing")),
            (
                "0",
                json("200 OK", &reply("2", "2025-03-26")),
                of("application/json"),
            ),
            (
                "0",
                json("200 OK", &reply("1", "1999-01-01")),
                of("application/json"),
            ),
            (
                "0",
                json("200 OK", &reply("1", "x")),
                of("application/json"),
            ),
            (
                "0",
                json("200 OK", &format!("[{good}]")),
                of("application/json"),
            ),
            ("0", json("200 OK", &good[..20]), of("application/json")),
            (
                "124",
                json("200 OK", &good[..20]),
                "no answer in time".to_owned(),
            ),
            (
                "0",
                json(
                    "200 OK",
                    r#"{"id":1,"error":{"code":1,"message":"db down"}}"#,
                ),
                "the error db down".to_owned(),
            ),
            ("0", String::new(), "closed without an answer".to_owned()),
            ("124", String::new(), "no answer in time".to_owned()),
            (
                "1",
                "bash: connect: Connection refused\nbash: x".to_owned(),
                "Connection refused".to_owned(),
            ),
            (
                "1",
                "cat: -: Connection reset by peer".to_owned(),
                "Connection reset by peer".to_owned(),
            ),
            (
                "1",
                "verify error:num=10:certificate has expired\nx".to_owned(),
                "certificate has expired".to_owned(),
            ),
        ] {
            assert_eq!(found("", status, &said).as_ref(), Some(&why), "{said}");
            let through = format!("{why}, through the proxy, since NO_PROXY leaves h out");
            assert_eq!(found("p:1", status, &said), Some(through), "{said}");
        }
        let url = HttpUrl::try_from("http://h:1/mcp".to_owned()).unwrap();
        assert!(compare(&url, "\x00125\0no proxy\0end\0").is_err());
    }
}
