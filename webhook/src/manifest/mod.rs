//! Manifests as text: reading the documents of a file, and changing them by place.
//!
//! [`parse`] reads a text as Kubernetes does and remembers where each node stands. [`pods()`] finds
//! the pods in a document's value. [`edit()`] applies JSON patches to the text: what the patch
//! names changes, every other byte stays, and the result is read again and compared before anybody
//! sees it.
//!
//! ```
//! use drainhook_webhook::manifest::{Change, edit, parse};
//!
//! let text = "spec:\n  containers: [] # none\n";
//! let documents = parse(text).unwrap();
//! let patch = serde_json::from_str(r#"[{"op": "add", "path": "/spec/a", "value": 1}]"#).unwrap();
//! let change = Change { document: 0, at: "", patch: &patch, sources: &Default::default() };
//! let edited = edit(text, &documents, &[change]).unwrap();
//! assert_eq!(edited.text, "spec:\n  containers: [] # none\n  a: 1\n");
//! ```

mod document;
mod edit;
mod plan;
mod pods;
mod render;
mod scalar;
mod splice;
mod text;
mod tree;
mod value;
mod write;

pub use document::{Document, Format, MAX_BYTES, SyntaxError, parse};
pub use edit::{Change, EditError, Edited, edit, edit_bytes};
pub use pods::{Pod, objects, pods};
