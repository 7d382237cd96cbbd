//! When the log says that stale answers are served, and when that they no longer are. Pure.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The times in which stale answers are served.
#[derive(Debug, Default)]
pub(crate) struct StaleEpisodes {
    is_serving: AtomicBool,
    episode: Mutex<Episode>,
}

#[derive(Debug, Default)]
struct Episode {
    /// When the log last had a line about an episode.
    last_line: Option<Instant>,
    is_quiet: bool,
    /// The number of stale answers before this episode.
    answers_before: u64,
}

/// A line for the log. A quiet one is for DEBUG: another line was logged shortly before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) is_quiet: bool,
    /// The number of stale answers in the episode so far.
    pub(crate) answers: u64,
}

/// A new episode is quiet if it begins this soon after the last line: Statsig may fail and answer in
/// quick turns.
const PAUSE: Duration = Duration::from_secs(60);

impl StaleEpisodes {
    /// Notes a stale answer. Returns a line if it begins an episode. `answers_before` is the number of
    /// stale answers before it.
    pub(crate) fn served(&self, answers_before: u64, now: Instant) -> Option<Line> {
        if self.is_serving.load(Relaxed) || self.is_serving.swap(true, Relaxed) {
            return None;
        }
        let mut episode = self.episode.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet =
            episode.last_line.is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
        let last_line = if is_quiet { episode.last_line } else { Some(now) };
        *episode = Episode { last_line, is_quiet, answers_before };
        Some(Line { is_quiet, answers: 0 })
    }

    /// Notes that Statsig has answered. Returns a line if that ends an episode. `answers` is the number
    /// of stale answers so far.
    pub(crate) fn answered(&self, answers: u64, now: Instant) -> Option<Line> {
        if !self.is_serving.load(Relaxed) || !self.is_serving.swap(false, Relaxed) {
            return None;
        }
        let mut episode = self.episode.lock().unwrap_or_else(PoisonError::into_inner);
        if !episode.is_quiet {
            episode.last_line = Some(now);
        }
        let answers = answers.saturating_sub(episode.answers_before);
        Some(Line { is_quiet: episode.is_quiet, answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn episode_logs_two_lines_unless_it_follows_another_soon() {
        let (episodes, start) = (StaleEpisodes::default(), Instant::now());
        let line = |is_quiet, answers| Some(Line { is_quiet, answers });
        assert_eq!(episodes.answered(0, start), None);

        assert_eq!(episodes.served(3, start), line(false, 0));
        assert_eq!(episodes.served(4, start), None);
        assert_eq!(episodes.answered(8, start + PAUSE), line(false, 5));
        assert_eq!(episodes.answered(8, start + PAUSE), None);

        let soon = start + 2 * PAUSE - Duration::from_millis(1);
        assert_eq!(episodes.served(8, soon), line(true, 0));
        assert_eq!(episodes.answered(9, soon + PAUSE), line(true, 1));
        assert_eq!(episodes.served(9, soon + PAUSE), line(false, 0));
    }
}
