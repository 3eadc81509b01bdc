//! The terminal as a screen: keys one by one, and a picture that replaces the last.

use std::{
    io::{self, IsTerminal, Read, Write},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

use super::screen::Line;
use crate::cli::failure::Failure;

/// A terminal that was taken over. Dropping gives it back as it was.
pub struct Terminal {
    before: Termios,
}

/// Columns and rows, where the output is a terminal that knows.
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

impl Terminal {
    /// Takes the terminal over.
    pub fn enter() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::usage(
                "top wants a terminal; `stentor top --once` prints one view to anywhere",
            ));
        }
        let before = tcgetattr(io::stdin()).map_err(broken)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(broken)?;
        let mut terminal = Terminal { before };
        terminal.write(ENTER)?;
        Ok(terminal)
    }

    /// Shows the lines in place of what is there.
    pub fn show(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let mut picture = HOME.to_owned();
        for (at, Line { text, strong }) in lines.iter().enumerate() {
            let end = if at > 0 { "\r\n" } else { "" };
            let (on, off) = if *strong { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            picture += &format!("{end}{on}{text}{off}\x1b[K");
        }
        self.write(&(picture + "\x1b[J"))
    }

    /// The next key, if one comes in time.
    pub fn key(&mut self, wait: Duration) -> Result<Option<u8>, Failure> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let wait =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
            Ok(_) => {
                let mut key = [0];
                // A terminal that is gone reads as ended, and means the same as `q`.
                let read = stdin.lock().read(&mut key).map_err(broken)?;
                Ok(Some(if read == 0 { b'q' } else { key[0] }))
            }
            Err(why) => Err(broken(why)),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(broken)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // If it is gone there is nothing to give back.
        let _ = self.write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the terminal does not answer: {why}"))
}

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
