//! Runs kubectl, whichever it is: every call ends by a deadline and fails with kubectl's own words.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long most calls may take: the API server answers within a second or is in trouble.
pub(crate) const SHORT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);

/// kubectl and the cluster it talks to.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: OsString,
    first: Vec<OsString>,
}

/// What a call said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Kubectl {
    /// A program with the arguments that come before every other.
    pub(crate) fn new(program: impl Into<OsString>, first: Vec<OsString>) -> Self {
        let program = program.into();
        Self { program, first }
    }

    /// How a person would call it.
    pub(crate) fn spelled(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.first);
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn call(
        &self,
        arguments: &[&str],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Said> {
        let mut command = Command::new(&self.program);
        command.args(&self.first).args(arguments);
        within(command, input, limit)
            .with_context(|| format!("{} {}", self.spelled(), arguments.join(" ")))
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn text(&self, arguments: &[&str]) -> Result<String> {
        self.succeed(arguments, None, SHORT)
    }

    /// The same with input and a time limit.
    pub(crate) fn succeed(
        &self,
        arguments: &[&str],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<String> {
        let said = self.call(arguments, input, limit)?;
        if !said.status.success() {
            bail!(
                "`{} {}` failed: {}",
                self.spelled(),
                arguments.join(" "),
                said.stderr.trim()
            );
        }
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Runs a command that prints JSON; nothing printed is null.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.text(arguments)?;
        parse(&text).with_context(|| format!("{} {}", self.spelled(), arguments.join(" ")))
    }
}

/// The JSON kubectl printed; nothing printed is null.
pub(crate) fn parse(text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).context("kubectl printed something that is not JSON")
}

/// The objects of a list.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A string somewhere in an object.
pub(crate) fn text_at<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// The name of an object.
pub(crate) fn name_of(object: &Value) -> &str {
    text_at(object, "/metadata/name").unwrap_or_default()
}

/// Runs a program and ends it when the time is over.
pub(crate) fn within(mut command: Command, input: Option<&[u8]>, limit: Duration) -> Result<Said> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} could not be started; is it installed?"))?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A program that does not read all of its input says why by its exit code.
        scope.spawn(move || {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                drop(stdin.write_all(input));
            }
        });
        let stdout = scope.spawn(move || drain(stdout));
        let stderr = scope.spawn(move || drain(stderr));
        let status = wait(&mut child, limit)?;
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        match status {
            Some(status) => Ok(Said {
                status,
                stdout,
                stderr,
            }),
            None => bail!(
                "no end after {} s; is the cluster reachable? {}",
                limit.as_secs(),
                stderr.trim()
            ),
        }
    })
}

fn drain(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What came before an error is still worth showing.
        drop(stream.read_to_end(&mut bytes));
    }
    bytes
}

/// Waits for a child, and kills it when it takes too long; then there is no status.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::park_timeout(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Kubectl {
        Kubectl::new("sh", vec!["-c".into(), script.into(), "kubectl".into()])
    }

    #[test]
    fn input_and_arguments_arrive_and_output_comes_back() {
        let echo = shell("echo \"$1\"; cat");
        let big = vec![b'x'; 300_000];
        let said = echo.call(&["first"], Some(&big), SHORT).unwrap();
        assert!(said.status.success());
        assert_eq!(said.stdout.len(), "first\n".len() + big.len());
    }

    #[test]
    fn a_failure_is_told_in_the_programs_own_words() {
        let error = shell("echo no such thing >&2; exit 3")
            .text(&["get"])
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("no such thing"), "{message}");
        assert!(message.contains(" get` failed"), "{message}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let started = Instant::now();
        let limit = Duration::from_millis(200);
        let error = shell("exec sleep 600").call(&[], None, limit).unwrap_err();
        assert!(format!("{error:#}").contains("no end after"), "{error:#}");
        assert!(started.elapsed() < SHORT);
    }

    #[test]
    fn nothing_printed_is_null_and_nonsense_is_an_error() {
        assert_eq!(parse(" \n").unwrap(), Value::Null);
        assert!(parse("no JSON").is_err());
    }
}
