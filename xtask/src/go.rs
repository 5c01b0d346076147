//! Programs made of Go modules that stand beside this crate: built once, and kept in `~/.cache`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cluster::progress::{self, Step};
use crate::{cargo, tools};

/// The oldest Go that builds them.
const GO: (u32, u32) = (1, 25);

/// A Go program.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Folder of its module below `xtask`.
    pub(crate) module: &'static str,
    /// The package in the module.
    pub(crate) package: &'static str,
    /// The files, relative to the module, that decide what comes out.
    pub(crate) sources: &'static [&'static str],
    /// More names for the program.
    pub(crate) links: &'static [&'static str],
    /// What the linker is told besides, for the module with this `go.mod`.
    pub(crate) linker_flags: fn(&str) -> String,
    /// Where its folder is, below `~/.cache`.
    pub(crate) cache: &'static str,
}

/// Builds a program unless that was done before; returns the folder it is in.
pub(crate) fn build(program: &Program) -> Result<PathBuf> {
    let module = cargo::workspace_root().join("xtask").join(program.module);
    let key = key(&module, program.sources)?;
    let cache = tools::cache()?.join(program.cache);
    let folder = cache.join(format!("{}-{key}", program.name));
    if folder.join(program.name).is_file() {
        return Ok(folder);
    }
    let go = find(program)?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // It gets its name when it is complete; whoever is interrupted or loses a race leaves nothing
    // that looks like a finished program.
    let unfinished = tempfile::tempdir_in(&cache)?;
    let output = unfinished.path().join(program.name);
    let title = format!("build {} from Go modules", program.name);
    progress::step(&title, |step| compile(&go, &module, program, &output, step))?;
    for link in program.links {
        symlink(program.name, unfinished.path().join(link))?;
    }
    let finished = unfinished.keep();
    if let Err(error) = fs::rename(&finished, &folder) {
        fs::remove_dir_all(&finished)?;
        if !folder.join(program.name).is_file() {
            return Err(error).with_context(|| format!("cannot make {}", folder.display()));
        }
    }
    Ok(folder)
}

/// A digest of everything that decides what the program is.
pub(crate) fn key(module: &Path, sources: &[&str]) -> Result<String> {
    let mut digest = Sha256::new();
    for source in sources {
        let path = module.join(source);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        digest.update(source.as_bytes());
        digest.update((content.len() as u64).to_be_bytes());
        digest.update(content);
    }
    let hexadecimal: Vec<String> = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(hexadecimal.concat())
}

fn find(program: &Program) -> Result<PathBuf> {
    let advice = format!(
        "install Go {}.{} or newer from https://go.dev/dl and put it on the PATH",
        GO.0, GO.1
    );
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let Some(go) = tools::find("go").or_else(|| usual.is_file().then_some(usual)) else {
        bail!(
            "`go` builds {} for the tests and is not there; {advice}",
            program.name
        );
    };
    let output = Command::new(&go).args(["env", "GOVERSION"]).output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if parse_version(&version).is_none_or(|found| found < GO) {
        bail!(
            "{} is {version:?}, which is too old; {advice}",
            go.display()
        );
    }
    Ok(go)
}

/// Major and minor of, for example, `go1.26.8`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split(['.', ' ', '-', 'r', 'b']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn go_command(go: &Path, module: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null());
    command
}

fn compile(
    go: &Path,
    module: &Path,
    program: &Program,
    output: &Path,
    step: &mut Step,
) -> Result<()> {
    step.doing("looking for its packages");
    let listed = go_command(go, module)
        .args(["list", "-deps", program.package])
        .output()?;
    let total = listed.stdout.split(|byte| *byte == b'\n').count();
    let manifest = fs::read_to_string(module.join("go.mod"))?;
    let mut child = go_command(go, module)
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(format!("-s -w{}", (program.linker_flags)(&manifest)))
        .arg("-o")
        .arg(output)
        .arg(program.package)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", go.display()))?;
    let messages = child.stderr.take().context("go has no stderr")?;
    let (mut done, mut last) = (0, Vec::new());
    for line in BufReader::new(messages).lines().map_while(Result::ok) {
        done += usize::from(!line.starts_with("go: "));
        step.doing(&format!("{done} of at most {total} packages: {line}"));
        last.push(line);
        if last.len() > 20 {
            last.remove(0);
        }
    }
    if !child.wait()?.success() {
        bail!(
            "`go build {}` in {} failed:\n{}\nIs the network reachable, and a Go module proxy \
             (`go env GOPROXY`)?",
            program.package,
            module.display(),
            last.join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(parse_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_version("go1.25rc1"), Some((1, 25)));
        assert!(parse_version("go1.9.1").unwrap() < GO);
        assert_eq!(parse_version("devel"), None);
    }

    #[test]
    fn every_source_decides_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a", "1");
        write("b", "2");
        let first = key(folder.path(), &["a", "b"]).unwrap();
        assert_eq!(first.len(), 16);
        assert_eq!(first, key(folder.path(), &["a", "b"]).unwrap());
        write("b", "3");
        assert_ne!(first, key(folder.path(), &["a", "b"]).unwrap());
        let message = key(folder.path(), &["c"]).unwrap_err().to_string();
        assert!(message.contains("/c"), "{message}");
    }
}
