//! The log: its format, its level while the server runs, and how often a kind of line may come.
//!
//! What a peer can cause as often as it likes goes through `limited!`: of each kind the first few
//! lines of a period are told, and at its end how many were left out. No line is lost without being
//! counted.
//!
//! Vocabulary: imports nothing of ours.
#![forbid(unsafe_code)]

use std::{
    fmt, io,
    io::IsTerminal,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::Level;
use tracing_subscriber::EnvFilter;

/// The log of the process, whose level may change while it runs.
pub struct Log {
    set: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    /// Begins to log to the standard error what the filter lets through: as text, or as one JSON
    /// object per line.
    ///
    /// # Panics
    ///
    /// If the process logs already, or the text is no filter.
    pub fn begin(filter: &str, json: bool) -> Log {
        let filter = directives(filter).expect("settings hold filters that were checked");
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        if json {
            let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Log {
                set: Box::new(move |filter| handle.reload(filter).map_err(|why| why.to_string())),
            }
        } else {
            let log = log.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Log {
                set: Box::new(move |filter| handle.reload(filter).map_err(|why| why.to_string())),
            }
        }
    }

    /// Logs from now on what this filter lets through.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        (self.set)(directives(filter)?)
    }
}

/// The operator's filter, behind ours: some clients of buses tell of every record that they drop and
/// of every connection; our own words say the same once. Who wants them names them in the filter.
fn directives(filter: &str) -> Result<EnvFilter, String> {
    let all = format!("async_nats=off,lapin=off,{filter}");
    EnvFilter::builder().parse(all).map_err(|why| why.to_string())
}

/// Logs a line of a kind that may come often: `limited!(warn, "refused", %address, "why {it}")`. The
/// first word is the level, the second the kind; the rest is as tracing's own.
macro_rules! limited {
    ($level:ident, $kind:literal, $($line:tt)+) => {{
        static LIMITER: $crate::logs::Limiter = $crate::logs::Limiter::$level($kind);
        if LIMITER.admits() {
            tracing::$level!(kind = $kind, $($line)+);
        }
    }};
}
pub(crate) use limited;

/// How often lines of one kind may come. One stands where each such line is written.
#[derive(Debug)]
pub struct Limiter {
    kind: &'static str,
    level: Level,
    is_known: AtomicBool,
    /// Lines that this period still has room for.
    room: AtomicU32,
    left_out: AtomicU64,
    /// When the period ends, in milliseconds since the log began. The first never began.
    period_end_ms: AtomicU64,
}

/// Lines of a kind that a period begins with. After one in which some were left out it is one.
pub const LINES_AT_FIRST: u32 = 5;

/// Milliseconds in a period.
pub const PERIOD_MS: u64 = 10_000;

/// Everyone that was ever asked: as many as there are places in the code.
static KNOWN: Mutex<Vec<&'static Limiter>> = Mutex::new(Vec::new());

impl Limiter {
    /// For lines that are warnings.
    pub const fn warn(kind: &'static str) -> Self {
        Limiter::new(kind, Level::WARN)
    }

    /// For lines that are errors.
    pub const fn error(kind: &'static str) -> Self {
        Limiter::new(kind, Level::ERROR)
    }

    /// For lines that inform.
    pub const fn info(kind: &'static str) -> Self {
        Limiter::new(kind, Level::INFO)
    }

    /// For lines that help to find faults.
    pub const fn debug(kind: &'static str) -> Self {
        Limiter::new(kind, Level::DEBUG)
    }

    const fn new(kind: &'static str, level: Level) -> Self {
        Limiter {
            kind,
            level,
            is_known: AtomicBool::new(false),
            room: AtomicU32::new(0),
            left_out: AtomicU64::new(0),
            period_end_ms: AtomicU64::new(0),
        }
    }

    /// Whether a line may be told now. One that may not is counted.
    pub fn admits(&'static self) -> bool {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            KNOWN.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
        self.admits_at(now_ms(), &mut |left_out| self.tell(left_out))
    }

