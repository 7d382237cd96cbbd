//! Reloads key files when they change, and on SIGHUP. An unusable file changes nothing.

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

use super::keys::Keys;
use crate::{
    args::{Args, OptionValue},
    http::access_log,
};

/// The time between two reads of the files. Only reading notices every change: a time stamp may
/// stay the same, a link may point elsewhere, and a network file system may report changes late.
const PERIOD: Duration = Duration::from_secs(2);

/// The pause before a changed file is read again, until two reads agree: the file may still be half
/// written.
const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Catches SIGHUP, which would otherwise end the process.
#[cfg(unix)]
pub(crate) struct SighupListener(tokio::signal::unix::Signal);

#[cfg(unix)]
impl SighupListener {
    pub(crate) fn new() -> Result<Self, String> {
        use tokio::signal::unix::{SignalKind, signal};

        let listener = signal(SignalKind::hangup());
        listener.map(Self).map_err(|error| format!("cannot catch SIGHUP: {error}"))
    }

    async fn received(&mut self) {
        self.0.recv().await;
    }
}

/// Receives nothing: this system has no SIGHUP.
#[cfg(not(unix))]
pub(crate) struct SighupListener;

#[cfg(not(unix))]
impl SighupListener {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self)
    }

    async fn received(&mut self) {
        std::future::pending().await
    }
}

/// Passes on keys when their files change: the API key to the component, callers' keys to the
/// [`Keys`].
pub(crate) struct KeyReloader {
    sighup: SighupListener,
    statsig: Statsig,
    api_key: Option<ApiKeyFile>,
    callers: Option<CallerKeysFile>,
}

struct ApiKeyFile {
    file: OptionValue<PathBuf>,
    /// The key that was read at startup.
    key: OptionValue<String>,
}

struct CallerKeysFile {
    file: OptionValue<PathBuf>,
    keys: Keys,
    /// Keys that do not come from the file.
    listed: Option<OptionValue<String>>,
}

impl KeyReloader {
    /// `keys` are the callers' keys, if any are configured.
    pub(crate) fn new(
        args: &Args,
        sighup: SighupListener,
        statsig: Statsig,
        keys: Option<Keys>,
    ) -> Self {
        let api_key = args.statsig.api_key_file.clone().zip(args.statsig.api_key().cloned());
        let callers = args.callers.keys_file.clone().zip(keys);
        let listed = args.callers.keys.clone();
        Self {
            sighup,
            statsig,
            api_key: api_key.map(|(file, key)| ApiKeyFile { file, key }),
            callers: callers.map(|(file, keys)| CallerKeysFile { file, keys, listed }),
        }
    }

    /// Starts watching the files, until the process ends.
    pub(crate) fn start(self) -> Result<(), String> {
        let files: Vec<_> =
            self.watch_api_key()?.into_iter().chain(self.watch_callers()?).collect();
        let ((wake, woken), (changes, changed)) = (channel(), unbounded_channel());
        if !files.is_empty() {
            let watch = move || watch(files, &woken, &changes);
            let started = thread::Builder::new().name("statsig-keys".to_owned()).spawn(watch);
            started.map_err(|error| format!("cannot start the thread for key files: {error}"))?;
        }
        rt::spawn(self.run(wake, changed));
        Ok(())
    }

    fn watch_api_key(&self) -> Result<Option<WatchedFile>, String> {
        let Some(ApiKeyFile { file, key }) = &self.api_key else { return Ok(None) };
        let path = regular_file(file)?;
        Ok(path.map(|path| WatchedFile { kind: KeyKind::Api, path, last: key.get() }))
    }

    fn watch_callers(&self) -> Result<Option<WatchedFile>, String> {
        let Some(callers) = &self.callers else { return Ok(None) };
        Ok(regular_file(&callers.file)?.map(|path| {
            let last = read(&path);
            // The file may have changed since startup.
            let _ = callers.replace(last.clone());
            WatchedFile { kind: KeyKind::Callers, path, last }
        }))
    }

