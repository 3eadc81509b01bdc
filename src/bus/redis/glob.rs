//! Patterns of Pub/Sub, as Redis matches them.

/// Whether a subscription is to a pattern: by what is special in one.
pub(super) fn is_pattern(subscription: &str) -> bool {
    subscription.contains(['*', '?', '['])
}

/// Whether a channel matches a pattern of `*`, `?`, `[a-z]`, `[^a]` and `\` before what is meant as
/// it is. At most the product of the lengths in steps.
pub(super) fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    if channel.is_empty() {
        // Redis looks at no star then.
        return pattern.is_empty();
    }
    let (mut at, mut rest) = (pattern, channel);
    // Behind the last star: the pattern, and the first byte that the star has not taken yet.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = at {
            star = Some((after, rest));
            at = after;
            continue;
        }
        match rest.split_first() {
            None if at.is_empty() => return true,
            Some((&byte, after)) if !at.is_empty() => {
                let (is_match, next) = one(at, byte);
                if is_match {
                    (at, rest) = (next, after);
                    continue;
                }
            }
            _ => (),
        }
        let Some((behind, [_, left @ ..])) = star else { return false };
        star = Some((behind, left));
        (at, rest) = (behind, left);
    }
}

/// Whether the first element of the pattern, which is no star, matches a byte; and the rest of the
/// pattern.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', rest @ ..] => {
            let (is_member, rest) = class(rest, byte);
            (!is_member, rest)
        }
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] => (*literal == byte, rest),
        [literal, rest @ ..] => (*literal == byte, rest),
        [] => (false, pattern),
    }
}

/// Whether a byte is in a class that has begun, and what is behind it. One without an end lasts to
/// the end of the pattern.
fn class(mut pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut is_member = false;
    loop {
        pattern = match pattern {
            [] => return (is_member, pattern),
            [b'\\', literal, rest @ ..] => {
                is_member |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => return (is_member, rest),
            [from, b'-', to, rest @ ..] => {
                is_member |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                is_member |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: the cases are what `KEYS`, which matches alike, says in redis-server 7.0.
    #[test]
    fn patterns_match_as_in_redis() {
        let all: &[(&str, &[&str], &[&str])] = &[
            ("news.*", &["news.", "news.art", "news.a.b"], &["news", "xnews.a"]),
            ("h?llo", &["hello", "h\\llo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "h[llo"]),
            ("h[^e]llo", &["hallo", "h^llo"], &["hello"]),
            ("h[c-a]llo", &["hbllo"], &["hdllo"]),
            ("h[a-", &["ha", "h-"], &["h", "hb", "hab"]),
            ("h[a", &["ha"], &["h", "h["]),
            ("h\\*llo", &["h*llo"], &["hello", "h\\*llo"]),
            ("[\\]]", &["]"], &["\\", "a"]),
            ("[]a]", &[], &["]a]", "a", "]"]),
            ("a\\", &["a\\"], &["a"]),
            ("*a*b*c", &["abc", "xaxbxc", "aabbcc"], &["acb", "abcd"]),
            ("**", &["a"], &[""]),
            ("", &[""], &["a"]),
        ];
        for (pattern, yes, no) in all {
            for (channels, expected) in [(yes, true), (no, false)] {
                for channel in *channels {
                    let found = matches(pattern.as_bytes(), channel.as_bytes());
                    assert_eq!(found, expected, "{pattern} {channel}");
                }
            }
        }
    }
}
