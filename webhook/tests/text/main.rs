//! Editing YAML and JSON by place, from outside.

mod edits;
