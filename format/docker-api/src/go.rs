//! How Go's `encoding/json` treats values, and [`go_types!`], which declares structures that behave the same way.
//!
//! Decoding: keys match without regard to ASCII case (an exact match first), unknown keys are skipped, `null` leaves the
//! zero value at every level, the last of duplicate keys wins. Encoding: fields in declaration order, maps sorted, nil slices
//! and maps as `null`, `omitempty` drops zero values. Embedded structures are flattened without buffering.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// A value that Go's JSON codec could hold.
pub trait GoValue: Default + Serialize {
    /// Decodes a value already known not to be `null`.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    /// Whether `omitempty` drops the value.
    fn is_empty(&self) -> bool;
}

/// A structure whose fields can be embedded in (flattened into) another one.
pub trait GoFields: Default {
    /// Reads the value that belongs to `key`, if the structure has such a field; says whether it had.
    fn read_field<'de, A: MapAccess<'de>>(&mut self, key: &str, exact: bool, map: &mut A) -> Result<bool, A::Error>;
    /// Writes all fields, in order.
    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Decodes a value where `null` stands for the zero value.
pub fn nullable<'de, T: GoValue, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct NullOr<T>(PhantomData<T>);
    impl<'de, T: GoValue> Visitor<'de> for NullOr<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value or null")
        }
        fn visit_none<E: Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
        fn visit_unit<E: Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            T::read(deserializer)
        }
    }
    deserializer.deserialize_option(NullOr(PhantomData))
}

/// Carries [`nullable`] into serde's collections.
pub struct Seed<T>(PhantomData<T>);

impl<T> Default for Seed<T> {
    fn default() -> Self {
        Seed(PhantomData)
    }
}

impl<'de, T: GoValue> DeserializeSeed<'de> for Seed<T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        nullable(deserializer)
    }
}

macro_rules! scalar {
    ($($ty:ty => |$value:ident| $empty:expr;)*) => { $(
        impl GoValue for $ty {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$ty>::deserialize(deserializer)
            }
            fn is_empty(&self) -> bool {
                let $value = self;
                $empty
            }
        }
    )* };
}

scalar! {
    bool => |v| !*v;
    u16 => |v| *v == 0;
    u32 => |v| *v == 0;
    u64 => |v| *v == 0;
    i32 => |v| *v == 0;
    i64 => |v| *v == 0;
    String => |v| v.is_empty();
    serde_json::Value => |v| v.is_null();
}

/// A Go pointer: `null` is `None`.
impl<T: GoValue> GoValue for Option<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Some)
    }
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

/// An embedded pointer: set as soon as one of its fields is there.
impl<T: GoFields> GoFields for Option<T> {
    fn read_field<'de, A: MapAccess<'de>>(&mut self, key: &str, exact: bool, map: &mut A) -> Result<bool, A::Error> {
        if let Some(fields) = self {
            return fields.read_field(key, exact, map);
        }
        let mut fields = T::default();
        let found = fields.read_field(key, exact, map)?;
        if found {
            *self = Some(fields);
        }
        Ok(found)
    }
    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.as_ref().map_or(Ok(()), |fields| fields.write_fields(map))
    }
}

/// A Go slice that is never nil in what the server sends: an empty one is written `[]`.
impl<T: GoValue> GoValue for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: GoValue> Visitor<'de> for Elements<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut out = Vec::new();
                while let Some(value) = seq.next_element_seed(Seed::default())? {
                    out.push(value);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// A Go array of two: missing elements are zero, further ones are skipped.
impl<T: GoValue + Copy> GoValue for [T; 2] {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = <Vec<T> as GoValue>::read(deserializer)?;
        let at = |i| all.get(i).copied().unwrap_or_default();
        Ok([at(0), at(1)])
    }
    fn is_empty(&self) -> bool {
        false
    }
}

/// A Go slice that may be nil: nil is written `null`, and remembered across a round trip.
///
/// Behaves like the `Vec` it holds. A list made by `default()` is nil as long as it stays empty; one made from a `Vec` is not.
#[derive(Clone)]
pub struct List<T> {
    items: Vec<T>,
    made: bool,
}

