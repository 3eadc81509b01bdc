//! One channel at its home: its logs, what is kept of it, and who reads it.

use bytes::Bytes;

use super::{
    kept::{Kept, Value},
    pace::Pace,
    sequences::GAP_KEY,
    tell::Interest,
};
use crate::{
    frame::{Format, Publication},
    ids::{ChannelName, Epoch, Offset, Position},
    log::{Log, Mark, Place, Stamp},
    mesh::Publish,
    policy::{Mode, PatternId, Policy},
    resume::{Begun, Gap, Start},
    wire,
};

/// A channel that somebody reads, or of which something is kept.
pub(super) struct Channel {
    pub pattern: PatternId,
    pub logs: [Option<Box<Log>>; Format::ALL.len()],
    /// Formats that are read and that nothing was published in since: a bit each. Their logs are made
    /// when something is, since most channels of a million are silent.
    silent: u8,
    pub interests: Vec<Interest>,
    /// Its numbering: the server's, the journal's, or that of the bus sequence that feeds it.
    pub epoch: Epoch,
    /// The offset of its newest publication, or what it can be at most.
    pub last: Offset,
    /// Whether what is kept need not be once nobody reads it.
    pub is_idle: bool,
    /// Publications of late.
    pub pace: Pace,
    /// What is kept, where anything is to be. Its form is then [`CANONICAL`].
    pub kept: Option<Box<Kept>>,
}

/// The format that what is kept has; other formats are made of it. A payload lies in one piece in it.
pub(super) const CANONICAL: Format = Format::WebSocket;

impl Channel {
    /// A channel whose publications had at most this offset until now.
    pub fn new(pattern: PatternId, policy: &Policy, beginning: Position) -> Self {
        let Position { epoch, offset: last } = beginning;
        let logs = Default::default();
        let kept = (!policy.history.is_none()).then(|| Box::new(Kept::new(policy, last)));
        let interests = Vec::new();
        let pace = Pace::default();
        let mut channel = Channel {
            pattern,
            logs,
            silent: 0,
            interests,
            epoch,
            last,
            is_idle: false,
            pace,
            kept,
        };
        if channel.kept.is_some() {
            channel.logs[CANONICAL.index()] = Some(Box::new(channel.new_log(policy)));
        }
        channel
    }

    /// Begins anew under another numbering: nothing of what was is kept. Its readers are to be told.
    pub fn renumber(&mut self, name: &ChannelName, policy: &Policy, epoch: Epoch, last: Offset) {
        let timed = self.kept.as_ref().and_then(|kept| kept.timed);
        let new = Channel::new(self.pattern, policy, Position { epoch, offset: last });
        let old = std::mem::replace(self, new);
        self.interests = old.interests;
        if let Some(kept) = &mut self.kept {
            kept.timed = timed;
        }
        for at in 0..self.interests.len() {
            let format = self.interests[at].format;
            self.read(name, policy, epoch, format);
            let told = self.head(format).map_or(0, |head| head.mark.byte);
            self.interests[at].begin_anew(told);
        }
    }

    /// Where the gap begins that stands among its latest values, as text.
    pub fn gap(&self) -> Option<Bytes> {
        let frame = self.kept.as_ref()?.values.as_ref()?.frame(GAP_KEY)?;
        let (extent, index) = self.logs[CANONICAL.index()].as_deref()?.find(frame)?;
        Some(Bytes::copy_from_slice(wire::websocket::payload(extent.bytes.frame(index))))
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }

    /// Whether nothing was published in it since it came into memory.
    pub fn is_blank(&self) -> bool {
        self.logs.iter().flatten().all(|log| log.head().mark.frames == 0)
            && self.kept.as_ref().is_none_or(|kept| kept.floor_frames == 0)
    }

    /// Subscribers over all shards.
    pub fn subscribers(&self) -> u64 {
        self.interests.iter().map(|interest| u64::from(interest.subscribers)).sum()
    }

    /// Whether some shard cannot send as fast as publications come.
    pub fn is_congested(&self) -> bool {
        self.interests.iter().any(|interest| interest.congested)
    }

    /// Whether nobody reads it and nothing of it is kept, or nothing that matters.
    pub fn is_empty(&self) -> bool {
        self.interests.is_empty()
            && (self.is_idle || self.kept.as_ref().is_none_or(|kept| kept.is_empty(self)))
    }

    /// The end of the log that history is counted in.
    pub fn canonical(&self) -> Option<&Log> {
        self.kept.as_ref().and_then(|_| self.logs[CANONICAL.index()].as_deref())
    }

