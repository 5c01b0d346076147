//! `cargo xtask image`: static programs, each packed into an image that holds nothing else,
//! without a container engine.

pub(crate) mod oci;
mod sbom;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{cargo, tools};
use oci::{Content, Entry, Image};

/// Lists what is in a folder of images.
const LIST: &str = "images.json";
/// The tag the manifests under `deploy/` and `examples/` name images by.
pub(crate) const PLAIN_TAG: &str = "dev";
const PROGRAMS: &str = "/usr/local/bin";

/// Build the container images, without Docker
///
/// Builds static programs and writes one OCI archive per image: `FROM scratch`, no root user,
/// named by its content (`localhost/mesh-proxy:<hash>`, and `:dev` besides). The same source on
/// the same machine gives the same bytes. Import an archive with `ctr -n k8s.io images import`,
/// `kind load image-archive`, `minikube image load`, or copy it with skopeo.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image                        all images, into target/images
  cargo xtask image proxy -o json          one of them, described as JSON
  cargo xtask image --profile quick        a build of minutes, not for figures")]
pub(crate) struct Args {
    /// The folder the archives are written to [default: `images` in Cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How the programs are built
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Also write what each image is made of, as CycloneDX (`mesh-proxy.cdx.json`)
    #[arg(long)]
    sbom: bool,
    /// How to print what was made
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Output,
    /// The images to write [default: all]
    #[arg(value_enum)]
    names: Vec<Name>,
}

/// How programs are built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Smallest and fastest; takes longest to build
    #[default]
    Release,
    /// Optimised, but quick to build
    Quick,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    /// A table
    #[default]
    Text,
    /// For programs
    Json,
}

/// One of our images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Name {
    /// Sidecar, gateway and init container
    Proxy,
    /// istiod
    ControlPlane,
    /// The mutating webhook
    Injector,
    /// The example application and the load generator
    Shop,
}

/// What an image is made of.
struct Recipe {
    package: &'static str,
    /// The first one is what a container starts.
    programs: &'static [&'static str],
    /// Other names of programs.
    links: &'static [(&'static str, &'static str)],
    user: u32,
}

impl Name {
    fn recipe(self) -> Recipe {
        let (package, programs, user): (_, &[&str], _) = match self {
            // Traffic of this user is not captured again.
            Self::Proxy => ("proxy", &["proxy"], 1337),
            Self::ControlPlane => ("control-plane", &["control-plane"], 65532),
            Self::Injector => ("injector", &["injector"], 65532),
            Self::Shop => ("examples", &["shop", "load"], 65532),
        };
        Recipe {
            package,
            programs,
            links: match self {
                Self::Proxy => &[("pilot-agent", "proxy")],
                Self::ControlPlane | Self::Injector | Self::Shop => &[],
            },
            user,
        }
    }