impl<T> List<T> {
    /// An empty list that is not nil: written `[]`.
    pub const fn empty() -> Self {
        List { items: Vec::new(), made: true }
    }
    /// Whether the list is nil (written `null`).
    pub fn is_nil(&self) -> bool {
        !self.made && self.items.is_empty()
    }
    /// The items.
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
}

/// A Go map that may be nil: nil is written `null`, and remembered across a round trip. Keys are sorted, as Go writes them.
///
/// Behaves like the `BTreeMap` it holds. A map made by `default()` is nil as long as it stays empty.
#[derive(Clone)]
pub struct Map<V> {
    items: BTreeMap<String, V>,
    made: bool,
}

impl<V> Map<V> {
    /// An empty map that is not nil: written `{}`.
    pub const fn empty() -> Self {
        Map { items: BTreeMap::new(), made: true }
    }
    /// Whether the map is nil (written `null`).
    pub fn is_nil(&self) -> bool {
        !self.made && self.items.is_empty()
    }
    /// The items.
    pub fn into_inner(self) -> BTreeMap<String, V> {
        self.items
    }
}

macro_rules! collection {
    ($name:ident<$param:ident>, $inner:ty, $item:ty) => {
        impl<$param> Default for $name<$param> {
            fn default() -> Self {
                $name { items: <$inner>::new(), made: false }
            }
        }
        impl<$param: fmt::Debug> fmt::Debug for $name<$param> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.items.fmt(f)
            }
        }
        /// Compares the items; nil equals empty.
        impl<$param: PartialEq> PartialEq for $name<$param> {
            fn eq(&self, other: &Self) -> bool {
                self.items == other.items
            }
        }
        impl<$param: PartialEq> PartialEq<$inner> for $name<$param> {
            fn eq(&self, other: &$inner) -> bool {
                self.items == *other
            }
        }
        impl<$param> Deref for $name<$param> {
            type Target = $inner;
            fn deref(&self) -> &$inner {
                &self.items
            }
        }
        impl<$param> DerefMut for $name<$param> {
            fn deref_mut(&mut self) -> &mut $inner {
                &mut self.items
            }
        }
        impl<$param> From<$inner> for $name<$param> {
            fn from(items: $inner) -> Self {
                $name { items, made: true }
            }
        }
        impl<$param> From<$name<$param>> for $inner {
            fn from(list: $name<$param>) -> Self {
                list.items
            }
        }
        impl<$param> FromIterator<$item> for $name<$param> {
            fn from_iter<I: IntoIterator<Item = $item>>(iter: I) -> Self {
                $name { items: iter.into_iter().collect(), made: true }
            }
        }
        impl<$param: Serialize> Serialize for $name<$param> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.is_nil() { serializer.serialize_unit() } else { self.items.serialize(serializer) }
            }
        }
        impl<'de, $param: GoValue> Deserialize<'de> for $name<$param> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                nullable(deserializer)
            }
        }
        impl<$param: GoValue> GoValue for $name<$param> {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$inner as GoValue>::read(deserializer).map(Self::from)
            }
            fn is_empty(&self) -> bool {
                self.items.is_empty()
            }
        }
    };
}

collection!(List<T>, Vec<T>, T);
collection!(Map<V>, BTreeMap<String, V>, (String, V));

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = btree_map::IntoIter<String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = btree_map::Iter<'a, String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

/// A Go map that is never nil in what the server sends: an empty one is written `{}`.
impl<V: GoValue> GoValue for BTreeMap<String, V> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: GoValue> Visitor<'de> for Entries<V> {
            type Value = BTreeMap<String, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    out.insert(key, map.next_value_seed(Seed::default())?);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// A command line in a request: a string stands for a list of one.
pub fn read_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Option<Vec<String>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E: Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![one.to_owned()]))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(value) = seq.next_element_seed(Seed::default())? {
                out.push(value);
            }
            Ok(Some(out))
        }
    }
    deserializer.deserialize_any(OneOrMany)
}

/// Carries [`read_command`] into a structure's field.
pub struct CommandSeed;

impl<'de> DeserializeSeed<'de> for CommandSeed {
    type Value = Option<Vec<String>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        read_command(deserializer)
    }
}

