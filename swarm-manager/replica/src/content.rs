//! The content of a snapshot: the whole store as a sequence of objects, so that nobody holds all of it in bytes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use swarm_core::store::{Object, Store};

/// Version of the content's form.
const CONTENT_VERSION: u32 = 1;

/// Begins a snapshot's content; so many objects follow.
#[derive(Serialize, Deserialize)]
struct ContentHeader {
    version: u32,
    index: u64,
    objects: u64,
}

/// Writes the content of a snapshot: a header and every object, each as CBOR.
pub fn write_store(store: &Store, mut output: impl Write) -> io::Result<()> {
    let header = ContentHeader {
        version: CONTENT_VERSION,
        index: store.index(),
        objects: store.objects().count() as u64,
    };
    ciborium::into_writer(&header, &mut output).map_err(unwritten)?;
    for object in store.objects() {
        ciborium::into_writer(&object, &mut output).map_err(unwritten)?;
    }
    Ok(())
}

/// Reads the content of a snapshot.
pub fn read_store(mut input: impl Read) -> io::Result<Store> {
    let header: ContentHeader = ciborium::from_reader(&mut input).map_err(unread)?;
    if header.version != CONTENT_VERSION {
        let text = format!(
            "the snapshot is of form {}, this program knows {CONTENT_VERSION}; it was made by a newer one",
            header.version
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut store = Store::at_index(header.index);
    for _number in 0..header.objects {
        let object: Object = ciborium::from_reader(&mut input).map_err(unread)?;
        store.restore(object);
    }
    Ok(store)
}

fn unwritten(error: ciborium::ser::Error<io::Error>) -> io::Error {
    match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(text) => io::Error::other(text),
    }
}

fn unread(error: ciborium::de::Error<io::Error>) -> io::Error {
    if let ciborium::de::Error::Io(error) = error {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
