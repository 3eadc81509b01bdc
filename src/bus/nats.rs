//! Placeholder of a reader.

use tokio::sync::mpsc;

use super::{Fault, Feed, Reader, Running};
use crate::inputs::{Forward, Input};

struct Nothing;

impl Reader for Nothing {
    fn read<'a>(&'a mut self, _feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async { Fault::Refused("it is not there yet".into()) })
    }
}

pub(super) fn reader(_input: Input) -> Box<dyn Reader> {
    Box::new(Nothing)
}

pub(super) async fn forward(_input: Input, forwards: mpsc::Receiver<Forward>) {
    super::refuse_all(forwards, "it is not there yet".into()).await;
}
