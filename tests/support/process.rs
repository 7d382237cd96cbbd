//! Child processes that tests start and end.

use std::{
    net::TcpStream,
    process::{Child, Command},
    time::Duration,
};

use actix_rt::time::sleep;

use super::limited;

/// Sends a signal such as `TERM`.
pub fn signal(child: &Child, signal: &str) {
    // `kill` is built into the shell; not every machine has it as a program.
    let kill = format!("kill -{signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(status.success(), "{kill}");
}

/// Waits until nothing listens at the address.
pub async fn refuses_connections(address: &str) {
    let refused = async {
        while TcpStream::connect(address).is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    limited(refused).await;
}