    async fn run(mut self, wake: Sender<()>, mut changed: UnboundedReceiver<FileChange>) {
        loop {
            tokio::select! {
                () = self.sighup.received() => match wake.send(()) {
                    Ok(()) => tracing::info!("SIGHUP: reading the key files again"),
                    Err(_) => tracing::info!("SIGHUP: there is no key file to read again"),
                },
                Some(change) = changed.recv() => self.apply(change).await,
            }
        }
    }

    async fn apply(&self, FileChange { kind, contents }: FileChange) {
        let (origin, applied) = match (kind, &self.api_key, &self.callers) {
            (KeyKind::Api, Some(ApiKeyFile { file, .. }), _) => {
                (file.origin(), self.replace_api_key(contents).await)
            }
            (KeyKind::Callers, _, Some(callers)) => {
                (callers.file.origin(), callers.replace(contents))
            }
            _ => return,
        };
        match applied {
            Ok(effect) => tracing::info!("{origin} has changed: {effect}"),
            Err(reason) => tracing::error!(
                "{origin} has changed and cannot be used, so the old keys stay: {reason}"
            ),
        }
    }

    async fn replace_api_key(&self, contents: Contents) -> Result<String, String> {
        let changed = self.statsig.set_api_key(contents?).await;
        changed.map_err(|error| error.to_string())?;
        access_log::api_key_changed();
        Ok("the relay asks Statsig with the new key, and drops answers to the old one".to_owned())
    }
}

impl CallerKeysFile {
    fn replace(&self, contents: Contents) -> Result<String, String> {
        let mut keys = Keys::from_lines(&contents?)?;
        if let Some(listed) = &self.listed {
            keys.extend(Keys::from_list(&listed.get()?)?);
        }
        let number = keys.len();
        self.keys.replace(keys);
        Ok(format!("{number} keys of callers are accepted"))
    }
}

#[derive(Clone, Copy)]
enum KeyKind {
    Api,
    Callers,
}

/// The text of a key file, or why it could not be read.
type Contents = Result<String, String>;

/// A key file whose contents have changed.
struct FileChange {
    kind: KeyKind,
    contents: Contents,
}

struct WatchedFile {
    kind: KeyKind,
    path: PathBuf,
    /// The contents at the last read.
    last: Contents,
}

impl WatchedFile {
    fn poll(&mut self) -> Option<FileChange> {
        let mut contents = read(&self.path);
        if contents == self.last {
            return None;
        }
        // Wait until the file is written whole, because a part of a key is another key.
        for _ in 0..10 {
            let before = contents;
            thread::sleep(WRITE_PAUSE);
            contents = read(&self.path);
            if contents == before {
                break;
            }
        }
        let has_changed = contents != self.last;
        self.last = contents.clone();
        has_changed.then_some(FileChange { kind: self.kind, contents })
    }
}

/// Reads the files periodically, and when woken.
fn watch(mut files: Vec<WatchedFile>, woken: &Receiver<()>, changes: &UnboundedSender<FileChange>) {
    while woken.recv_timeout(PERIOD) != Err(RecvTimeoutError::Disconnected) {
        for change in files.iter_mut().filter_map(WatchedFile::poll) {
            // Fails only while the process ends.
            let _ = changes.send(change);
        }
    }
}

/// Returns the path of a regular file, or `None` for a pipe, whose contents can be read only once.
fn regular_file(file: &OptionValue<PathBuf>) -> Result<Option<PathBuf>, String> {
    let path = file.get()?;
    let is_file = fs::metadata(&path).is_ok_and(|file| file.is_file());
    Ok(is_file.then_some(path))
}

/// Reads a file and trims white space at its end, as startup does for the API key.
fn read(path: &Path) -> Contents {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) if text.len() as u64 > MAX_BYTES => {
            Err(format!("the file has more than {MAX_BYTES} bytes"))
        }
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
