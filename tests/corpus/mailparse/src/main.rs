//! Says as JSON what mailparse sees in messages that come on standard input: for each, its length in decimal digits
//! and a line feed, then its octets; for each, one line comes out. A part is its type, its transfer encoding, the
//! SHA-256 of its decoded body without white space around it, and its parts.

use std::io::{self, Read, Write};

use mailparse::{parse_mail, MailHeaderMap, ParsedMail};
use sha2::{Digest, Sha256};

fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for one in value.chars() {
        match one {
            '"' | '\\' => quoted.extend(['\\', one]),
            ' '..='~' => quoted.push(one),
            _ => {
                let mut units = [0; 2];
                for unit in one.encode_utf16(&mut units) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

fn trimmed(octets: &[u8]) -> &[u8] {
    let white = |octet: &u8| b" \t\r\n".contains(octet);
    let begin = octets.iter().position(|octet| !white(octet)).unwrap_or(octets.len());
    let end = octets.iter().rposition(|octet| !white(octet)).map_or(begin, |last| last + 1);
    &octets[begin..end]
}

fn seen(part: &ParsedMail) -> String {
    let encoding = part.headers.get_first_value("Content-Transfer-Encoding").unwrap_or_default();
    let body = match part.get_body_raw() {
        Ok(octets) => text(&format!("{:x}", Sha256::digest(trimmed(&octets)))),
        Err(_) => "null".into(),
    };
    let parts: Vec<String> = part.subparts.iter().map(seen).collect();
    format!(
        "{{\"type\":{},\"encoding\":{},\"body\":{},\"parts\":[{}]}}",
        text(&part.ctype.mimetype.to_lowercase()),
        text(&encoding.trim().to_lowercase()),
        body,
        parts.join(",")
    )
}

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let mut output = io::stdout().lock();
    let mut rest = &input[..];
    while !rest.is_empty() {
        let end = rest.iter().position(|&octet| octet == b'\n').expect("a length ends with a line feed");
        let size: usize = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| digits.parse().ok()).expect("a length");
        let message = &rest[end + 1..end + 1 + size];
        rest = &rest[end + 1 + size..];
        match parse_mail(message) {
            Ok(mail) => writeln!(output, "{}", seen(&mail))?,
            Err(_) => writeln!(output, "null")?,
        }
    }
    Ok(())
}
