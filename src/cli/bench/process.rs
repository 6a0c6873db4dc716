//! Other processes of this program: some figures need one that has compiled nothing yet, or one that
//! runs beside this one.

use super::super::Failure;
use crate::bench::{CROWD, Fresh, Row, calls, crowd, fresh};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How many fresh processes compile the same.
const PROCESSES: usize = 11;

/// Runs what a process was started for and answers with one line.
pub(super) fn answer(
    what: &str,
    threads: usize,
    budget: Duration,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if what == CROWD {
        let mut written = Ok(());
        calls(threads, budget, || written = writeln!(out, "running").and_then(|()| out.flush()))?;
        return Ok(written?);
    }
    let known = fresh().iter().find(|fresh| fresh.name == what);
    let known = known.ok_or_else(|| Failure::Input(format!("nothing named {what} runs in a process")))?;
    Ok(writeln!(out, "{}", known.compile(threads)?.as_nanos())?)
}

/// Times of compiling in fresh processes.
pub(super) fn compile_fresh(fresh: &Fresh, threads: usize) -> Result<Row, Failure> {
    let one = |_| {
        let (line, _) = Other::start(fresh.name, threads, Duration::ZERO)?;
        let nanos = line.parse().map_err(|_| Failure::Input(format!("a process answered {line}")))?;
        Ok(Duration::from_nanos(nanos))
    };
    let times: Vec<Duration> = (0..PROCESSES).map(one).collect::<Result<_, Failure>>()?;
    Ok(fresh.row(threads, &times))
}

/// Times of a layer beside a process that runs it too.
pub(super) fn crowded(threads: usize, budget: Duration) -> Result<Row, Failure> {
    // it ends by itself should nobody be left to end it
    crowd(threads, budget, || Other::start(CROWD, threads, 2 * budget + Duration::from_secs(2)))
}

/// Another process of this program, ended when dropped.
struct Other {
    child: Child,
    _answers: BufReader<ChildStdout>,
}

impl Other {
    /// Starts it and waits for its line.
    fn start(what: &str, threads: usize, budget: Duration) -> Result<(String, Other), Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "--process", what, "--threads", &threads.to_string()])
            .args(["--time", &budget.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let read = answers.read_line(&mut line);
        let other = Other { child, _answers: answers };
        read?;
        Ok((line.trim().to_string(), other))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
