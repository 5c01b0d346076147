//! Which cluster a command is about, and how images get to its nodes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::kubectl::{self, Kubectl};
use crate::image::Built;
use crate::tools;

/// How long a cluster may take to come up, and an image to be copied.
const PATIENCE: Duration = Duration::from_mins(5);
const READY_SECONDS: &str = "120";

/// Which cluster: microk8s unless told otherwise.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// A kubeconfig file, instead of microk8s
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig file, or of kubectl's usual one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// How images get to the nodes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct ImageArgs {
    /// Use the images of this folder instead of building them
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// How images are built
    #[arg(long, value_enum, default_value_t, conflicts_with = "images")]
    pub(crate) image_profile: crate::image::Profile,
    /// A shell command that gives one archive to the cluster, with {} for the file
    #[arg(long, value_name = "CMD {}", conflicts_with_all = ["registry", "no_import"])]
    pub(crate) import: Option<String>,
    /// Push to this registry, and let the cluster pull from there
    #[arg(long, value_name = "HOST/PREFIX", conflicts_with = "no_import")]
    pub(crate) registry: Option<String>,
    /// A shell command that pushes, with {archive} and {image} [default: skopeo or crane]
    #[arg(long, value_name = "CMD", requires = "registry")]
    pub(crate) push_with: Option<String>,
    /// The nodes have the images already
    #[arg(long)]
    pub(crate) no_import: bool,
}

/// A cluster we can talk to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kubectl: Kubectl,
    /// Whether it is the snap of this machine.
    microk8s: bool,
}

impl Target {
    /// Finds the chosen cluster; does not talk to it yet.
    pub(crate) fn of(args: &ClusterArgs) -> Result<Self> {
        if args.kubeconfig.is_some() || args.context.is_some() {
            if let Some(file) = &args.kubeconfig {
                std::fs::File::open(file)
                    .with_context(|| format!("--kubeconfig {} cannot be read", file.display()))?;
            }
            if tools::find("kubectl").is_none() {
                bail!("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/");
            }
            return Ok(Self {
                kubectl: Kubectl::new("kubectl", choose(args)),
                microk8s: false,
            });
        }
        if tools::find("microk8s").is_none() {
            bail!(
                "which cluster? microk8s is not installed (`snap install microk8s --classic`); \
                 name another cluster by --kubeconfig FILE or --context NAME, or start one on \
                 this machine: cargo xtask cluster up"
            );
        }
        Ok(Self {
            kubectl: Kubectl::new("microk8s", vec!["kubectl".into()]),
            microk8s: true,
        })
    }

    /// Waits until the cluster answers. With microk8s, returns what it says of itself.
    pub(crate) fn wait_ready(&self) -> Result<Option<String>> {
        if self.microk8s {
            let mut command = Command::new("microk8s");
            command.args(["status", "--wait-ready", "--timeout", READY_SECONDS]);
            let said = kubectl::within(command, None, PATIENCE).context("microk8s status")?;
            let status = String::from_utf8_lossy(&said.stdout).into_owned();
            if !said.status.success() {
                bail!(
                    "microk8s is not ready: {} {}; try `microk8s start` and `microk8s inspect`",
                    status.trim(),
                    said.stderr.trim()
                );
            }
            return Ok(Some(status));
        }
        self.kubectl
            .text(&["get", "--raw", "/readyz"])
            .context("the cluster does not answer")?;
        Ok(None)
    }

    /// Fails early if there is no way for images to get to the nodes.
    pub(crate) fn check_images(&self, args: &ImageArgs) -> Result<()> {
        if let Some(command) = &args.import
            && !command.contains("{}")
        {
            bail!("--import '{command}' does not say where the archive goes: write {{}} there");
        }
        if let Some(command) = &args.push_with {
            for word in ["{archive}", "{image}"] {
                if !command.contains(word) {
                    bail!("--push-with '{command}' lacks {word}");
                }
            }
        }
        if args.registry.is_some() && args.push_with.is_none() {
            push_command()?;
        }
        let any = args.import.is_some() || args.registry.is_some() || args.no_import;
        if !any && !self.microk8s {
            bail!(
                "how do the images get to the nodes? One of: --import 'CMD {{}}' (as \
                 `kind load image-archive {{}}` or `minikube image load {{}}`), \
                 --registry HOST/PREFIX, or --no-import if they are there already"
            );
        }
        Ok(())
    }

    /// Gives one image to the cluster, and returns the name to put into pods.
    pub(crate) fn give(&self, image: &Built, args: &ImageArgs) -> Result<String> {
        if let Some(registry) = &args.registry {
            let reference = pushed(registry, image);
            let command = match &args.push_with {
                Some(command) => command.clone(),
                None => push_command()?.to_owned(),
            };
            let command = command
                .replace("{archive}", &quoted(&image.archive.to_string_lossy()))
                .replace("{own}", &quoted(&image.reference))
                .replace("{image}", &quoted(&reference));
            shell(&command)?;
            return Ok(reference);
        }
        if let Some(command) = &args.import {
            shell(&command.replace("{}", &quoted(&image.archive.to_string_lossy())))?;
        } else if self.microk8s && !args.no_import {
            let mut command = Command::new("microk8s");
            command.args(["ctr", "image", "import"]).arg(&image.archive);
            let said = kubectl::within(command, None, PATIENCE).context("microk8s ctr")?;
            if !said.status.success() {
                bail!(
                    "`microk8s ctr image import {}` failed: {}",
                    image.archive.display(),
                    said.stderr.trim()
                );
            }
        }
        Ok(image.reference.clone())
    }
}

