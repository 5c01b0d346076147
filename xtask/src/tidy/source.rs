//! Just enough of Rust's grammar for the rules: what is code, which tokens it has, where
//! functions and test modules begin and end.

/// A word (identifier, keyword, number) or a single punctuation character of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Counted from one.
    pub(super) line: usize,
    pub(super) text: String,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where `fn` stands, counted from one.
    pub(super) line: usize,
    /// Lines of code between the braces, blank lines and comments left out.
    pub(super) length: usize,
}

/// Stands for every character of a string or character literal in masked text: such a line is
/// code, but what the literal says is not.
const FILLER: char = '"';

/// The text with comments blanked and literals filled, line by line as before.
pub(super) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = chars.get(at..).unwrap_or_default();
        let after_word = at > 0 && chars.get(at - 1).is_some_and(|c| is_word(*c));
        let (length, fill) = match rest {
            ['/', '/', ..] => (line_comment(rest), ' '),
            ['/', '*', ..] => (block_comment(rest), ' '),
            ['"', ..] => (quoted(rest, '"'), FILLER),
            ['\'', '\\', ..] | ['\'', _, '\'', ..] => (quoted(rest, '\''), FILLER),
            ['b' | 'c', 'r', ..] if !after_word => (raw_string(rest, 2), FILLER),
            ['r', ..] if !after_word => (raw_string(rest, 1), FILLER),
            _ => (0, ' '),
        };
        for c in rest.iter().take(length.max(1)) {
            out.push(if length == 0 || *c == '\n' { *c } else { fill });
        }
        at += length.max(1);
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest.get(at..).unwrap_or_default() {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while let Some(c) = rest.get(at) {
        at += match c {
            '\\' => 2,
            c if *c == quote => return at + 1,
            _ => 1,
        };
    }
    rest.len()
}

/// The length of a raw string that begins here, or 0 if none does.
fn raw_string(rest: &[char], prefix: usize) -> usize {
    let marks = rest.iter().skip(prefix).take_while(|c| **c == '#').count();
    let open = prefix + marks;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let body = rest.get(open + 1..).unwrap_or_default();
    let closes =
        |window: &[char]| window.first() == Some(&'"') && window.iter().skip(1).all(|c| *c == '#');
    let end = body.windows(marks + 1).position(closes);
    end.map_or(rest.len(), |found| open + 1 + found + marks + 1)
}

/// The tokens of masked text; literals are not tokens.
pub(super) fn tokens(masked: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (index, line) in masked.lines().enumerate() {
        let mut joined = false;
        for c in line.chars() {
            match found.last_mut() {
                Some(last) if joined && is_word(c) => last.text.push(c),
                _ if c.is_whitespace() || c == FILLER => {}
                _ => found.push(Token {
                    line: index + 1,
                    text: c.to_string(),
                }),
            }
            joined = is_word(c);
        }
    }
    found
}

/// Whether the tokens from here on are these.
pub(super) fn starts(tokens: &[Token], expected: &[&str]) -> bool {
    tokens.len() >= expected.len()
        && tokens
            .iter()
            .zip(expected)
            .all(|(token, text)| token.text == *text)
}

/// The functions of masked text that have a body.
pub(super) fn functions(masked: &str, tokens: &[Token]) -> Vec<Function> {
    let code: Vec<bool> = masked.lines().map(|line| !line.trim().is_empty()).collect();
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.text != "fn" {
            continue;
        }
        let after = tokens.get(index + 1..).unwrap_or_default();
        // `fn(u8)` is a type.
        let Some(name) = after.first().filter(|next| next.text.chars().all(is_word)) else {
            continue;
        };
        let Some((open, close)) = body(after) else {
            continue;
        };
        let inside = code.iter().skip(open).take(close.saturating_sub(open + 1));
        let length = inside.filter(|is_code| **is_code).count();
        found.push(Function {
            name: name.text.clone(),
            line: token.line,
            length,
        });
    }
    found
}

/// The lines of the braces that the next block stands between; nothing if `;` comes first.
fn body(tokens: &[Token]) -> Option<(usize, usize)> {
    let (mut round, mut curly, mut open) = (0_usize, 0_usize, None);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" if open.is_none() => round += 1,
            ")" | "]" if open.is_none() => round = round.saturating_sub(1),
            ";" if open.is_none() && round == 0 => return None,
            "{" if round == 0 => {
                open = open.or(Some(token.line));
                curly += 1;
            }
            "}" if round == 0 => {
                curly = curly.saturating_sub(1);
                if curly == 0 {
                    return open.map(|line| (line, token.line));
                }
            }
            _ => {}
        }
    }
    None
}

/// First and last line of every `#[cfg(test)]` item that is a block.
pub(super) fn test_blocks(tokens: &[Token]) -> Vec<(usize, usize)> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let here = tokens.get(index..).unwrap_or_default();
        if starts(here, &marker)
            && let Some((_, close)) = body(here.get(marker.len()..).unwrap_or_default())
        {
            found.push((token.line, close));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(&mask(text))
            .into_iter()
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn comments_and_literals_are_not_tokens() {
        assert_eq!(words("a /* b /* c */ d */ e // f"), ["a", "e"]);
        assert_eq!(words(r#"x = "fn \" y" + 'z'"#), ["x", "=", "+"]);
        assert_eq!(words("r#\"fn { \" \"# done br\"{\" for"), ["done", "for"]);
        assert_eq!(words("'\\'' <'a> b'{' r"), ["<", "'", "a", ">", "b", "r"]);
    }

    #[test]
    fn masking_keeps_lines() {
        let text = "a\n/* b\nc */ d\n\"e\nf\"\n";
        let lines: Vec<usize> = tokens(&mask(text)).iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(mask(text).lines().count(), text.lines().count());
    }

    #[test]
    fn functions_have_names_and_lengths() {
        let text = "trait T { fn none(&self); }\nfn a(f: fn(u8)) -> [u8; 2] {\n    b({\n        1\n    });\n\n    // no code\n}\nfn c() {}\n";
        let masked = mask(text);
        let found = functions(&masked, &tokens(&masked));
        let brief: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.length))
            .collect();
        assert_eq!(brief, [("a", 2, 3), ("c", 9, 0)]);
    }

    #[test]
    fn test_blocks_are_found_and_test_files_are_not_blocks() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nmod c;\n";
        assert_eq!(test_blocks(&tokens(&mask(text))), [(2, 5)]);
    }
}
