//! Walks over YAML as it was typed: one builds a tree, the other finds the line of a key. Both are
//! plain serde, so that only `raw.rs` names the YAML library.

use super::problem::{KeyPath, Notes, Step};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// Builds the tree below `at`. A duplicate key is noted and its first value kept: the usual ways to
/// read YAML would either stop there or silently let the last one win.
pub(super) struct Tree<'a> {
    at: KeyPath,
    notes: &'a mut Notes,
}

impl<'a> Tree<'a> {
    /// Starts at the top of a file.
    pub(super) fn new(notes: &'a mut Notes) -> Self {
        Self {
            at: KeyPath::default(),
            notes,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value, a list or a mapping")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    /// JSON has no `.nan` and `.inf`, and would turn them into nothing: they stay text, which the
    /// units refuse.
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(if value.is_finite() {
            value.into()
        } else {
            value.to_string().into()
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    /// An empty file.
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag (!name) means nothing here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(Tree {
            at: self.at.item(list.len()),
            notes: self.notes,
        })? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            let at = self.at.key(&key);
            if map.contains_key(&key) {
                self.notes.add(&at, "is there more than once; keep one");
                entries.next_value::<IgnoredAny>()?;
            } else {
                map.insert(
                    key,
                    entries.next_value_seed(Tree {
                        at,
                        notes: self.notes,
                    })?,
                );
            }
        }
        Ok(map.into())
    }
}

/// A key as it was typed: `1`, `true` and `~` are text here, and unknown keys like any other.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let nowhere = Cell::new(false);
        SeekKey {
            wanted: None,
            found: &nowhere,
        }
        .deserialize(deserializer)
        .map(Self)
    }
}

/// Reads one key, and stops the walk with an error if it is the wanted one: the error then has the
/// key's line.
struct SeekKey<'a> {
    wanted: Option<&'a str>,
    found: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of plain text")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.wanted != Some(key) {
            return Ok(key.to_owned());
        }
        self.found.set(true);
        Err(E::custom("here"))
    }
}

/// Walks down `steps` and stops with an error at their end. `found` distinguishes that error from
/// any other.
pub(super) struct Seek<'a> {
    /// The path to walk.
    pub(super) steps: &'a [Step],
    /// Set when the walk reached the end.
    pub(super) found: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            self.found.set(true);
            return deserializer.deserialize_any(Stop);
        }
        deserializer.deserialize_any(self)
    }
}

/// Accepts no value, so whatever is here is an error with its line.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

/// A path that leads through a plain value ends in an error, too, with `found` unset.
impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Some((Step::Item(wanted), rest)) = self.steps.split_first() {
            for _ in 0..*wanted {
                items.next_element::<IgnoredAny>()?;
            }
            items.next_element_seed(Seek {
                steps: rest,
                found: self.found,
            })?;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.steps.split_first() {
            Some((Step::Key(name), rest)) => (Some(name.as_str()), rest),
            _ => (None, self.steps),
        };
        // The last step is a key itself: its value may start on a later line.
        let last = wanted.filter(|_| rest.is_empty());
        while let Some(key) = entries.next_key_seed(SeekKey {
            wanted: last,
            found: self.found,
        })? {
            if wanted == Some(key.as_str()) {
                entries.next_value_seed(Seek {
                    steps: rest,
                    found: self.found,
                })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
