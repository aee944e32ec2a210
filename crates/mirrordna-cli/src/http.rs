//! As much HTTP/1.1 as a witness needs (C2SP `tlog-witness`): one small POST
//! and its answer, from both sides.
//!
//! Why not a library: one request form of at most 72 KiB with a length, refused
//! in every other form, is 150 lines over the standard library; server crates
//! bring routing, chunking, upgrades and TLS, all of which would be reachable
//! by strangers and none of which is used. TLS belongs to a proxy in front.

use mirrordna::peer::{Answer, MAX_REQUEST};
use mirrordna::{Code, Error, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a whole exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of a request or response.
const MAX_HEAD: usize = 8 * 1024;
/// The longest response that is read.
const MAX_RESPONSE: u64 = 64 * 1024;
/// Connections that are served at once.
const WORKERS: usize = 4;
/// What is posted to.
const PATH: &str = "/add-checkpoint";
const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";

/// A refusal before the witness is asked.
type Refused = (u16, &'static str);

/// Answers requests until the process ends.
pub(crate) fn serve(listener: &TcpListener, answer: &(dyn Fn(&[u8]) -> Answer + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    // Out of file descriptors, or gone before it was accepted:
                    // the next one may be luckier, but not at full speed.
                    match listener.accept() {
                        Ok((mut stream, _)) => exchange(&mut stream, answer),
                        Err(_) => std::thread::sleep(Duration::from_millis(50)),
                    }
                }
            });
        }
    });
}

/// Reads one request, answers it and closes the connection.
fn exchange(stream: &mut TcpStream, answer: &dyn Fn(&[u8]) -> Answer) {
    let text = |(status, why): Refused| Answer { status, content_type: TEXT, body: format!("{why}\n") };
    let answer = match request(stream, Instant::now() + PATIENCE) {
        Ok(body) => answer(&body),
        Err(refused) => text(refused),
    };
    let reason = match answer.status {
        200 => "OK",
        409 => "Conflict",
        422 => "Unprocessable Content",
        500 => "Internal Server Error",
        _ => "Refused",
    };
    let Answer { status, content_type, body } = answer;
    let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    // Whoever does not wait for the answer asks again, and gets it then.
    let _gone = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).and_then(|()| stream.flush());
    let _gone = stream.shutdown(std::net::Shutdown::Write);
    // What is still unread would turn the close into a reset that swallows the
    // answer.
    let _rest = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let mut rest = [0; 4096];
    for _ in 0..32 {
        if !matches!(stream.read(&mut rest), Ok(1..)) {
            break;
        }
    }
}

/// Reads more of a stream into `bytes`, before the deadline.
fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> Result<(), Refused> {
    const LATE: Refused = (408, "the request took too long");
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(LATE)?;
    stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left))).map_err(|_| LATE)?;
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => Err((400, "the request ends early")),
        Ok(n) => {
            bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
        Err(_) => Err(LATE),
    }
}

/// The body of the one request that is understood.
fn request(stream: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let end = loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end.filter(|end| *end <= MAX_HEAD) {
            break end;
        }
        if bytes.len() > MAX_HEAD {
            return Err((431, "the head of the request is too long"));
        }
        read_more(stream, &mut bytes, deadline)?;
    };
    let mut body = bytes.split_off(end + 4);
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| (400, "the head of the request is not text"))?;
    let (length, expects) = read_head(head)?;
    if expects && body.is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| (400, "the request ends early"))?;
    }
    while body.len() < length {
        read_more(stream, &mut body, deadline)?;
    }
    body.truncate(length);
    Ok(body)
}

/// The length of the body, and whether the client waits to be told to send it.
fn read_head(head: &str) -> Result<(usize, bool), Refused> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    if !matches!(version, Some("HTTP/1.1" | "HTTP/1.0")) || words.next().is_some() {
        return Err((400, "this is no HTTP/1 request"));
    }
    if path != Some(PATH) {
        return Err((404, "there is only /add-checkpoint here"));
    }
    if method != Some("POST") {
        return Err((405, "/add-checkpoint is posted to"));
    }
    let (mut length, mut expects) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or((400, "a header has no colon"))?;
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let n = value.parse::<usize>().ok().filter(|_| digits && length.is_none());
                length = Some(n.ok_or((400, "the length of the request is no number"))?);
            }
            "transfer-encoding" => return Err((411, "send the request with its length")),
            "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
            name if name.is_empty() || name.contains([' ', '\t']) => return Err((400, "a header has no name")),
            _ => {}
        }
    }
    match length {
        None => Err((411, "send the request with its length")),
        Some(length) if length > MAX_REQUEST => Err((413, "the request is longer than 72 KiB")),
        Some(length) => Ok((length, expects)),
    }
}

