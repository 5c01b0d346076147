//! The one form of a path that is matched and forwarded.
//!
//! Whoever decides about a request and whoever serves it must see the same segments. So a path has
//! one normal form, normalising it again changes nothing, and a path in which a later reader could
//! find other segments than we did is refused instead of forwarded: dot segments that appear when
//! escapes are undone (however often), and dot segments that carry parameters (`..;x`), which some
//! servers cut off before they look.
//!
//! The forms are Istio's `pathNormalization` (`MeshConfig`), after RFC 3986 section 6.2.2.

use std::borrow::Cow;

use serde::Serialize;

/// How much is done to a path before it is matched and forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NormalForm {
    /// `NONE`: segments and case stay as they are.
    AsGiven,
    /// `BASE`: escapes of unreserved characters are undone, a backslash is a slash, dot segments
    /// are removed.
    #[default]
    Base,
    /// `MERGE_SLASHES`: besides, several slashes in a row are one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: besides, slashes and backslashes written as escapes are
    /// slashes, to begin with.
    DecodeAndMergeSlashes,
}

/// Why a path or a query is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// It does not begin with a slash.
    #[error("it does not begin with a slash")]
    NotRooted,
    /// A `%` without two hexadecimal digits (RFC 3986 section 2.1).
    #[error("a % is not followed by two hexadecimal digits")]
    Escape,
    /// `%00`, or a `#`, a space or a control character as it is.
    #[error("it contains a character that no path may contain")]
    Character,
    /// Undoing escapes once more would change the segments.
    #[error("a reader that undoes its escapes would find other segments")]
    Hidden,
}

/// Layers of escapes that are looked through. Nobody has a reason for more, and every one costs
/// a walk over the path.
const LAYERS: usize = 8;

impl NormalForm {
    const fn merges(self) -> bool {
        matches!(self, Self::MergeSlashes | Self::DecodeAndMergeSlashes)
    }
}

/// The normal form of a path; borrowed if it is in it already.
///
/// `normalize(normalize(path)) == normalize(path)` for every form.
pub fn normalize(path: &str, form: NormalForm) -> Result<Cow<'_, str>, Malformed> {
    brought_into(path, form, |_segments| Ok(()))
}

/// The normal form of a path that a rewrite made. Dot segments are refused rather than resolved:
/// they came to be when texts were joined, and would lead out of the place that was decided on.
pub fn settle(path: &str, form: NormalForm) -> Result<Cow<'_, str>, Malformed> {
    brought_into(path, form, |text| {
        let mut segments = text.split(|byte| is_slash(*byte));
        if segments.any(is_dots) {
            return Err(Malformed::Hidden);
        }
        Ok(())
    })
}

fn brought_into(
    path: &str,
    form: NormalForm,
    accept: impl FnOnce(&[u8]) -> Result<(), Malformed>,
) -> Result<Cow<'_, str>, Malformed> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Malformed::NotRooted);
    }
    if is_plain(bytes, form) {
        return Ok(Cow::Borrowed(path));
    }
    check(path)?;
    if form == NormalForm::AsGiven {
        return Ok(Cow::Borrowed(path));
    }
    let text = unescaped(path, form);
    accept(text.as_bytes())?;
    let normal = resolved(&text, form);
    look_through(&normal, form)?;
    Ok(if normal == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(normal)
    })
}

/// Checks a path or a query for what is refused in every form: a `%` without two hexadecimal
/// digits, `%00`, and `#`, spaces and control characters as they are.
pub fn check(text: &str) -> Result<(), Malformed> {
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => match escaped(tail) {
                None => return Err(Malformed::Escape),
                Some(0) => return Err(Malformed::Character),
                Some(_) => rest = tail.get(2..).unwrap_or_default(),
            },
            b'#' | 0..=b' ' | 0x7f => return Err(Malformed::Character),
            _ => {}
        }
    }
    Ok(())
}

/// Whether there is nothing to do and nothing to check; a few paths that are normal say no.
fn is_plain(path: &[u8], form: NormalForm) -> bool {
    let mut before = 0;
    for &byte in path {
        let plain = match byte {
            b'%' | b'#' | 0..=b' ' | 0x7f => false,
            b'\\' => form == NormalForm::AsGiven,
            b'.' => before != b'/' || form == NormalForm::AsGiven,
            b'/' => before != b'/' || !form.merges(),
            _ => true,
        };
        if !plain {
            return false;
        }
        before = byte;
    }
    true
}

/// `%41` as `A`, `\` as `/`, and `%2F` and `%5C` as `/` where the form says so.
fn unescaped(path: &str, form: NormalForm) -> String {
    let decodes = form == NormalForm::DecodeAndMergeSlashes;
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let plain = match byte {
            b'\\' => Some(b'/'),
            b'%' => match escaped(tail) {
                Some(plain) if is_unreserved(plain) => Some(plain),
                Some(b'/' | b'\\') if decodes => Some(b'/'),
                Some(_) | None => None,
            },
            _ => None,
        };
        if byte == b'%' && plain.is_some() {
            rest = tail.get(2..).unwrap_or_default();
        }
        out.push(plain.unwrap_or(byte));
    }
    // Only ASCII took the place of ASCII, so what was text still is.
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

/// Without dot segments (RFC 3986 section 5.2.4), and with slashes merged where the form says so.
fn resolved(path: &str, form: NormalForm) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {
                if last {
                    out.push('/');
                }
            }
            ".." => {
                let parent = out.rfind('/').unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    if form.merges() {
        let mut before = ' ';
        out.retain(|character| {
            let again = character == '/' && before == '/';
            before = character;
            !again
        });
    }
    out
}

/// Reads a path as servers do that undo escapes before they split, once or several times, and
/// refuses it if one of them would leave the place it was matched at. Where slashes written as
/// escapes are undone, none may appear later either.
fn look_through(path: &str, form: NormalForm) -> Result<(), Malformed> {
    let strict = form == NormalForm::DecodeAndMergeSlashes;
    let mut text = Cow::Borrowed(path.as_bytes());
    for _ in 0..LAYERS {
        if text.split(|byte| is_slash(*byte)).any(is_dots) {
            return Err(Malformed::Hidden);
        }
        let Some(next) = decoded(&text) else {
            return Ok(());
        };
        let slashes = |text: &[u8]| text.iter().filter(|byte| is_slash(**byte)).count();
        if next.contains(&0) || (strict && slashes(&next) != slashes(&text)) {
            return Err(Malformed::Hidden);
        }
        text = Cow::Owned(next);
    }
    Err(Malformed::Hidden)
}

/// All escapes undone once; `None` if there are none.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match escaped(tail).filter(|_| byte == b'%') {
            Some(plain) => {
                out.push(plain);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    (out.len() < text.len()).then_some(out)
}

const fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// `.` and `..`, with parameters or without.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next();
    matches!(name, Some(b"." | b".."))
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        digits
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests;
