//! The database file seen through a layer that keeps writes in memory: looking at a state must not change it, and redb repairs
//! what it opens.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use redb::StorageBackend;

const PAGE: u64 = 4096;

/// A file that is read, and what would have been written to it.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    layer: Mutex<Layer>,
}

#[derive(Debug)]
struct Layer {
    len: u64,
    /// Bytes of the file that are still visible.
    visible: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let layer = Layer {
            len,
            visible: len,
            pages: BTreeMap::new(),
        };
        Ok(Self {
            file,
            layer: Mutex::new(layer),
        })
    }

    /// A page as it is now.
    fn page(&self, layer: &Layer, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = layer.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; usize::try_from(PAGE).map_err(io::Error::other)?];
        let start = number * PAGE;
        let there = layer.visible.saturating_sub(start).min(PAGE);
        let there = usize::try_from(there).map_err(io::Error::other)?;
        if let Some(part) = page.get_mut(..there) {
            self.file.read_exact_at(part, start)?;
        }
        Ok(page.into_boxed_slice())
    }

    /// Calls `each` with the pages of a range: number, first byte within it, number of bytes.
    fn pages_of(
        offset: u64,
        len: usize,
        mut each: impl FnMut(u64, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, end) = (offset, offset + len as u64);
        while at < end {
            let within = at % PAGE;
            let count = (PAGE - within).min(end - at);
            let small = |value: u64| usize::try_from(value).map_err(io::Error::other);
            each(at / PAGE, small(within)?, small(count)?)?;
            at += count;
        }
        Ok(())
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "read beyond the end")
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self
            .layer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer.lock().unwrap_or_else(PoisonError::into_inner);
        if offset + out.len() as u64 > layer.len {
            return Err(outside());
        }
        let len = out.len();
        let mut rest = out;
        Self::pages_of(offset, len, |number, within, count| {
            let page = self.page(&layer, number)?;
            let (part, left) = std::mem::take(&mut rest).split_at_mut(count);
            part.copy_from_slice(page.get(within..within + count).ok_or_else(outside)?);
            rest = left;
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut layer = self.layer.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = &mut *layer;
        if len < layer.len {
            layer.visible = layer.visible.min(len);
            let last = len / PAGE;
            layer.pages.retain(|number, _| *number <= last);
            if let Some(page) = layer.pages.get_mut(&last) {
                let keep = usize::try_from(len % PAGE).map_err(io::Error::other)?;
                page.get_mut(keep..)
                    .into_iter()
                    .for_each(|rest| rest.fill(0));
            }
        }
        layer.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer.lock().unwrap_or_else(PoisonError::into_inner);
        layer.len = layer.len.max(offset + data.len() as u64);
        let mut rest = data;
        Self::pages_of(offset, data.len(), |number, within, count| {
            let mut page = self.page(&layer, number)?;
            let (part, left) = rest.split_at(count);
            page.get_mut(within..within + count)
                .ok_or_else(outside)?
                .copy_from_slice(part);
            layer.pages.insert(number, page);
            rest = left;
            Ok(())
        })
    }
}
