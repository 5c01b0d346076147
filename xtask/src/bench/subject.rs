//! What is measured, before one nginx, each with the least configuration that does the work.

mod envoy;
mod haproxy;
mod sidecar;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::backend::Backend;
use super::process::{Cpu, Memory, Process};
use crate::tools;

/// The CPU of the proxy under test, and that of backend and load generator.
const PROXY_CPU: u8 = 0;
pub(super) const LOAD_CPU: u8 = 1;

/// What every request asks for.
pub(super) const HOST: &str = "bench:8080";

pub(super) const BACKEND: &str = "127.90.2.1:8080";

/// A proxy to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// HAProxy with one thread
    Haproxy,
    /// Envoy with one worker, where it is installed
    Envoy,
    /// Our proxy as a sidecar with one worker, metrics on
    Proxy,
    /// The same, of the build that `--before` names
    Before,
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Proxy => "proxy",
            Self::Before => "before",
        })
    }
}

/// Where the programs to measure are.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) now: Option<PathBuf>,
    pub(super) before: Option<PathBuf>,
    pub(super) envoy: Option<PathBuf>,
}

/// A started subject. Fields are ended in this order.
#[derive(Debug)]
pub(super) struct Running {
    proxy: Process,
    _control_plane: Option<Process>,
    http1: &'static str,
    http2: &'static str,
}

impl Running {
    fn alone(proxy: Process, http1: &'static str, http2: &'static str) -> Self {
        Self {
            proxy,
            _control_plane: None,
            http1,
            http2,
        }
    }

    pub(super) fn http1(&self) -> &'static str {
        self.http1
    }

    pub(super) fn http2(&self) -> &'static str {
        self.http2
    }

    pub(super) fn cpu(&self) -> Result<Cpu> {
        self.proxy.cpu()
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        self.proxy.memory()
    }
}

impl Subject {
    /// Starts the subject before the backend and waits until a request passes.
    pub(super) fn start(
        self,
        folder: &Path,
        programs: &Programs,
        _before: &Backend,
    ) -> Result<Running> {
        let known = |path: &Option<PathBuf>| path.clone().context("its programs are not known");
        match self {
            Self::Haproxy => haproxy::start(folder),
            Self::Envoy => envoy::start(folder, &known(&programs.envoy)?),
            Self::Proxy => sidecar::start(folder, &known(&programs.now)?, &sidecar::NOW),
            Self::Before => sidecar::start(folder, &known(&programs.before)?, &sidecar::BEFORE),
        }
        .with_context(|| format!("{self} could not be started"))
    }
}

pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

pub(super) fn installed(program: &str) -> PathBuf {
    tools::find(program).unwrap_or_else(|| PathBuf::from(program))
}
