//! The list of web pages that may subscribe, as a setting. What it means is `wire::route`'s.

use super::{table::Shape, values::Value};
use crate::wire::route::{NotAnOrigin, Origins};

impl Value for Origins {
    const NOUN: &'static str = "ORIGIN";
    const KIND: &'static str = "origins";
    const LIKE: &'static str = "like https://example.com, or null, or *";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        Origins::new(entries)
            .map_err(|NotAnOrigin(entry)| format!("has '{entry}', which is not an origin"))
    }

    fn text(&self) -> String {
        self.listed().collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever could never match what a browser sends is refused where it is written.
    #[test]
    fn an_entry_that_could_not_match_is_refused() {
        for entry in [
            "https://a/",
            "https://a/x",
            "a.example",
            "https://*.a",
            "https://",
            "://a",
            "https://a:",
            "https://a:x",
            "https://a:70000",
            "https://u@a",
            "",
        ] {
            let list = format!("https://fine.example,{entry}");
            let expected = Err(format!("has '{entry}', which is not an origin"));
            assert_eq!(Origins::parse(&list), expected);
        }
        assert_eq!(Origins::parse(""), Ok(Origins::default()));
        assert_eq!(Origins::parse("*, null").unwrap().text(), "*,null");
    }
}
