//! The status page: one file without any other, and what a browser may do with it.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::header::HeaderValue;

/// The file as it is.
const HTML: &str = include_str!("page.html");

/// The page, and its content security policy: its own script and its own style, which are named by their hashes, and questions to
/// where it came from. Nothing else: no other script, no frame, no form, and no picture but the empty one that keeps browsers from asking for
/// `/favicon.ico`.
#[derive(Debug)]
pub struct Page {
    /// The file.
    pub html: Bytes,
    /// The policy.
    pub policy: HeaderValue,
}

impl Page {
    /// As it is in the source tree.
    #[must_use]
    pub fn new() -> Self {
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash("script"),
            hash("style")
        );
        Self {
            html: Bytes::from_static(HTML.as_bytes()),
            // Base64 is ASCII.
            policy: policy
                .parse()
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }
}

/// Of what is in the only element of this name.
fn hash(element: &str) -> String {
    let inside = HTML
        .split_once(&format!("<{element}>"))
        .and_then(|(_, behind)| behind.split_once(&format!("</{element}>")));
    let (inside, _) = inside.unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, inside.as_bytes());
    format!("sha256-{}", Base64::encode_string(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_that_asks_nobody_else() {
        for element in ["script", "style"] {
            assert_eq!(HTML.matches(&format!("<{element}")).count(), 1, "{element}");
            assert_eq!(HTML.matches(&format!("<{element}>")).count(), 1, "{element}");
            assert_eq!(HTML.matches(&format!("</{element}>")).count(), 1, "{element}");
        }
        // The name of a language of pictures is no address.
        let addresses = HTML.replace("http://www.w3.org/2000/svg", "");
        for foreign in [
            "http:",
            "https:",
            "//cdn",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=\"",
            "onclick=",
        ] {
            assert!(!addresses.contains(foreign), "{foreign}");
        }
        let policy = Page::new().policy;
        assert_eq!(policy.to_str().unwrap().matches("'sha256-").count(), 2);
        assert_ne!(hash("script"), hash("style"));
    }
}
