//! Verifies downloads: compares the SHA-256 of a file with a hash that this program contains.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// Fails unless the file has this SHA-256, written in lowercase hexadecimal.
pub(crate) fn verify(path: &Path, expected: &str) -> Result<()> {
    let found = of_file(path)?;
    ensure!(found == expected, "{} has SHA-256 {found}, expected {expected}", path.display());
    Ok(())
}

/// The SHA-256 of bytes, in lowercase hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
