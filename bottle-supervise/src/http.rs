//! An HTTP/1.1 response (RFC 9112), as far as it is needed to read the answer of an MCP server.

use std::borrow::Cow;

/// A response, which may be cut short.
pub struct Response<'a> {
    /// The status code, and the words behind it.
    pub status: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Cow<'a, str>,
}

impl<'a> Response<'a> {
    /// Finds the response in `text`, where other lines may come before it. Interim responses are
    /// passed over. Returns `None` if there is none, or if its headers have no end.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut rest = &text[text.find("HTTP/1.")?..];
        loop {
            let (head, body) = rest.split_once("\r\n\r\n")?;
            let mut lines = head.split("\r\n");
            let (_, status) = lines.next()?.split_once(' ')?;
            if status.starts_with('1') {
                rest = body;
                continue;
            }
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers = headers.map(|(name, value)| (name, value.trim()));
            let mut response = Self {
                status: status.trim(),
                headers: headers.collect(),
                body: Cow::Borrowed(body),
            };
            let encoding = response.header("transfer-encoding");
            if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
                response.body = Cow::Owned(joined(body));
            }
            return Some(response);
        }
    }

    /// Returns the value of the header `name`, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers.iter();
        let header = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        header.map(|(_, value)| *value)
    }

    /// Lists the messages in the body: one of JSON, or the events of a stream. A body of another
    /// type has none.
    pub fn messages(&self) -> Vec<String> {
        let kind = self.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return vec![self.body.clone().into_owned()];
        }
        if !kind.eq_ignore_ascii_case("text/event-stream") {
            return Vec::new();
        }
        let mut messages = vec![String::new()];
        for line in self.body.lines() {
            match (line.strip_prefix("data:"), messages.last_mut()) {
                (Some(data), Some(last)) => last.push_str(data.trim()),
                _ if line.is_empty() => messages.push(String::new()),
                _ => {}
            }
        }
        messages
    }
}

/// Joins the chunks of `body`, up to the first that is not whole.
fn joined(body: &str) -> String {
    let mut whole = String::new();
    let mut rest = body;
    while let Some((line, chunks)) = rest.split_once("\r\n") {
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let (Some(chunk), Some(behind)) = (chunks.get(..size), chunks.get(size..)) else {
            break;
        };
        if size == 0 {
            break;
        }
        whole.push_str(chunk);
        rest = behind.trim_start_matches(['\r', '\n']);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::Response;

    #[test]
    fn a_response_has_a_status_headers_and_messages() {
        let text = "depth=0\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200  OK\r\nA: b\r\n\
                    Content-Type: Application/JSON;x\r\n\r\n{\r\n\r\n}";
        let response = Response::parse(text).unwrap();
        assert_eq!(response.status, "200  OK");
        assert_eq!(
            (response.header("a"), response.header("b")),
            (Some("b"), None)
        );
        assert_eq!(response.messages(), ["{\r\n\r\n}"]);
        for text in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
        ] {
            assert!(Response::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn chunks_and_events_are_joined() {
        let of = |headers: &str, body: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}");
            Response::parse(&text).unwrap().messages()
        };
        let chunked = "Transfer-Encoding: Chunked\r\nContent-Type: application/json";
        for (body, whole) in [
            ("2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", "abc"),
            ("2\r\nab\r\n5\r\nc", "ab"),
            ("x\r\nab", ""),
            ("fffffffffffffffff\r\nab", ""),
            ("1\r\nä", ""),
            ("", ""),
        ] {
            assert_eq!(of(chunked, body), [whole], "{body}");
        }
        let events = "Content-Type: text/event-stream";
        let body = "event: a\r\ndata: 1\r\ndata:2\r\n\r\n: x\ndata: 3\n\n";
        assert_eq!(of(events, body), ["12", "3", ""]);
        assert_eq!(of("Content-Type: text/plain", "{}"), [""; 0]);
        assert_eq!(of("A: b", "{}"), [""; 0]);
    }
}
