//! The service-account token that says who we are, as its file has it at this moment.

use std::path::{Path, PathBuf};

use tonic::metadata::AsciiMetadataValue;

use super::connect::read_text;

/// A file larger than this holds no token.
const LARGEST: u64 = 64 << 10;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error(
        "cannot read the token, {}: {error}; mount a projected serviceAccountToken with audience \
         istio-ca there or correct --token",
        file.display()
    )]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error(
        "there is no token in {}; it must be a projected serviceAccountToken with audience \
         istio-ca",
        .0.display()
    )]
    Empty(PathBuf),
    #[error("what {} contains is not a token", .0.display())]
    Malformed(PathBuf),
}

/// The header's value.
pub(super) async fn read(file: &Path) -> Result<AsciiMetadataValue, TokenError> {
    let text = read_text(file, LARGEST).await;
    let text = text.map_err(|error| TokenError::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty(file.to_owned()));
    }
    let value = format!("Bearer {token}").parse();
    let mut value: AsciiMetadataValue =
        value.map_err(|_not_a_header| TokenError::Malformed(file.to_owned()))?;
    // Never in a log, and never in a compression table that others share.
    value.set_sensitive(true);
    Ok(value)
}
