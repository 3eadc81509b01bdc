//! Asks the shards, and waits for what they answer, for a time.
//!
//! A question that nobody waits for any more stays in its queue until its shard turns, so a shard
//! that is stuck is asked a bounded number of times.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Plane, publish::stuck, reply::Refusal};
use crate::{
    ids::ShardId,
    report::{LagReport, PatternLag, Question, Reply, SLOWEST_MAX},
};

/// Asks one shard.
pub(super) async fn ask<T: Send + 'static>(
    plane: &Plane,
    shard: ShardId,
    question: impl FnOnce(Reply<T>) -> Question,
) -> Result<T, Refusal> {
    let until = Until::after(plane.settings().answer_timeout);
    until.hear(put(plane, usize::from(shard.0), question)?).await
}

/// Asks every shard, and gives all their answers or none.
pub(super) async fn ask_all<T: Send + 'static>(
    plane: &Plane,
    wait: Duration,
    question: impl Fn(Reply<T>) -> Question,
) -> Result<Vec<T>, Refusal> {
    let until = Until::after(wait);
    // All are asked before any is heard, so that they walk at the same time.
    let asked: Result<Vec<_>, Refusal> =
        (0..plane.questions.len()).map(|shard| put(plane, shard, &question)).collect();
    let mut answers = Vec::new();
    for pending in asked? {
        answers.push(until.hear(pending).await?);
    }
    Ok(answers)
}

/// How far everybody lags, over all shards.
pub(super) async fn ask_lag(plane: &Plane, wait: Duration) -> Result<LagReport, Refusal> {
    let mut all = LagReport::default();
    for report in ask_all(plane, wait, Question::Lag).await? {
        for theirs in report.patterns {
            match all.patterns.iter_mut().find(|mine| mine.pattern == theirs.pattern) {
                Some(mine) => PatternLag::merge(mine, &theirs),
                None => all.patterns.push(theirs),
            }
        }
        all.slowest.extend(report.slowest);
    }
    all.patterns.sort_by_key(|lag| lag.pattern);
    all.slowest.sort_by_key(|slow| std::cmp::Reverse((slow.publications, slow.bytes)));
    all.slowest.truncate(SLOWEST_MAX);
    Ok(all)
}

fn put<T: Send + 'static>(
    plane: &Plane,
    shard: usize,
    question: impl FnOnce(Reply<T>) -> Question,
) -> Result<oneshot::Receiver<T>, Refusal> {
    let (answer, pending) = oneshot::channel();
    // Whoever asked may have gone; then the answer is nobody's.
    let question = question(Box::new(move |answered| drop(answer.send(answered))));
    match plane.questions[shard].ask(question) {
        Ok(()) => Ok(pending),
        Err(_) => {
            let reason = "a shard has as many questions as may wait; ask again later";
            Err(Refusal::later(plane.settings().retry_after, reason))
        }
    }
}

/// When waiting ends, and how long it was then.
struct Until {
    deadline: Instant,
    wait: Duration,
}

impl Until {
    fn after(wait: Duration) -> Self {
        Until { deadline: Instant::now() + wait, wait }
    }

    async fn hear<T>(&self, pending: oneshot::Receiver<T>) -> Result<T, Refusal> {
        match timeout_at(self.deadline, pending).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                let reason = "a shard ended before it answered: the server is stopping";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason))
            }
            Err(_) => {
                let wait = self.wait;
                Err(stuck(format!("a shard did not answer within {wait:?} (see /readyz)")))
            }
        }
    }
}
