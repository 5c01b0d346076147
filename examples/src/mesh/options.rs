//! How a mesh is to be started.

use std::path::PathBuf;

/// How to start a mesh.
#[derive(Debug, Clone)]
pub struct MeshOptions {
    /// The folder with the example folders in it.
    pub examples: PathBuf,
    /// Example folders to load beside the shop itself, as `canary`.
    pub stories: Vec<String>,
    /// Where the binaries are; beside the running executable if left out.
    pub binaries: Option<PathBuf>,
    /// The N of 127.N.0.0; the first free one from 81 if left out.
    pub instance: Option<u8>,
    /// The proxies' `--access-log`.
    pub access_log: String,
    /// The proxies' worker threads.
    pub concurrency: usize,
    /// The proxies' `--min-drain`.
    pub min_drain: String,
    /// The proxies' `--drain-timeout`.
    pub drain_timeout: String,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            examples: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            stories: Vec::new(),
            binaries: None,
            instance: None,
            access_log: "off".to_owned(),
            concurrency: 1,
            min_drain: "500ms".to_owned(),
            drain_timeout: "5s".to_owned(),
        }
    }
}

impl MeshOptions {
    /// The shop with the YAML of one example folder.
    pub fn story(name: &str) -> Self {
        Self {
            stories: vec![name.to_owned()],
            ..Self::default()
        }
    }
}
