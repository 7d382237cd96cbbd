//! Files with keys, read again when they change or SIGHUP comes. What cannot be used changes nothing.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use actix_statsig::Statsig;
use actix_web::rt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    access::keys::Keys,
    args::{Args, Given},
    http::access_log,
};

/// How often the files are looked at. They are read: a time stamp that stays, a link that points
/// elsewhere and a network's file system that is slow to tell make no difference.
const PERIOD: Duration = Duration::from_secs(2);

/// A file that is being written is read again after this, until it is the same twice.
const WHILE_WRITTEN: Duration = Duration::from_millis(100);

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// What a file has.
#[derive(Clone, Copy)]
enum Kind {
    ApiKey,
    CallersKeys,
}

/// A file that is watched.
struct Watched {
    kind: Kind,
    path: PathBuf,
    /// What it had, or why it could not be read, when it was looked at last.
    last: Contents,
}

type Contents = Result<String, String>;

/// What a file has now.
struct News {
    kind: Kind,
    text: Contents,
}

/// Catches SIGHUP from here on, which would end the process.
#[cfg(unix)]
pub(crate) struct Hangup(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangup {
    pub(crate) fn catch() -> Result<Self, String> {
        use tokio::signal::unix::{SignalKind, signal};

        let caught = signal(SignalKind::hangup());
        caught.map(Self).map_err(|error| format!("SIGHUP cannot be caught: {error}"))
    }

    async fn received(&mut self) {
        self.0.recv().await;
    }
}

/// There is no such signal.
#[cfg(not(unix))]
pub(crate) struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    pub(crate) fn catch() -> Result<Self, String> {
        Ok(Self)
    }

    async fn received(&mut self) {
        std::future::pending().await
    }
}

/// Where keys that are read again go.
pub(crate) struct Reloading {
    hangup: Hangup,
    statsig: Statsig,
    /// With the key that is in use.
    api_key: Option<(Given, Given)>,
    callers: Option<Callers>,
}

struct Callers {
    file: Given,
    keys: Keys,
    /// Those that do not come from the file.
    listed: Option<Given>,
}

impl Reloading {
    /// `keys` are those of callers who may ask, if there are any.
    pub(crate) fn of(args: &Args, hangup: Hangup, statsig: Statsig, keys: Option<Keys>) -> Self {
        let given = |option| args.given(option).cloned();
        let callers = given("keys_file").zip(keys);
        let callers = callers.map(|(file, keys)| Callers { file, keys, listed: given("keys") });
        let api_key = given("api_key_file").zip(given("api_key"));
        Self { hangup, statsig, api_key, callers }
    }

    /// Starts to watch, until the process ends.
    pub(crate) fn start(self) -> Result<(), String> {
        // A pipe has what it had only once.
        let is_file = |given: &Given| fs::metadata(given.path()).is_ok_and(|file| file.is_file());
        let api_key = self.api_key.as_ref().filter(|(file, _)| is_file(file));
        let api_key = api_key.map(|(file, key)| Watched {
            kind: Kind::ApiKey,
            path: file.path().to_owned(),
            last: key.text().map(str::to_owned),
        });
        let callers = self.callers.as_ref().filter(|callers| is_file(&callers.file));
        let callers = callers.map(|callers| {
            let path = callers.file.path().to_owned();
            let last = read(&path);
            // It may have changed since it was read for the start.
            let _ = callers.take(last.clone());
            Watched { kind: Kind::CallersKeys, path, last }
        });
        let files: Vec<_> = api_key.into_iter().chain(callers).collect();
        let ((wake, woken), (tell, told)) = (channel(), unbounded_channel());
        if !files.is_empty() {
            let watch = move || watch(files, &woken, &tell);
            let started = thread::Builder::new().name("statsig-keys".to_owned()).spawn(watch);
            started.map_err(|error| format!("the thread that reads keys again: {error}"))?;
        }
        rt::spawn(self.run(wake, told));
        Ok(())
    }

    async fn run(mut self, wake: Sender<()>, mut told: UnboundedReceiver<News>) {
        loop {
            tokio::select! {
                () = self.hangup.received() => match wake.send(()) {
                    Ok(()) => tracing::info!("SIGHUP: the files with keys are read again"),
                    Err(_) => tracing::info!("SIGHUP: there is no file with keys to read again"),
                },
                Some(news) = told.recv() => self.take(news).await,
            }
        }
    }

    async fn take(&self, News { kind, text }: News) {
        let (by, taken) = match (kind, &self.api_key, &self.callers) {
            (Kind::ApiKey, Some((file, _)), _) => (&file.by, self.take_api_key(text).await),
            (Kind::CallersKeys, _, Some(callers)) => (&callers.file.by, callers.take(text)),
            _ => return,
        };
        match taken {
            Ok(what) => tracing::info!("{by} has changed: {what}"),
            Err(why) => {
                tracing::error!(
                    "{by} has changed and cannot be used; its keys from before stay: {why}"
                )
            }
        }
    }

    async fn take_api_key(&self, text: Contents) -> Result<String, String> {
        let changed = self.statsig.set_api_key(text?).await;
        changed.map_err(|error| error.to_string())?;
        access_log::key_has_changed();
        Ok("Statsig is asked with the new key, and answers to the old one are dropped".to_owned())
    }
}

impl Callers {
    fn take(&self, text: Contents) -> Result<String, String> {
        let mut keys = Keys::from_lines(&text?)?;
        if let Some(listed) = &self.listed {
            keys.extend(Keys::from_list(listed.text()?)?);
        }
        let number = keys.len();
        self.keys.replace(keys);
        Ok(format!("{number} keys of callers are accepted"))
    }
}

/// Looks at the files every so often, and when it is woken.
fn watch(mut files: Vec<Watched>, woken: &Receiver<()>, tell: &UnboundedSender<News>) {
    while woken.recv_timeout(PERIOD) != Err(RecvTimeoutError::Disconnected) {
        for news in files.iter_mut().filter_map(Watched::look) {
            // The process is about to end where nobody is there to hear it.
            let _ = tell.send(news);
        }
    }
}

impl Watched {
    fn look(&mut self) -> Option<News> {
        let mut now = read(&self.path);
        if now == self.last {
            return None;
        }
        // Half a key is another key.
        for _ in 0..10 {
            let before = now;
            thread::sleep(WHILE_WRITTEN);
            now = read(&self.path);
            if now == before {
                break;
            }
        }
        let has_changed = now != self.last;
        self.last = now.clone();
        has_changed.then_some(News { kind: self.kind, text: now })
    }
}

/// Without what ends the last line, as the key is read for the start.
fn read(path: &Path) -> Contents {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) if text.len() as u64 > LONGEST => Err(format!("it has more than {LONGEST} bytes")),
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
