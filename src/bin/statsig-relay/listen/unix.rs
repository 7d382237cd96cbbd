//! The Unix socket that the relay listens on.

use std::{
    fs,
    io::{self, Error, ErrorKind},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixSocket;

use super::BACKLOG;

/// A socket's file. A drop removes the file, unless another process has replaced it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Listens on a Unix socket. Users with write permission on its file may connect.
///
/// Replaces a dead socket, on which no process listens any longer. A live socket, or a file of
/// another kind, is an error.
pub(crate) fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    // If several relays start at once, one binds and listens before another looks for a dead
    // socket.
    let _locked = lock_folder(path)?;
    remove_dead(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // No client can connect before the socket listens.
    let permissions = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let listener = permissions.and_then(|()| socket.listen(BACKLOG)?.into_std());
    let identity = fs::symlink_metadata(path).map(|file| identity(&file));
    match (listener, identity) {
        (Ok(listener), Ok(identity)) => {
            Ok((listener, SocketFile { path: path.to_owned(), identity }))
        }
        (Err(error), _) | (_, Err(error)) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks the folder until the result is dropped.
fn lock_folder(path: &Path) -> io::Result<fs::File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = fs::File::open(folder.unwrap_or(Path::new(".")))?;
    folder.lock()?;
    Ok(folder)
}

fn remove_dead(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.file_type().is_socket() {
        let message = "a file of this name exists and is not a socket";
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(Error::new(ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}

/// Identifies a file. The system may reuse a removed file's inode number, but not together with its
/// time.
type Identity = (u64, u64, i64, i64);

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _locked = lock_folder(&self.path);
        let is_own = |file: fs::Metadata| identity(&file) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(is_own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("statsig-relay-{}-{name}", std::process::id()))
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[actix_web::test]
    async fn socket_has_the_configured_mode_and_ends_with_the_relay() {
        let path = path("mode");
        for wanted in [0o600, 0o660, 0o666] {
            let (listener, file) = listen(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            drop((listener, file));
            assert!(!path.exists());
        }
    }

    #[actix_web::test]
    async fn only_a_dead_socket_is_replaced() {
        let path = path("dead");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path, 0o600).unwrap();
        let error = listen(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
        drop((listener, file));

        fs::write(&path, "a note").unwrap();
        let error = listen(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a note");
        fs::remove_file(&path).unwrap();

        let beside = path.with_extension("beside");
        std::os::unix::fs::symlink(&beside, &path).unwrap();
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
    }

    #[actix_web::test]
    async fn socket_of_another_is_not_removed() {
        let path = path("replaced");
        let (listener, file) = listen(&path, 0o600).unwrap();
        // Simulates a draining relay: another one may start meanwhile.
        drop(listener);
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(UnixStream::connect(&path).is_ok());
        drop(other);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn of_relays_that_start_at_once_one_has_the_socket() {
        let path = path("at-once");
        for _ in 0..100 {
            drop(UnixListener::bind(&path).unwrap());
            let at_once = Barrier::new(4);
            let start = || {
                let system = actix_web::rt::System::new();
                at_once.wait();
                system.block_on(async { listen(&path, 0o600) })
            };
            let all: Vec<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1, "{all:?}");
            assert!(UnixStream::connect(&path).is_ok());
        }
    }
}
