//! Nodes that take no new pods for a while.

use anyhow::{Context, Result, ensure};

use super::Access;

/// A node that takes no new pods until this is dropped, also where a test fails meanwhile: the next one needs
/// it too.
pub struct Cordon<'a> {
    access: &'a Access,
    node: String,
}

impl<'a> Cordon<'a> {
    /// From now on.
    ///
    /// # Errors
    /// When there is no such node, or kubectl fails.
    pub fn of(access: &'a Access, node: &str) -> Result<Self> {
        let cordon = Self {
            access,
            node: node.to_owned(),
        };
        cordon.say("cordon")?;
        Ok(cordon)
    }

    fn say(&self, verb: &str) -> Result<()> {
        let mut kubectl = self.access.kubectl()?;
        let output = kubectl.args([verb, &self.node]).output();
        let output = output.context("run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "kubectl {verb} {}: {said}",
            self.node
        );
        Ok(())
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.say("uncordon") {
            eprintln!("{error:#}");
        }
    }
}
