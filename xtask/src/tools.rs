//! What must be installed before a command starts, so that a missing tool is a sentence with a
//! way out and not a failure in the middle of the work.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program we start, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

/// What every build needs.
pub(crate) const BUILD: &[Tool] = &[
    Tool {
        program: "cargo",
        package: "",
        purpose: "builds everything here",
    },
    Tool {
        program: "cc",
        package: "gcc libc6-dev",
        purpose: "links every binary",
    },
];

/// What the tests that run as root in network namespaces need.
pub(crate) const NAMESPACES: &[Tool] = &[
    Tool {
        program: "nft",
        package: "nftables",
        purpose: "redirects connections in tests",
    },
    Tool {
        program: "ip",
        package: "iproute2",
        purpose: "makes network namespaces in tests",
    },
];

/// What the benchmark needs.
pub(crate) const BENCH: &[Tool] = &[
    Tool {
        program: "haproxy",
        package: "haproxy",
        purpose: "is the proxy we compare with",
    },
    Tool {
        program: "nginx",
        package: "nginx-light",
        purpose: "is the backend",
    },
    Tool {
        program: "h2load",
        package: "nghttp2-client",
        purpose: "makes the load",
    },
    Tool {
        program: "taskset",
        package: "util-linux",
        purpose: "pins processes to a CPU",
    },
    Tool {
        program: "setpriv",
        package: "util-linux",
        purpose: "ends children with their parent",
    },
];

/// Where a program is, looking beyond `PATH` into the system folders that ordinary users'
/// `PATH` on Debian leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| {
            fs::metadata(candidate)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// The tools of a list that are not installed.
pub(crate) fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools
        .iter()
        .copied()
        .filter(|tool| find(tool.program).is_none())
        .collect()
}

/// Fails with one message that names every missing build tool and how to get it.
pub(crate) fn require_build_tools() -> Result<()> {
    let lacking = missing(BUILD);
    if lacking.is_empty() {
        return Ok(());
    }
    bail!("{}", explain(&lacking))
}

/// One line per missing tool, each with the way out.
pub(crate) fn explain(lacking: &[Tool]) -> String {
    let mut lines = vec!["not everything needed is installed:".to_owned()];
    for tool in lacking {
        let remedy = match tool.package {
            "" => "install Rust from https://rustup.rs".to_owned(),
            package => format!("as root: apt-get install {package}"),
        };
        lines.push(format!("  `{}` {}; {remedy}", tool.program, tool.purpose));
    }
    lines.join("\n")
}

/// `~/.cache`, where what can be made again is kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = env::home_dir().filter(|home| home.is_absolute());
    Ok(home
        .context("there is no home folder: set HOME")?
        .join(".cache"))
}

/// Whether we run as root (the owner of our own entry in /proc).
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Installs the Debian packages of the missing tools when root; otherwise says what is missing.
///
/// Returns the tools that are still missing.
pub(crate) fn install_missing(tools: &[Tool]) -> Result<Vec<Tool>> {
    let lacking = missing(tools);
    if lacking.is_empty() || !is_root() || find("apt-get").is_none() {
        return Ok(lacking);
    }
    let mut packages: Vec<&str> = lacking
        .iter()
        .flat_map(|tool| tool.package.split_whitespace())
        .collect();
    packages.sort_unstable();
    packages.dedup();
    eprintln!("installing Debian packages: {}", packages.join(" "));
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    // The package lists of a fresh image are often empty, so the first try may fail.
    if !apt_get(&install)? {
        eprintln!("refreshing the package lists (apt-get update) and trying again");
        if !apt_get(&["update"])? || !apt_get(&install)? {
            eprintln!("apt-get could not install them; see its output above");
        }
    }
    Ok(missing(tools))
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let status = Command::new("apt-get")
        .args(arguments)
        .arg("-qq")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("apt-get could not be started")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Tool = Tool {
        program: "no-such-program-here",
        package: "some-package",
        purpose: "is absent",
    };

    #[test]
    fn finds_what_is_there_and_misses_what_is_not() {
        assert!(find("sh").is_some());
        assert_eq!(missing(&[ABSENT]), vec![ABSENT]);
    }

    #[test]
    fn the_message_names_the_tool_and_the_way_out() {
        let message = explain(&[ABSENT]);
        assert!(
            message.contains("`no-such-program-here` is absent"),
            "{message}"
        );
        assert!(
            message.contains("apt-get install some-package"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_is_not_a_program() {
        assert!(find("..").is_none());
    }
}