    /// An empty log that begins where what is kept does.
    fn new_log(&self, policy: &Policy) -> Log {
        match self.kept.as_deref() {
            Some(kept) if kept.values.is_none() => Log::new(kept.floor_frames, kept.floor, false),
            kept => {
                // Before the oldest value, which will be copied: whoever is told that it begins there
                // and comes back has not got any.
                let values = kept.and_then(|kept| kept.values.as_ref());
                let oldest = values.and_then(|values| values.offsets().next());
                let before = oldest.map_or(self.last, |oldest| Offset(oldest.0 - 1));
                Log::new(0, before, policy.mode == Mode::Latest)
            }
        }
    }

    /// Lays a publication out in each format that is read or kept. Returns how many those were.
    pub fn append(
        &mut self,
        policy: &Policy,
        publish: &Publish,
        position: Position,
        time: u32,
    ) -> u32 {
        self.break_silence(policy);
        self.last = position.offset;
        let key = publish.terms.as_ref().and_then(|terms| terms.key.as_deref());
        let is_latest = policy.mode == Mode::Latest;
        let Publish { channel, kind, payload, .. } = publish;
        let key_told = key.filter(|_| is_latest);
        let publication = Publication { channel, position, kind: *kind, key: key_told, payload };
        let stamp = Stamp { offset: position.offset, kind: *kind, time };
        let mut encodings = 0;
        for (format, log) in Format::ALL.into_iter().zip(&mut self.logs) {
            if let Some(log) = log {
                encode(log, format, &publication, stamp);
                encodings += 1;
            }
        }
        if is_latest && let Some(kept) = &mut self.kept {
            let frames = Format::ALL.map(|format| {
                self.logs[format.index()].as_ref().map_or(0, |log| log.head().mark.frames)
            });
            let value = Value { offset: self.last, frames, bytes: payload.len() as u32 };
            let replaced = kept.put_value(key.unwrap_or(""), value);
            if let Some(replaced) = replaced {
                self.replace(&replaced);
            }
        } else if let Some(kept) = &mut self.kept {
            kept.bytes += payload.len();
        }
        encodings
    }

    /// Marks a value's frames as replaced.
    fn replace(&mut self, value: &Value) {
        for (log, &frame) in self.logs.iter_mut().zip(&value.frames) {
            if let Some(log) = log.as_deref_mut().filter(|_| frame > 0) {
                log.replace(frame);
            }
        }
    }

    /// Drops what exceeds the policy at `now`, in hundredths of a second.
    pub fn trim(&mut self, policy: &Policy, now: u32, lag_bytes_max: usize) {
        let Some(mut kept) = self.kept.take() else {
            return self.forget_told(lag_bytes_max);
        };
        if let Some(log) = self.logs[CANONICAL.index()].as_deref() {
            let dropped = kept.trim(policy, log, now);
            dropped.iter().for_each(|value| self.replace(value));
        }
        self.kept = Some(kept);
        self.forget_told(lag_bytes_max);
    }

    /// Forgets what every reader was told of and is no history.
    pub fn forget_told(&mut self, bytes_max: usize) {
        let floor = self.kept.as_ref().map_or(u64::MAX, |kept| kept.floor_frames);
        for (format, log) in Format::ALL.into_iter().zip(&mut self.logs) {
            if let Some(log) = log {
                let readers = self.interests.iter().filter(|reader| reader.format == format);
                log.forget(readers.map(|reader| reader.told).min().unwrap_or(u64::MAX), floor);
                log.limit(bytes_max, floor);
            }
        }
    }

    /// Sees to it that the format is encoded from now on, and what is kept is in it.
    pub fn read(&mut self, name: &ChannelName, policy: &Policy, epoch: Epoch, format: Format) {
        if let Some(kept) = &mut self.kept {
            kept.unread_since_us[format.index()] = None;
        }
        if self.logs[format.index()].is_some() {
            return;
        }
        if self.kept.is_none() {
            self.silent |= 1 << format.index();
            return;
        }
        let mut log = self.new_log(policy);
        if let Some(mut kept) = self.kept.take() {
            let canonical = self.logs[CANONICAL.index()].as_deref().expect("it is always kept");
            let mut copy = |frame: u64, key: Option<&str>| {
                let Some((extent, index)) = canonical.find(frame) else { return 0 };
                let stamp = extent.stamp(index);
                let position = Position { epoch, offset: stamp.offset };
                let payload = wire::websocket::payload(extent.bytes.frame(index));
                let kind = stamp.kind;
                let publication = Publication { channel: name, position, kind, key, payload };
                encode(&mut log, format, &publication, stamp);
                log.head().mark.frames
            };
            match &mut kept.values {
                Some(values) => values.each_oldest_first(|key, value| {
                    let key = Some(key).filter(|key| !key.is_empty());
                    value.frames[format.index()] = copy(value.frames[CANONICAL.index()], key);
                }),
                None => {
                    let frames = kept.floor_frames + 1..=canonical.head().mark.frames;
                    frames.for_each(|frame| _ = copy(frame, None));
                }
            }
            self.kept = Some(kept);
        }
        self.logs[format.index()] = Some(Box::new(log));
    }

