//! The ways into a shard for what comes from the control plane.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    config::Config,
    limits::QUESTIONS_MAX,
    mesh::{Ingress, Parking, Questions},
    report::Question,
};

pub(super) fn ingress(config: &Config, parking: &Arc<Parking>, answered: &Arc<Notify>) -> Ingress {
    let answered = Arc::clone(answered);
    Ingress::new(
        config.publish_queue as usize,
        Arc::clone(parking),
        Arc::new(move || answered.notify_one()),
    )
}

pub(super) fn questions(parking: &Arc<Parking>) -> Questions<Question> {
    Questions::new(QUESTIONS_MAX, Arc::clone(parking))
}
