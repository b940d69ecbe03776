//! The files that pages load. Their addresses have a hash of their content, so browsers may keep them for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::{EmbeddedFile, RustEmbed};

/// The path below which assets are served.
pub const PATH: &str = "/assets/";

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// A file as it is served.
pub struct Asset {
    /// Its content.
    pub content: Cow<'static, [u8]>,
    /// Its content as gzip, if that is much smaller.
    pub gzip: Option<&'static [u8]>,
    /// Its media type.
    pub media_type: String,
}

/// The files that gzip makes smaller by a tenth at least, compressed once. The font is compressed already.
static COMPRESSED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let files = Files::iter().filter_map(|name| Some((name.to_string(), Files::get(&name)?.data)));
    let compressed = files
        .filter_map(|(name, data)| Some((name, gzip(&data).ok().filter(|gzip| gzip.len() < data.len() / 10 * 9)?)));
    compressed.collect()
});

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// The address of a file: `/assets/<hash>/<name>`. Relative addresses in a style sheet would not know the hashes of other
/// files, so one hash stands for all.
#[must_use]
pub fn path(name: &str) -> String {
    format!("{PATH}{}/{name}", version())
}

/// The file with this name, if the hash is that of the files of this version.
#[must_use]
pub fn find(hash: &str, name: &str) -> Option<Asset> {
    if hash != version() {
        return None;
    }
    let EmbeddedFile { data, metadata } = Files::get(name)?;
    let gzip = COMPRESSED.get(name).map(Vec::as_slice);
    Some(Asset { content: data, gzip, media_type: metadata.mimetype().to_owned() })
}

/// The first 16 hexadecimal digits of a hash over all files.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        // The hashes of the files are SHA-256; folding them with FNV-1a keeps this crate free of a hash library.
        let hashes = Files::iter().filter_map(|name| Files::get(&name)).map(|file| file.metadata.sha256_hash());
        let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in hashes.flatten() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{sum:016x}")
    });
    &VERSION
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn path_of_an_asset_leads_to_its_content() {
        let path = path("app.js");
        let (hash, name) = path.strip_prefix(PATH).unwrap().split_once('/').unwrap();
        let asset = find(hash, name).unwrap();
        assert_eq!(asset.content, std::fs::read("assets/app.js").unwrap());
        assert_eq!(asset.media_type, "text/javascript");
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(asset.gzip.unwrap()).read_to_end(&mut content).unwrap();
        assert_eq!(content, *asset.content);
    }

    #[test]
    fn find_another_hash_or_name_is_nothing() {
        assert!(find("0000000000000000", "app.js").is_none());
        assert!(find(version(), "../src/lib.rs").is_none());
        assert!(find(version(), "other.js").is_none());
    }
}
