//! A file that holds what is kept, replaced as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mesh_runtime::durable;

use super::Place;
use crate::model::Kept;
use crate::model::kept::{MAX_BYTES, NotKept};

/// The file in the state directory.
const FILE: &str = "kept-configuration.json";

/// The file.
#[derive(Clone, Debug)]
pub struct KeptFile {
    path: PathBuf,
}

impl KeptFile {
    /// The file in a state directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join(FILE),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept, and what of it cannot be read. Without a file nothing was.
    pub fn load(&self) -> (Kept, Vec<NotKept>) {
        match self.text() {
            Ok(Some(text)) => Kept::read(&text),
            Ok(None) => (Kept::default(), Vec::new()),
            Err(error) => {
                let wrong = NotKept {
                    what: "the file".to_owned(),
                    why: error.to_string(),
                };
                (Kept::default(), vec![wrong])
            }
        }
    }

    fn text(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        let mut text = String::new();
        file.take(most + 1).read_to_string(&mut text)?;
        if text.len() > MAX_BYTES {
            return Err(io::Error::other(format!(
                "is larger than {MAX_BYTES} bytes"
            )));
        }
        Ok(Some(text))
    }
}

impl Place for KeptFile {
    async fn write(&self, text: String) -> Result<(), String> {
        let file = self.clone();
        let replacing = move || durable::replace(&file.path, text.as_bytes());
        let written = tokio::task::spawn_blocking(replacing).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
            Err(stopped) => Err(stopped.to_string()),
        }
    }
}
