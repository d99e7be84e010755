//! How large an object is in an entry: all of its fields are counted, whatever is added to the model.

use alloc::string::ToString as _;
use core::fmt;

use serde::{
    Serialize,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant, Serializer,
    },
};

use super::Object;

/// About how many bytes the object takes: its texts as they are, a word for every number, name of a field, or list.
pub(super) fn bytes(object: &Object) -> usize {
    let mut count = Count(0);
    match object.serialize(&mut count) {
        // Counting does not fail.
        Ok(()) | Err(fmt::Error) => count.0,
    }
}

const WORD: usize = size_of::<u64>();

struct Count(usize);

impl Count {
    fn add(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.add(WORD);
        value.serialize(self)
    }
}

macro_rules! words {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        fn $method(self, _value: $type) -> Result<(), fmt::Error> {
            self.add(WORD);
        Ok(())
        }
    )*};
}

macro_rules! parts {
    ($($method:ident($($argument:ty),*) -> $part:ident),* $(,)?) => {$(
        fn $method(self, $(_: $argument),*) -> Result<Self::$part, fmt::Error> {
            self.add(WORD);
            Ok(self)
        }
    )*};
}

impl Serializer for &mut Count {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    words! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_unit_struct: &'static str,
    }

    parts! {
        serialize_seq(Option<usize>) -> SerializeSeq,
        serialize_tuple(usize) -> SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant,
        serialize_map(Option<usize>) -> SerializeMap,
        serialize_struct(&'static str, usize) -> SerializeStruct,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant,
    }

    fn serialize_str(self, text: &str) -> Result<(), fmt::Error> {
        self.add(WORD);
        self.add(text.len());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), fmt::Error> {
        self.add(WORD);
        self.add(bytes.len());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.add(WORD);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        self.add(WORD);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<(), fmt::Error> {
        self.add(WORD);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.nested(value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        self.serialize_str(&value.to_string())
    }
}

macro_rules! lists {
    ($($list:ident::$method:ident),* $(,)?) => {$(
        impl $list for &mut Count {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! structs {
    ($($list:ident),* $(,)?) => {$(
        impl $list for &mut Count {
            type Ok = ();
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _name: &'static str,
                value: &T,
            ) -> Result<(), fmt::Error> {
                self.nested(value)
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        }
    )*};
}

structs!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for &mut Count {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), fmt::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Store, testing::Cluster};

    fn sizes(store: &Store) -> alloc::vec::Vec<(usize, usize)> {
        let written = |object: &Object| serde_json::to_vec(object).unwrap().len();
        let objects = store.objects();
        objects
            .map(|object| (bytes(&object), written(&object)))
            .collect()
    }

    /// Near enough to what is written, for objects of every kind.
    #[test]
    fn every_field_counts() {
        let mut cluster = Cluster::new(&["n1", "n2"]);
        let network = cluster.create_network("app");
        let mut spec = crate::testing::service_spec("web", 2);
        spec.task.networks = [crate::testing::attach(&network)].into();
        spec.task.container.env = ["x".repeat(10_000)].into();
        cluster.create(spec).unwrap();
        cluster.run();
        for (counted, written) in sizes(&cluster.store) {
            assert!(counted > written / 4, "{counted} of {written}");
            assert!(
                counted < written.saturating_mul(2),
                "{counted} of {written}"
            );
        }
    }
}
