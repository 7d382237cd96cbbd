//! HTTP: the server, its routes, errors, log lines and metrics.

pub(crate) mod access_log;
mod api;
mod encoding;
pub(crate) mod health;
pub(crate) mod problem;
pub(crate) mod prometheus;
pub(crate) mod request_id;
pub(crate) mod server;
