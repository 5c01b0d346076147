//! Writes container images as OCI archives, without a container engine: a static program in a
//! file system of its own is all that an image of ours is. The same input gives the same bytes,
//! so an image is named by its content and nothing that is already there is imported twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// How much of the digest is in a name: enough never to meet another image of ours.
const TAG_LENGTH: usize = 16;

/// Where the bytes of a file in an image come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// A file of this machine, read when the image is written.
    File(PathBuf),
    /// A symbolic link to this path.
    Link(String),
}

/// One file of a layer. Folders above it are made as needed, readable by all.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Permission bits, for example `0o755`.
    pub(crate) mode: u32,
    /// What it holds.
    pub(crate) content: Content,
}

impl Entry {
    /// A program, from a file of this machine.
    pub(crate) fn program(path: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: 0o755,
            content: Content::File(file.into()),
        }
    }

    /// A symbolic link.
    pub(crate) fn link(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            mode: 0o777,
            content: Content::Link(target.into()),
        }
    }
}

/// What an image holds and how a container of it starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// The name without registry and tag, for example `mesh-proxy`.
    pub(crate) name: String,
    /// The layers, the lowest first.
    pub(crate) layers: Vec<Vec<Entry>>,
    /// The program and its first arguments.
    pub(crate) entrypoint: Vec<String>,
    /// `uid:gid`; empty for root.
    pub(crate) user: String,
    /// Labels, for people who inspect the image.
    pub(crate) labels: BTreeMap<String, String>,
}

/// An image ready to be written: its name is known, its file not yet made.
pub(crate) struct Archive {
    /// The name with the tag of the content, then those with other tags.
    references: Vec<String>,
    reference: String,
    digest: String,
    size: usize,
    blobs: Vec<Blob>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let mut digest = String::with_capacity(64);
        for byte in Sha256::digest(&bytes) {
            // Writing to a string cannot fail.
            write!(digest, "{byte:02x}").unwrap_or_default();
        }
        Self { digest, bytes }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn describe(&self, media_type: &str) -> Value {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

impl Image {
    /// Reads every file and works out the image's name.
    pub(crate) fn archive(&self) -> Result<Archive> {
        let layers: Vec<Blob> = self
            .layers
            .iter()
            .map(|entries| Ok(Blob::new(layer(entries)?)))
            .collect::<Result<_>>()
            .with_context(|| format!("image {}", self.name))?;
        let differences: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let config = Blob::json(&json!({
            "architecture": architecture()?,
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "User": self.user,
                "WorkingDir": "/",
                "Env": ["PATH=/usr/local/bin"],
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": differences},
        }))?;
        let described: Vec<Value> = layers
            .iter()
            .map(|layer| layer.describe("application/vnd.oci.image.layer.v1.tar"))
            .collect();
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.describe("application/vnd.oci.image.config.v1+json"),
            "layers": described,
        }))?;
        let tag: String = manifest.digest.chars().take(TAG_LENGTH).collect();
        let reference = format!("localhost/{}:{tag}", self.name);
        let digest = format!("sha256:{}", manifest.digest);
        let size = manifest.bytes.len();
        let mut blobs = layers;
        blobs.extend([config, manifest]);
        // Equal layers are one blob, and an archive lists its blobs in one order.
        blobs.sort_by(|left, right| left.digest.cmp(&right.digest));
        blobs.dedup_by(|left, right| left.digest == right.digest);
        Ok(Archive {
            references: vec![reference.clone()],
            reference,
            digest,
            size,
            blobs,
        })
    }
}

impl Archive {
    /// The name to put into a pod: `localhost/<name>:<content hash>`.
    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    /// What the image is, whatever its name: the digest of its manifest.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Gives the image one more tag, beside that of its content.
    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        let name = self.reference.rsplit_once(':').map(|(name, _)| name);
        let name = name.unwrap_or(&self.reference);
        self.references.push(format!("{name}:{tag}"));
        self
    }

    /// Which images are in the archive, and their names in the two forms that are in use.
    fn index(&self) -> Result<Vec<u8>> {
        let entries: Vec<Value> = self
            .references
            .iter()
            .map(|reference| {
                json!({
                    "mediaType": MANIFEST,
                    "digest": self.digest,
                    "size": self.size,
                    "annotations": {
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": reference,
                    },
                })
            })
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": entries});
        Ok(serde_json::to_vec(&index)?)
    }

    /// Writes the archive; a file that is there already is replaced in one step.
    pub(crate) fn write_to(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let unfinished = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot write in {}", folder.display()))?;
        self.write(unfinished.as_file())
            .with_context(|| format!("cannot write {}", path.display()))?;
        unfinished
            .persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    fn write(&self, file: &File) -> Result<()> {
        let mut archive = Builder::new(BufWriter::new(file));
        for folder in ["blobs/", "blobs/sha256/"] {
            append(&mut archive, folder, 0o755, EntryType::Directory, &[])?;
        }
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        let index = self.index()?;
        let blobs = self
            .blobs
            .iter()
            .map(|blob| (format!("blobs/sha256/{}", blob.digest), &*blob.bytes));
        let named = [("index.json", &*index), ("oci-layout", layout)];
        let named = named.map(|(path, bytes)| (path.to_owned(), bytes));
        for (path, bytes) in blobs.chain(named) {
            append(&mut archive, &path, 0o644, EntryType::Regular, bytes)?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }
}

/// The tar file of a layer: its entries sorted by path, each folder before what is in it.
fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut sorted = BTreeMap::new();
    let mut folders = BTreeSet::new();
    for entry in entries {
        let Some(path) = entry.path.strip_prefix('/').filter(|path| is_plain(path)) else {
            bail!("{:?} is no absolute path of a file", entry.path);
        };
        let parents = path
            .match_indices('/')
            .filter_map(|(at, _)| path.get(..=at));
        folders.extend(parents.map(str::to_owned));
        if sorted.insert(path, entry).is_some() {
            bail!("{} is there twice", entry.path);
        }
    }
    let mut archive = Builder::new(Vec::new());
    for folder in &folders {
        if sorted.contains_key(folder.trim_end_matches('/')) {
            bail!("/{folder} is a file and a folder");
        }
        append(&mut archive, folder, 0o755, EntryType::Directory, &[])?;
    }
    for (path, entry) in sorted {
        let from_file;
        let bytes: &[u8] = match &entry.content {
            Content::Bytes(bytes) => bytes,
            Content::File(file) => {
                from_file =
                    fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                &from_file
            }
            Content::Link(target) => {
                let mut header = header(entry.mode, EntryType::Symlink, 0);
                archive.append_link(&mut header, path, target)?;
                continue;
            }
        };
        append(&mut archive, path, entry.mode, EntryType::Regular, bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// Whether a path has no empty, `.` or `..` part.
fn is_plain(path: &str) -> bool {
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Everything in a header that could differ between two machines is fixed.
fn header(mode: u32, kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    mode: u32,
    kind: EntryType,
    bytes: &[u8],
) -> Result<()> {
    let mut header = header(mode, kind, bytes.len());
    archive.append_data(&mut header, path, bytes)?;
    Ok(())
}

/// This machine's architecture as images name it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no images are made on the architecture {other}; use x86_64 or aarch64"),
    }
}

#[cfg(test)]
mod tests;