    /// Nobody reads the format any more. Says whether its log is still there and is to be looked
    /// after in a minute.
    pub fn unread(&mut self, format: Format, now_us: u64) -> bool {
        match &mut self.kept {
            Some(_) if format == CANONICAL => false,
            Some(kept) => {
                kept.unread_since_us[format.index()] = Some(now_us);
                true
            }
            None => {
                self.logs[format.index()] = None;
                self.silent &= !(1 << format.index());
                false
            }
        }
    }

    /// Drops the log of a format that nobody reads.
    pub fn drop_log(&mut self, format: Format) {
        self.logs[format.index()] = None;
        if let Some(kept) = &mut self.kept {
            kept.unread_since_us[format.index()] = None;
            if let Some(values) = &mut kept.values {
                values.each_oldest_first(|_, value| value.frames[format.index()] = 0);
            }
        }
    }

    /// Makes the logs of formats that are read, before something is published in them.
    fn break_silence(&mut self, policy: &Policy) {
        for format in Format::ALL {
            if self.silent >> format.index() & 1 == 1 {
                self.logs[format.index()] = Some(Box::new(self.new_log(policy)));
            }
        }
        self.silent = 0;
    }

    /// The end of a format's stream, if it is read or kept.
    pub fn head(&self, format: Format) -> Option<Place> {
        let silent = Place { mark: Mark::default(), before: self.last };
        let is_silent = self.silent >> format.index() & 1 == 1;
        let log = self.logs[format.index()].as_ref().map(|log| log.head());
        log.or(Some(silent).filter(|_| is_silent))
    }

    /// Where a subscriber begins in a format's log, and what it is told of that.
    /// A client may be ahead if its channel is numbered by a bus, and other edges read that too.
    pub fn begin(
        &self,
        format: Format,
        may_be_ahead: bool,
        start: Start,
    ) -> Option<(Place, Begun)> {
        let epoch = self.epoch;
        let log = self.logs[format.index()].as_deref();
        let head = self.head(format)?;
        let behind = |offset| log.map_or(head, |log| log.behind(offset));
        let behind_frames = |frames| log.map_or(head, |log| log.behind_frames(frames));
        let position = |offset| Position { epoch, offset };
        let is_latest = self.kept.as_ref().is_some_and(|kept| kept.values.is_some());
        let floor = self.floor();
        let whole = |place: Place| (place, Begun { position: position(place.before), gap: None });
        Some(match start {
            Start::Since(since) if is_latest && since.epoch == epoch => {
                let (place, begun) = whole(behind(since.offset));
                let is_ahead = may_be_ahead && since.offset > self.last;
                // Values from before an input began are not here; our own are never forgotten.
                let is_behind = may_be_ahead && since.offset < floor;
                let gap = Gap { from: since, to: position(floor) };
                match (is_ahead, is_behind) {
                    (true, _) => (place, Begun { position: since, gap: None }),
                    (_, true) => (place, Begun { position: position(floor), gap: Some(gap) }),
                    _ => (place, begun),
                }
            }
            // Whoever comes to a channel of latest values gets the current ones.
            _ if is_latest => whole(behind_frames(0)),
            Start::Live => whole(head),
            Start::Last(count) => {
                let head = head.mark.frames;
                let kept = self.kept.as_ref().map_or(head, |kept| kept.floor_frames);
                whole(behind_frames(head.saturating_sub(u64::from(count)).max(kept)))
            }
            Start::Since(since) => {
                let is_known = since.epoch == epoch
                    && since.offset >= floor
                    && (since.offset <= self.last || may_be_ahead);
                let from = if is_known { since.offset } else { floor };
                let place = behind(from);
                let gap = Gap { from: since, to: position(from) };
                let gap = (!is_known).then_some(gap);
                // Whoever is ahead of us gets what comes behind its own position.
                (place, Begun { position: position(from), gap })
            }
        })
    }

    /// The offset of the last publication that is not kept.
    pub fn floor(&self) -> Offset {
        self.kept.as_ref().map_or(self.last, |kept| kept.floor)
    }
}

fn encode(log: &mut Log, format: Format, publication: &Publication<'_>, stamp: Stamp) {
    let len = wire::encoded_len(format, publication);
    log.append(len, stamp, |out| wire::encode(format, publication, out));
}