fn choose(args: &ClusterArgs) -> Vec<OsString> {
    let mut first = Vec::new();
    if let Some(file) = &args.kubeconfig {
        first.extend(["--kubeconfig".into(), file.clone().into_os_string()]);
    }
    if let Some(context) = &args.context {
        first.extend(["--context".into(), context.into()]);
    }
    first
}

/// The name of an image in a registry.
fn pushed(registry: &str, image: &Built) -> String {
    let registry = registry.trim_end_matches('/');
    format!("{registry}/{}:{}", image.name, image.tag())
}

/// How to push with what is installed.
fn push_command() -> Result<&'static str> {
    let known = [
        (
            "skopeo",
            "skopeo copy oci-archive:{archive}:{own} docker://{image}",
        ),
        ("crane", "crane push {archive} {image}"),
    ];
    known
        .iter()
        .find(|(program, _)| tools::find(program).is_some())
        .map(|(_, command)| *command)
        .context(
            "nothing here can push to a registry: install skopeo (`apt-get install skopeo`), or \
             say how by --push-with 'CMD {archive} {image}'",
        )
}

/// A word of a shell command that is nothing but itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn shell(line: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    let said = kubectl::within(command, None, PATIENCE).with_context(|| line.to_owned())?;
    if !said.status.success() {
        bail!("`{line}` failed: {}", said.stderr.trim());
    }
    Ok(())
}

/// The folder of the manifests.
pub(crate) fn manifests() -> PathBuf {
    crate::cargo::workspace_root().join("deploy")
}

/// The way from one folder to another; kustomize takes no absolute path.
pub(crate) fn relative(from: &Path, to: &Path) -> Result<PathBuf> {
    let clean = |path: &Path| {
        path.canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))
    };
    let (from, to) = (clean(from)?, clean(to)?);
    let ups = from.components().count().saturating_sub(1);
    let mut path: PathBuf = std::iter::repeat_n("..", ups).collect();
    path.extend(to.components().skip(1));
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Built {
        Built {
            name: "mesh-proxy".to_owned(),
            reference: "localhost/mesh-proxy:0123".to_owned(),
            digest: "sha256:0123".to_owned(),
            archive: "/a folder/it's.tar".into(),
            size: 1,
        }
    }

    fn elsewhere() -> Target {
        Target {
            kubectl: Kubectl::new("false", Vec::new()),
            microk8s: false,
        }
    }

    #[test]
    fn a_registry_changes_the_name_and_keeps_the_tag() {
        let name = pushed("registry.example.com/team/", &image());
        assert_eq!(name, "registry.example.com/team/mesh-proxy:0123");
    }

    #[test]
    fn an_import_command_gets_the_archive_as_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let args = ImageArgs {
            import: Some(format!("printf %s {{}} > {}", seen.display())),
            ..ImageArgs::default()
        };
        elsewhere().check_images(&args).unwrap();
        let name = elsewhere().give(&image(), &args).unwrap();
        assert_eq!(name, "localhost/mesh-proxy:0123");
        assert_eq!(std::fs::read_to_string(seen).unwrap(), "/a folder/it's.tar");
    }

    #[test]
    fn a_push_command_gets_archive_and_name() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let args = ImageArgs {
            registry: Some("r.example.com".to_owned()),
            push_with: Some(format!("echo {{archive}} {{image}} > {}", seen.display())),
            ..ImageArgs::default()
        };
        elsewhere().check_images(&args).unwrap();
        let name = elsewhere().give(&image(), &args).unwrap();
        assert_eq!(name, "r.example.com/mesh-proxy:0123");
        let said = std::fs::read_to_string(seen).unwrap();
        assert_eq!(said, format!("/a folder/it's.tar {name}\n"));
    }

    #[test]
    fn commands_that_leave_something_out_are_refused() {
        let check = |args: &ImageArgs| elsewhere().check_images(args).unwrap_err().to_string();
        let nothing = check(&ImageArgs::default());
        assert!(nothing.contains("--registry HOST/PREFIX"), "{nothing}");
        let import = check(&ImageArgs {
            import: Some("kind load".to_owned()),
            ..ImageArgs::default()
        });
        assert!(import.contains("{}"), "{import}");
        let push = check(&ImageArgs {
            registry: Some("r".to_owned()),
            push_with: Some("copy {archive}".to_owned()),
            ..ImageArgs::default()
        });
        assert!(push.contains("lacks {image}"), "{push}");
    }

    #[test]
    fn a_failing_import_says_what_failed() {
        let args = ImageArgs {
            import: Some("echo no space >&2; false {}".to_owned()),
            ..ImageArgs::default()
        };
        let message = elsewhere().give(&image(), &args).unwrap_err().to_string();
        assert!(message.contains("no space"), "{message}");
    }

    #[test]
    fn a_way_leads_from_one_folder_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a/b"), folder.path().join("c"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        let way = relative(&from, &to).unwrap();
        assert!(way.is_relative());
        assert_eq!(
            from.join(way).canonicalize().unwrap(),
            to.canonicalize().unwrap()
        );
    }

    #[test]
    fn a_kubeconfig_that_is_not_there_is_the_first_thing_that_is_wrong() {
        let args = ClusterArgs {
            kubeconfig: Some("/nowhere/config".into()),
            context: None,
        };
        let error = format!("{:#}", Target::of(&args).unwrap_err());
        let told = "--kubeconfig /nowhere/config cannot be read: No such file";
        assert!(error.starts_with(told), "{error}");
    }

    #[test]
    fn kubeconfig_and_context_come_before_everything() {
        let args = ClusterArgs {
            kubeconfig: Some("/k".into()),
            context: Some("prod".to_owned()),
        };
        assert_eq!(choose(&args), ["--kubeconfig", "/k", "--context", "prod"]);
    }
}