/// Posts a request to a witness: `url` is its submission prefix.
pub(crate) fn post(url: &str, body: &str) -> Result<Answer> {
    let failed = |why: &str| Error::new(Code::WitnessRefused, format!("the witness at {url} {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        let hint = "For https, send it yourself: mirrordna checkpoint --request 0 | curl --data-binary @- URL/add-checkpoint";
        Error::new(Code::InputInvalid, format!("'{url}' does not begin with http://")).with_hint(hint)
    })?;
    let (host, prefix) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path.trim_end_matches('/')));
    if host.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::new(Code::InputInvalid, format!("'{url}' names no host")));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut last = None;
    let mut connected = None;
    for address in address.to_socket_addrs().map_err(|e| failed("has an unknown name").caused_by(e))? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(e) => last = Some(e),
        }
    }
    let mut stream = match (connected, last) {
        (Some(stream), _) => stream,
        (None, Some(e)) => return Err(failed("cannot be reached").caused_by(e)),
        (None, None) => return Err(failed("has no address")),
    };
    let silent = |e| failed("does not answer").caused_by(e);
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(silent)?;
    // HTTP/1.0: the answer then comes in one piece, ended by its length or the
    // end of the connection.
    let head =
        format!("POST {prefix}{PATH} HTTP/1.0\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(silent)?;
    let mut bytes = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut bytes).map_err(silent)?;
    read_response(&bytes).ok_or_else(|| failed("does not answer as HTTP/1 servers do"))
}

/// Reads a response: status, media type as far as it matters, and body.
fn read_response(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, mut body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let version = words.next()?;
    let status = words.next().filter(|s| s.len() == 3)?.parse().ok()?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let mut content_type = TEXT;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = body.get(..value.parse().ok()?)?,
            "content-type" if value.eq_ignore_ascii_case(SIZE) => content_type = SIZE,
            "transfer-encoding" => return None,
            _ => {}
        }
    }
    Some(Answer { status, content_type, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends raw bytes to a server that echoes the body, and reads all of the
    /// answer.
    fn sent(bytes: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = |body: &[u8]| Answer { status: 200, content_type: TEXT, body: String::from_utf8_lossy(body).into_owned() };
        let server = std::thread::spawn(move || exchange(&mut listener.accept().unwrap().0, &echo));
        let mut stream = TcpStream::connect(address).unwrap();
        // A server that refuses may be gone before it has read all of it.
        let _refused = stream.write_all(bytes);
        let _refused = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer);
        server.join().unwrap();
        answer
    }

    #[test]
    fn one_form_of_request_is_understood() {
        let answer = sent(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\n\r\nold 0");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nold 0"),
            "{answer}"
        );
        let answer = sent(b"POST /add-checkpoint HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{answer}");
        for (status, request) in [
            (400, "".to_owned()),
            (400, "hello\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/2\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1 x\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length : 1\r\n\r\nx".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort".to_owned()),
            (404, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned()),
            (404, "GET /etc/passwd HTTP/1.1\r\n\r\n".to_owned()),
            (405, "GET /add-checkpoint HTTP/1.1\r\n\r\n".to_owned()),
            (411, "POST /add-checkpoint HTTP/1.1\r\n\r\n".to_owned()),
            (411, "POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n".to_owned()),
            (413, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_owned()),
            (431, format!("POST /add-checkpoint HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000))),
        ] {
            let answer = sent(request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:?}: {answer}", request.get(..80));
        }
    }

    #[test]
    fn answers_are_read_strictly() {
        let read = |text: &str| read_response(text.as_bytes()).map(|a| (a.status, a.content_type, a.body));
        assert_eq!(read("HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\n\r\n7\n"), Some((409, SIZE, "7\n".into())));
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nabc"), Some((200, TEXT, "ab".into())));
        for text in
            ["", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 200 OK\n\n"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), None);
    }

    #[test]
    fn only_plain_http_is_asked() {
        for url in ["https://witness.example", "witness.example", "http://", "http:///x", "http://a b"] {
            assert_eq!(post(url, "").unwrap_err().code(), Code::InputInvalid, "{url}");
        }
    }
}
