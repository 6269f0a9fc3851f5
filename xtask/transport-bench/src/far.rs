//! The runtime of the far end.
//!
//! Two programs that talk to each other share no runtime. Where both ends do, who is woken by the other
//! often waits for the same thread, and a stack with more tasks seems slower than it is.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A runtime as each end has one: one thread, since the machines that measure have two cores.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Makes `runtime` the one of the far end.
pub(crate) fn set(runtime: &Runtime) {
    FAR.get_or_init(|| runtime.handle().clone());
}

/// Starts a task of the far end.
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    FAR.get().expect("set before anything runs").spawn(task)
}

/// Runs `task` at the far end, so that the sockets and tasks that it makes belong there.
pub(crate) async fn run<T: Send + 'static>(
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    spawn(task).await.context("the far end panicked")?
}

static FAR: OnceLock<Handle> = OnceLock::new();
