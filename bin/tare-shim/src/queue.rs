//! Bytes waiting for a descriptor that takes no more just now.

/// A first-in, first-out buffer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // What has been taken is dropped when it is most of the buffer, so that moving costs less than it frees.
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn front(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything and gives the memory back: a queue is empty most of its life.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out() {
        let mut queue = Queue::default();
        let (mut expected, mut seen) = (Vec::new(), Vec::new());
        for round in 0..200_u8 {
            let bytes = vec![round; usize::from(round % 7)];
            queue.push(&bytes);
            expected.extend(bytes);
            let taken = queue.front().get(..usize::from(round % 5)).unwrap_or_default().to_vec();
            queue.consume(taken.len());
            seen.extend(taken);
        }
        seen.extend(queue.front());
        queue.consume(usize::MAX - 1_000_000);
        assert!(queue.is_empty());
        assert_eq!(seen, expected);
    }
}
