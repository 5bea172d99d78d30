//! A thread that lives as long as a proxy and starts its processes. Linux sends SIGTERM to an Envoy
//! when the thread that started it ends, because Envoy requests that (PR_SET_PDEATHSIG).

use std::sync::mpsc;
use std::thread;

/// The thread. It ends when the value is dropped.
#[derive(Debug)]
pub(super) struct Keeper(mpsc::Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Keeper {
    pub(super) fn start() -> Self {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Self(sender)
    }

    /// Runs a job on the thread and waits for it.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        // The receiver waits below.
        let job = Box::new(move || drop(sender.send(job())));
        self.0.send(job).expect("the keeper lives as long as the proxy");
        result.recv().expect("the job does not panic")
    }
}
