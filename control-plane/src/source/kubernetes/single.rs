//! One object that is looked for by name: it is there, or it is not.

use std::future::Future;

use super::follow::{Closed, Sink, Step, Target};
use super::keep::{Cut, Data};
use super::trouble::Trouble;

/// What is known of an object that is looked for by name.
#[derive(Debug)]
pub(super) enum Single<T> {
    /// It is there.
    There(T),
    /// There is none.
    Absent,
    /// Changes arrive as they happen.
    Watching,
    /// It cannot be read now.
    Failed(Trouble),
}

/// One object of a namespace.
pub(super) fn target(plural: &str, namespace: &str, name: &str) -> Target {
    Target {
        path: format!("/api/v1/namespaces/{namespace}/{plural}"),
        labels: None,
        fields: Some(format!("metadata.name={name}")),
    }
}

/// Passes on what becomes of the object.
pub(super) struct SingleSink<R, F> {
    /// Whether the list under way showed the object.
    found: bool,
    read: R,
    pass: F,
}

impl<R, F> SingleSink<R, F> {
    /// `read` takes what is needed from the object, `pass` takes the result.
    pub(super) const fn new(read: R, pass: F) -> Self {
        Self {
            found: false,
            read,
            pass,
        }
    }
}

impl<T, R, F, P> Sink<Data> for SingleSink<R, F>
where
    T: Send,
    R: Fn(Cut<Data>) -> T + Send,
    F: Fn(Single<T>) -> P + Send,
    P: Future<Output = Result<(), Closed>> + Send,
{
    async fn take(&mut self, step: Step<Data>) -> Result<(), Closed> {
        let single = match step {
            Step::Listing => {
                self.found = false;
                return Ok(());
            }
            Step::There(object) => {
                self.found = true;
                Single::There((self.read)(object))
            }
            Step::Watching => Single::Watching,
            Step::Listed if self.found => Single::Watching,
            Step::Listed | Step::Gone(_) => Single::Absent,
            Step::Failed(trouble) => Single::Failed(trouble),
        };
        (self.pass)(single).await
    }
}