    /// The image's name without registry and tag.
    pub(crate) fn image(self) -> String {
        let name = self.to_possible_value();
        format!("mesh-{}", name.as_ref().map_or("", |name| name.get_name()))
    }
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Built {
    /// The name without registry and tag, as `mesh-proxy`.
    pub(crate) name: String,
    /// The name to put into a pod.
    pub(crate) reference: String,
    /// The digest of the manifest.
    pub(crate) digest: String,
    /// The archive.
    pub(crate) archive: PathBuf,
    /// Its bytes.
    pub(crate) size: u64,
}

impl Built {
    /// The tag that stands for the content.
    pub(crate) fn tag(&self) -> &str {
        self.reference.rsplit_once(':').map_or("", |(_, tag)| tag)
    }
}

/// Builds the chosen images and says what they are.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let names = match args.names.as_slice() {
        [] => Name::value_variants(),
        chosen => chosen,
    };
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => default_folder()?,
    };
    let built = build(args.profile, &folder, names)?;
    if args.sbom {
        write_bills(&folder, names)?;
    }
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&built)?),
        Output::Text => {
            for image in &built {
                let size = megabytes(image.size);
                println!("{:<44} {size:>9}  {}", image.reference, image.digest);
            }
            println!("archives are in {}", folder.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where images are written when nobody says where.
pub(crate) fn default_folder() -> Result<PathBuf> {
    Ok(cargo::Metadata::load()?.target_directory()?.join("images"))
}

/// Builds the programs, and writes an archive per image into the folder.
pub(crate) fn build(profile: Profile, folder: &Path, names: &[Name]) -> Result<Vec<Built>> {
    tools::require_build_tools()?;
    // All of them in one build, always: which features a shared crate has depends on who is
    // built with it, and the same source must give the same image.
    let recipes: Vec<Recipe> = Name::value_variants()
        .iter()
        .map(|name| name.recipe())
        .collect();
    let packages: Vec<&str> = recipes.iter().map(|recipe| recipe.package).collect();
    let programs: Vec<&str> = recipes
        .iter()
        .flat_map(|recipe| recipe.programs)
        .copied()
        .collect();
    let binaries = cargo::build_static(profile.name(), &packages, &programs)?;
    let built: Vec<Built> = names
        .iter()
        .map(|name| pack(*name, &binaries, folder))
        .collect::<Result<_>>()?;
    let mut listed: BTreeMap<String, Built> = match list(folder) {
        Ok(earlier) => earlier
            .into_iter()
            .map(|image| (image.name.clone(), image))
            .collect(),
        Err(_) => BTreeMap::new(),
    };
    listed.extend(
        built
            .iter()
            .map(|image| (image.name.clone(), image.clone())),
    );
    let listed: Vec<Built> = listed.into_values().collect();
    let text = serde_json::to_string_pretty(&listed)?;
    let path = folder.join(LIST);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(built)
}

/// The images a folder holds, as an earlier build left them.
pub(crate) fn list(folder: &Path) -> Result<Vec<Built>> {
    let path = folder.join(LIST);
    let way_out = "`cargo xtask image` makes it";
    let text =
        fs::read(&path).with_context(|| format!("cannot read {}: {way_out}", path.display()))?;
    let mut images: Vec<Built> = serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged: {way_out}", path.display()))?;
    for image in &mut images {
        // The folder may have been moved since.
        if let Some(file) = image.archive.file_name() {
            image.archive = folder.join(file);
        }
        if !image.archive.is_file() {
            bail!("{} is missing: {way_out}", image.archive.display());
        }
    }
    Ok(images)
}

/// Writes the bill of materials of each image beside its archive.
fn write_bills(folder: &Path, names: &[Name]) -> Result<()> {
    let metadata = cargo::Metadata::load()?;
    for name in names {
        let bill = sbom::bill(metadata.document(), name.recipe().package, &name.image())?;
        let path = folder.join(format!("{}.cdx.json", name.image()));
        fs::write(&path, serde_json::to_string_pretty(&bill)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn pack(name: Name, binaries: &Path, folder: &Path) -> Result<Built> {
    let image = image(name, binaries);
    let archive = image.archive()?.tagged(PLAIN_TAG);
    let path = folder.join(format!("{}.tar", image.name));
    archive.write_to(&path)?;
    Ok(Built {
        reference: archive.reference().to_owned(),
        digest: archive.digest().to_owned(),
        size: fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .len(),
        archive: path,
        name: image.name,
    })
}

fn image(name: Name, binaries: &Path) -> Image {
    let recipe = name.recipe();
    let programs = recipe
        .programs
        .iter()
        .map(|program| Entry::program(format!("{PROGRAMS}/{program}"), binaries.join(program)));
    let links = recipe
        .links
        .iter()
        .map(|(link, program)| Entry::link(format!("{PROGRAMS}/{link}"), *program));
    // Without it, names are asked of DNS before /etc/hosts is read.
    let names = Entry {
        path: "/etc/nsswitch.conf".to_owned(),
        mode: 0o644,
        content: Content::Bytes(b"hosts: files dns\n".to_vec()),
    };
    let entrypoint = recipe.programs.first();
    Image {
        name: name.image(),
        layers: vec![programs.chain(links).chain([names]).collect()],
        entrypoint: entrypoint
            .iter()
            .map(|program| format!("{PROGRAMS}/{program}"))
            .collect(),
        user: format!("{0}:{0}", recipe.user),
        labels: BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), name.image()),
            (
                "org.opencontainers.image.licenses".to_owned(),
                "Apache-2.0".to_owned(),
            ),
        ]),
    }
}

/// A size for people.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