/// An object key, borrowed from the input where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Decodes an object into a structure.
pub fn read_struct<'de, T: GoFields, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);
    impl<'de, T: GoFields> Visitor<'de> for Fields<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
            let mut out = T::default();
            while let Some(Key(key)) = map.next_key()? {
                if !out.read_field(&key, true, &mut map)? && !out.read_field(&key, false, &mut map)? {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok(out)
        }
    }
    deserializer.deserialize_map(Fields(PhantomData))
}

/// Whether an object key names a field.
#[inline]
pub fn key_matches(key: &str, name: &str, exact: bool) -> bool {
    key.len() == name.len() && (key == name || (!exact && key.eq_ignore_ascii_case(name)))
}

/// Declares structures that are encoded and decoded as Go would.
///
/// Each field is `name: Type ["JsonName"]`, with `omitempty` after the name to drop zero values, or `command` for a command
/// line that may be given as a string; `name: Type [embed]` flattens another such structure at that place.
#[macro_export]
macro_rules! go_types {
    ($( $(#[$attr:meta])* pub struct $name:ident {
        $( $(#[$field_attr:meta])* $field:ident : $ty:ty [$($spec:tt)+], )*
    } )*) => { $(
        $(#[$attr])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( $(#[$field_attr])* #[doc = concat!("JSON: `", stringify!($($spec)+), "`.")] pub $field: $ty, )*
        }
        impl $crate::go::GoFields for $name {
            fn read_field<'de, A: ::serde::de::MapAccess<'de>>(
                &mut self, key: &str, exact: bool, map: &mut A,
            ) -> Result<bool, A::Error> {
                $( $crate::go_read!(self.$field, key, exact, map, $($spec)+); )*
                let _ = (key, exact, map);
                Ok(false)
            }
            fn write_fields<M: ::serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $( $crate::go_write!(self.$field, map, $($spec)+); )*
                let _ = map;
                Ok(())
            }
        }
        impl $crate::go::GoValue for $name {
            fn read<'de, D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::go::read_struct(deserializer)
            }
            fn is_empty(&self) -> bool {
                false
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::go::nullable(deserializer)
            }
        }
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $crate::go::GoFields::write_fields(self, &mut map)?;
                map.end()
            }
        }
    )* };
}

/// Reads one field; part of [`go_types!`].
#[doc(hidden)]
#[macro_export]
macro_rules! go_read {
    ($self:ident . $field:ident, $key:ident, $exact:ident, $map:ident, embed) => {
        if $crate::go::GoFields::read_field(&mut $self.$field, $key, $exact, $map)? {
            return Ok(true);
        }
    };
    ($self:ident . $field:ident, $key:ident, $exact:ident, $map:ident, $json:literal command) => {
        if $crate::go::key_matches($key, $json, $exact) {
            $self.$field = $map.next_value_seed($crate::go::CommandSeed)?;
            return Ok(true);
        }
    };
    ($self:ident . $field:ident, $key:ident, $exact:ident, $map:ident, $json:literal $(omitempty)?) => {
        if $crate::go::key_matches($key, $json, $exact) {
            $self.$field = $map.next_value_seed($crate::go::Seed::default())?;
            return Ok(true);
        }
    };
}

/// Writes one field; part of [`go_types!`].
#[doc(hidden)]
#[macro_export]
macro_rules! go_write {
    ($self:ident . $field:ident, $map:ident, embed) => {
        $crate::go::GoFields::write_fields(&$self.$field, $map)?
    };
    ($self:ident . $field:ident, $map:ident, $json:literal omitempty) => {
        if !$crate::go::GoValue::is_empty(&$self.$field) {
            $map.serialize_entry($json, &$self.$field)?
        }
    };
    ($self:ident . $field:ident, $map:ident, $json:literal $(command)?) => {
        $map.serialize_entry($json, &$self.$field)?
    };
}

go_types! {
    /// Go's `struct{}`: the value of a map used as a set, written `{}`.
    pub struct Empty {}
}

/// Encodes a value as Go's server does: compact JSON and a newline.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // The types of this crate cannot fail to encode: all keys are strings.
    let mut out = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
    out.push(b'\n');
    out
}
