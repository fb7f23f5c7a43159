//! The console: stderr, a pipe or socket that somebody else reads: a container's runtime, systemd's journal. When he takes nothing, lines are lost, which are
//! counted, and whoever logs waits for him a tenth of a second in ten at most. Where stderr is a file or a terminal, it is waited for.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

/// What has room takes as much without a wait: a page of a pipe, if no other process writes to it, a quarter of a socket's buffer. Source: Linux.
const PIECE: usize = 4_096;
/// Time for a reader that is slow for a moment, once within [`CALM`]: whoever logs meanwhile waits, too.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// A console that was full since then is not waited for.
const CALM: Duration = Duration::from_secs(10);

static CONSOLE: Mutex<Console> = Mutex::new(Console::NEW);

struct Console {
    /// When it last had no room.
    full_at: Option<Instant>,
    /// The last line may have no end.
    is_torn: bool,
}

/// Writes a line, or gives it up.
pub(super) fn write(line: &[u8]) -> io::Result<()> {
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner).write(&mut io::stderr(), line)
}

impl Console {
    const NEW: Self = Self { full_at: None, is_torn: false };

    fn write<O: Write + AsFd>(&mut self, out: &mut O, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_piece(out, b"\n")?;
        }
        for piece in line.chunks(PIECE) {
            self.write_piece(out, piece)?;
        }
        self.is_torn = false;
        Ok(())
    }

    fn write_piece<O: Write + AsFd>(&mut self, out: &mut O, piece: &[u8]) -> io::Result<()> {
        if !self.has_room(out)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.is_torn = true;
        out.write_all(piece)
    }

    fn has_room(&mut self, out: &impl AsFd) -> io::Result<bool> {
        if is_ready(out, &AT_ONCE)? {
            return Ok(true);
        }
        let was_full = self.full_at.replace(Instant::now()).is_some_and(|at| at.elapsed() < CALM);
        Ok(!was_full && is_ready(out, &PATIENCE)?)
    }
}

/// Also when nobody reads it any more: writing says so.
fn is_ready(out: &impl AsFd, within: &Timespec) -> io::Result<bool> {
    Ok(retry_on_intr(|| poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(within)))? > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Longer than a piece, and than a page of a pipe.
    const LONG: usize = 10_000;

    fn line(length: usize) -> Vec<u8> {
        [vec![b'a'; length - 1], vec![b'\n']].concat()
    }

    /// Breaks when `core/src/telemetry/console.rs`: `.is_some_and(|at| at.elapsed() < CALM)` → `.is_some_and(|_| false)`.
    #[test]
    fn a_reader_who_takes_nothing_is_waited_for_once() {
        let (_reader, mut out) = io::pipe().unwrap();
        let (mut console, begun) = (Console::NEW, Instant::now());
        let lost = (0..300).filter(|_| console.write(&mut out, &line(LONG)).is_err()).count();
        assert!(lost > 250, "{lost}");
        // Not one patience for each that was lost: 30 s.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    /// Breaks when `core/src/telemetry/console.rs`: `if self.is_torn {` → `if false {`.
    #[test]
    fn a_line_that_was_lost_halfway_spoils_no_other_one() {
        let (mut reader, mut out) = io::pipe().unwrap();
        let mut console = Console::NEW;
        while console.write(&mut out, &line(LONG)).is_ok() {}
        let mut text = vec![0; 1 << 20];
        let taken = reader.read(&mut text).unwrap();
        text.truncate(taken);
        console.write(&mut out, b"short\n").unwrap();
        drop(out);
        reader.read_to_end(&mut text).unwrap();
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        let [whole @ .., torn, short, rest] = &lines[..] else { panic!("{lines:?}") };
        assert!(whole.iter().all(|length| *length == LONG - 1) && (1..LONG - 1).contains(torn), "{lines:?}");
        assert_eq!((*short, *rest), ("short".len(), 0), "{lines:?}");
    }
}
