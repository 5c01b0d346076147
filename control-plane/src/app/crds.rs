//! Writes the CustomResourceDefinitions to files, or checks that the files say the same.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::args::Crds;
use crate::crd::definition::{self, KUSTOMIZATION};

/// Carries out `control-plane crds`.
pub fn write(settings: &Crds) -> anyhow::Result<()> {
    let files = definition::files().context("the definitions cannot be written as YAML")?;
    match &settings.output {
        None => {
            let mut out = io::stdout().lock();
            // The list of the files is no object.
            let objects = files.iter().filter(|(name, _)| name != KUSTOMIZATION);
            for (_, yaml) in objects {
                writeln!(out, "---").and_then(|()| out.write_all(yaml.as_bytes()))?;
            }
            Ok(())
        }
        Some(folder) if settings.check => check(folder, &files),
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            for (name, yaml) in &files {
                let path = folder.join(name);
                fs::write(&path, yaml).with_context(|| path.display().to_string())?;
            }
            Ok(())
        }
    }
}

fn check(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, yaml) in files {
        if fs::read_to_string(folder.join(name)).ok().as_ref() != Some(yaml) {
            stale.push(name.as_str());
        }
    }
    if !stale.is_empty() {
        bail!(
            "{} in {} differ from the types they are made from; run `cargo xtask codegen`",
            stale.join(", "),
            folder.display()
        );
    }
    Ok(())
}
