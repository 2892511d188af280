//! Manifests as text.
mod document;
mod edit;
mod plan;
mod render;
mod scalar;
mod splice;
mod text;
mod tree;
mod value;
mod write;
pub use document::*;
pub use edit::*;