    /// The same at this time; what the period before has left out goes to `tell`.
    fn admits_at(&self, now_ms: u64, tell: &mut dyn FnMut(u64)) -> bool {
        self.turn_over(now_ms, tell);
        let take = |room: u32| room.checked_sub(1);
        let admitted = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Begins the next period where this one has ended. Of several threads one does.
    fn turn_over(&self, now_ms: u64, tell: &mut dyn FnMut(u64)) {
        let end = self.period_end_ms.load(Ordering::Relaxed);
        let next = now_ms + PERIOD_MS;
        let claim = || {
            let order = Ordering::Relaxed;
            self.period_end_ms.compare_exchange(end, next, order, order).is_ok()
        };
        if now_ms < end || !claim() {
            return;
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        self.room.store(if left_out > 0 { 1 } else { LINES_AT_FIRST }, Ordering::Relaxed);
        if left_out > 0 {
            tell(left_out);
        }
    }

    fn tell(&self, left_out: u64) {
        let kind = self.kind;
        match self.level {
            Level::ERROR => tracing::error!(kind, left_out, "{left_out} more of '{kind}'"),
            Level::WARN => tracing::warn!(kind, left_out, "{left_out} more of '{kind}'"),
            Level::INFO => tracing::info!(kind, left_out, "{left_out} more of '{kind}'"),
            _ => tracing::debug!(kind, left_out, "{left_out} more of '{kind}'"),
        }
    }
}

/// Tells what was left out in periods that have ended. To be called about once a second.
pub fn tell_left_out() {
    let now_ms = now_ms();
    for limiter in KNOWN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if limiter.left_out.load(Ordering::Relaxed) > 0 {
            limiter.turn_over(now_ms, &mut |left_out| limiter.tell(left_out));
        }
    }
}

/// Tells everything that was left out and has not been told yet. To be called at the end.
pub fn tell_all_left_out() {
    for limiter in KNOWN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let left_out = limiter.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            limiter.tell(left_out);
        }
    }
}

/// Milliseconds since this was first asked, and one period.
fn now_ms() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let since = BEGINNING.get_or_init(Instant::now).elapsed();
    since.as_millis() as u64 + PERIOD_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storm is told by its first lines and then one per period, with how many were left out; all
    /// lines are told or counted. After a quiet period the first few are told again.
    #[test]
    fn lines_are_told_or_counted() {
        let limiter = Limiter::warn("test");
        let (mut told, mut counted) = (Vec::new(), Vec::new());
        for now_ms in (0..5 * PERIOD_MS).step_by(10) {
            let admitted =
                limiter.admits_at(now_ms + PERIOD_MS, &mut |n| counted.push((now_ms, n)));
            told.extend(admitted.then_some(now_ms));
        }
        assert_eq!(told, [0, 10, 20, 30, 40, 10_000, 20_000, 30_000, 40_000]);
        assert_eq!(counted, [(10_000, 995), (20_000, 999), (30_000, 999), (40_000, 999)]);
        let mut left = 0;
        limiter.turn_over(6 * PERIOD_MS, &mut |n| left += n);
        assert_eq!(left, 999);
        limiter.turn_over(7 * PERIOD_MS, &mut |_| panic!("nothing was left out"));
        let admitted = (0..10).filter(|_| limiter.admits_at(7 * PERIOD_MS, &mut |_| ())).count();
        assert_eq!(admitted, LINES_AT_FIRST as usize);
    }

    /// However many threads log at once, no line is neither told nor counted.
    #[test]
    fn threads_lose_no_line() {
        static LIMITER: Limiter = Limiter::debug("test");
        let (told, counted) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for now_ms in PERIOD_MS..6 * PERIOD_MS {
                        let mut count = |n| _ = counted.fetch_add(n, Ordering::Relaxed);
                        let admitted = LIMITER.admits_at(now_ms, &mut count);
                        told.fetch_add(u64::from(admitted), Ordering::Relaxed);
                    }
                });
            }
        });
        let rest = LIMITER.left_out.load(Ordering::Relaxed);
        assert_eq!(told.into_inner() + counted.into_inner() + rest, 4 * 5 * PERIOD_MS);
    }
}
