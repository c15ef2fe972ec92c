//! Several devices that work on one run.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::choice::DeviceChoice;

/// The most devices of one run; each has threads of its own.
const MOST: usize = 32;

/// The devices of a run: one, or several that share its samples. As text they are separated by commas: `cuda:0,cuda:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    first: DeviceChoice,
    further: Vec<DeviceChoice>,
}

impl Devices {
    /// The devices in their order.
    ///
    /// # Errors
    /// None, or more than 32.
    pub fn new(devices: impl IntoIterator<Item = DeviceChoice>) -> Result<Self, String> {
        let mut devices = devices.into_iter();
        let first = devices.next().ok_or("there is no device in the list")?;
        let further: Vec<DeviceChoice> = devices.collect();
        if further.len() >= MOST {
            let count = further.len() + 1;
            return Err(format!("a run has at most {MOST} devices, not {count}"));
        }
        Ok(Self { first, further })
    }

    /// The first one.
    pub fn first(&self) -> DeviceChoice {
        self.first
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = DeviceChoice> + '_ {
        std::iter::once(self.first).chain(self.further.iter().copied())
    }

    /// Whether there are several.
    pub fn are_several(&self) -> bool {
        !self.further.is_empty()
    }
}

impl From<DeviceChoice> for Devices {
    fn from(first: DeviceChoice) -> Self {
        let further = vec![];
        Self { first, further }
    }
}

impl Default for Devices {
    fn default() -> Self {
        DeviceChoice::default().into()
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let devices: Result<Vec<DeviceChoice>, String> =
            text.split(',').map(|one| one.trim().parse()).collect();
        Self::new(devices?)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.further
            .iter()
            .try_for_each(|device| write!(f, ",{device}"))
    }
}

impl Serialize for Devices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Devices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Devices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device, or a list of devices")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Devices, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Devices, A::Error> {
                let mut devices = vec![];
                while let Some(device) = list.next_element()? {
                    devices.push(device);
                }
                Devices::new(devices).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

impl JsonSchema for Devices {
    fn schema_name() -> Cow<'static, str> {
        "Devices".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let device = generator.subschema_for::<DeviceChoice>();
        json_schema!({
            "description": "A device, or several that share the samples of the run: a list, or a text such as `cuda:0,cuda:1`.",
            "anyOf": [
                { "type": "string", "pattern": "^(auto|cpu|(cuda|gpu)(:[0-9]+)?)(,(auto|cpu|(cuda|gpu)(:[0-9]+)?))*$" },
                { "type": "array", "items": device, "minItems": 1, "maxItems": MOST }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_or_a_list() {
        let (zero, one) = (DeviceChoice::Cuda(Some(0)), DeviceChoice::Cuda(Some(1)));
        let both = Devices::new([zero, one]).unwrap();
        assert_eq!("cuda:0, cuda:1".parse(), Ok(both.clone()));
        assert_eq!(both.to_string(), "cuda:0,cuda:1");
        let read = |json| serde_json::from_str::<Devices>(json).map_err(|e| e.to_string());
        assert_eq!(read(r#"["cuda:0", "cuda:1"]"#), Ok(both.clone()));
        assert_eq!(read(r#""cuda:0,cuda:1""#), Ok(both.clone()));
        assert_eq!(serde_json::to_string(&both).unwrap(), r#""cuda:0,cuda:1""#);
        let cpu = Devices::from(DeviceChoice::Cpu);
        assert_eq!(read(r#""cpu""#), Ok(cpu.clone()));
        assert!(both.are_several() && !cpu.are_several());
        assert_eq!(both.iter().collect::<Vec<_>>(), [zero, one]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Devices>().unwrap_err();
        assert!(error("cpu,wat").contains("no device `wat`"));
        assert!(error("cpu,").contains("no device ``"));
        assert!(error(&["cpu"; 33].join(",")).contains("at most 32 devices, not 33"));
        let read = serde_json::from_str::<Devices>("[]").unwrap_err();
        assert!(read.to_string().contains("no device in the list"));
    }
}
