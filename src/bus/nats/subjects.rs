//! Subjects and what they match.

/// Whether a subject is among those that `filter` stands for.
pub(super) fn matches(filter: &str, subject: &str) -> bool {
    let mut words = subject.split('.');
    for part in filter.split('.') {
        match (part, words.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => (),
            (part, Some(word)) if part != word => return false,
            _ => (),
        }
    }
    words.next().is_none()
}

/// The glob that matches at least what the filter does: `*` for each of its wildcards.
pub(super) fn glob(filter: &str) -> String {
    let words = filter.split('.').map(|word| if word == ">" { "*" } else { word });
    words.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wildcards stand for one word, or at the end for one or more, as nats-server has it.
    #[test]
    fn filters_match_as_the_server_does() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a", false),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
        assert_eq!(glob("a.*.b.>"), "a.*.b.*");
    }
}
