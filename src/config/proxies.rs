//! How trusted proxies say for whom they send a request, as a setting. What it means is
//! `wire::forwarded`'s.
#![forbid(unsafe_code)]

use super::{table::Shape, values::Value};
use crate::wire::forwarded::Header;

/// The header that is read of a trusted proxy's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum ClientHeader {
    /// None is.
    None,
    /// This one is.
    Named(Header),
}

impl ClientHeader {
    /// The header, if one is read.
    pub fn header(self) -> Option<Header> {
        match self {
            ClientHeader::None => None,
            ClientHeader::Named(header) => Some(header),
        }
    }
}

impl Value for ClientHeader {
    const NOUN: &'static str = "HEADER";
    const KIND: &'static str = "none, x-forwarded-for or forwarded";
    const LIKE: &'static str = "";
    const SHAPE: Shape = Shape::One;

    fn parse(text: &str) -> Result<Self, String> {
        let headers = [Header::XForwardedFor, Header::Forwarded];
        let named = headers.into_iter().find(|header| text.eq_ignore_ascii_case(header.name()));
        match (named, text) {
            (Some(header), _) => Ok(ClientHeader::Named(header)),
            (None, "none") => Ok(ClientHeader::None),
            _ => Err("is not among the choices".to_owned()),
        }
    }

    fn text(&self) -> String {
        self.header().map_or_else(|| "none".to_owned(), |it| it.name().to_ascii_lowercase())
    }
}
