//! Cuts a stream of bytes into lines without ever holding more than one.

use std::ops::ControlFlow;

/// Longer than any stat's name or listener's address; what is longer is cut, and so matches nothing.
const LONGEST_LINE: usize = 4096;

/// The end of a line that has not been seen whole yet.
#[derive(Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes a piece and hands on each line that it completes.
    pub(crate) fn take(
        &mut self,
        mut piece: &[u8],
        mut line: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = piece.split_at(end);
            if self.rest.is_empty() {
                line(head)?;
            } else {
                self.keep(head);
                line(&self.rest)?;
                self.rest.clear();
            }
            piece = &tail[1..];
        }
        self.keep(piece);
        ControlFlow::Continue(())
    }

    /// What came after the last line break.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.rest.len());
        self.rest.extend_from_slice(&part[..part.len().min(room)]);
    }
}
