//! The gateway's own page about a directory.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use trefoil_content::{ContentId, ManifestEntry};

use crate::{RpcResult, memory::Claim};

// A directory may have 131,072 files, with names of a kilobyte each.
/// Rows of one page.
const ROWS_MAX: usize = 1_000;

/// The directory of a page, and the number of the page.
pub struct Listing<'a> {
    pub id: ContentId,
    /// What the paths of its links begin with.
    pub base: &'a str,
    /// The directory's path in the resource, empty or with a slash at its end.
    pub prefix: &'a str,
    pub page: usize,
}

impl Listing<'_> {
    /// The page, which links to what is directly in the directory; `claim` grows with it.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn html(&self, entries: &[ManifestEntry], claim: &mut Claim) -> RpcResult<String> {
        let Self { id, base, prefix, page } = self;
        let title = escape(&format!("{id}/{prefix}"));
        let mut html = format!(
            "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><table>\n"
        );
        claim.grow(html.len())?;
        let mut rows = rows(entries, prefix).skip(page.saturating_mul(ROWS_MAX));
        for (name, size) in rows.by_ref().take(ROWS_MAX) {
            let (name, size) = match size {
                Some(size) => (name.to_owned(), size.to_string()),
                None => (format!("{name}/"), String::new()),
            };
            let href = format!("{base}/{}", percent(&format!("{prefix}{name}")));
            let name = escape(&name);
            let row = format!("<tr><td><a href=\"{href}\">{name}</a><td align=right>{size}\n");
            claim.grow(row.len())?;
            html += &row;
        }
        html += "</table>\n";
        if rows.next().is_some() {
            html += &format!("<a href=\"?page={}\">more</a>\n", page + 1);
        }
        Ok(html)
    }
}

/// What is directly in a directory: files with their sizes, and directories.
fn rows<'a>(
    entries: &'a [ManifestEntry],
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, Option<u64>)> {
    let mut last = "";
    entries.iter().filter_map(move |entry| {
        let name = entry.path.strip_prefix(prefix)?;
        match name.split_once('/') {
            Some((directory, _)) if directory == last => None,
            Some((directory, _)) => {
                last = directory;
                Some((directory, None))
            }
            None => Some((name, Some(entry.size))),
        }
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// What a URL's path has unescaped (RFC 3986: unreserved characters), and slashes.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

pub fn percent(path: &str) -> String {
    utf8_percent_encode(path, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use trefoil_content::ResourceKind;

    use super::*;
    use crate::MemoryAccount;

    #[test]
    fn names_in_pages_and_links_are_escaped() {
        assert_eq!(escape("<a> & \"b\""), "&lt;a> &amp; &quot;b&quot;");
        assert_eq!(percent("a b/ü?.txt"), "a%20b/%C3%BC%3F.txt");
    }

    #[test]
    fn a_large_directory_is_listed_in_pages_that_are_claimed() {
        let mut entries: Vec<_> = (0..2_500)
            .map(|n| ManifestEntry { path: format!("in/{n:04}"), size: n, root: [0; 32] })
            .collect();
        let deep = |n| ManifestEntry { path: format!("in/x/{n}"), size: n, root: [0; 32] };
        entries.extend([deep(1), deep(2)]);
        let memory = MemoryAccount::new(1 << 20);
        let id = ContentId { kind: ResourceKind::Directory, root: [7; 32] };
        let listed = |page| {
            let mut claim = memory.claim_anyway(0);
            let listing = Listing { id, base: "/content/x", prefix: "in/", page };
            let html = listing.html(&entries, &mut claim).unwrap();
            assert!(claim.bytes() <= html.len() && html.len() <= claim.bytes() + 100);
            (html.matches("<tr>").count(), html.contains("?page="))
        };
        assert_eq!(
            [0, 1, 2, 3].map(listed),
            [(1_000, true), (1_000, true), (501, false), (0, false)]
        );
        let mut claim = MemoryAccount::new(1_000).claim_anyway(0);
        let listing = Listing { id, base: "", prefix: "", page: 0 };
        // One row: the directory.
        assert!(listing.html(&entries, &mut claim).unwrap().contains("href=\"/in/\""));
        let listing = Listing { prefix: "in/", ..listing };
        assert!(listing.html(&entries, &mut claim).is_err());
    }
}
