//! Uplinks of LoRaWAN servers: The Things Network (version 2) and The Things Stack (version 3), as `wasp-ingest-ttn` describes them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::route::format::Unshapable;
use crate::route::json::{InsideError, Json};

/// What an uplink says, as the text that came.
#[derive(Debug)]
pub struct Uplink<'a> {
    /// The device.
    pub dev_eui: &'a RawValue,
    /// LoRaWAN port.
    pub port: Option<&'a RawValue>,
    /// What the device sent: a base64 string.
    pub payload: &'a RawValue,
    /// Who heard it.
    pub gateways: Vec<Gateway<'a>>,
}

/// A gateway that heard an uplink. What it does not say is not written; of coordinates it is `null`.
#[derive(Debug, Serialize)]
pub struct Gateway<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snr: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rssi: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a RawValue>,
    coordinates: Coordinates<'a>,
}

#[derive(Debug, Serialize)]
struct Coordinates<'a> {
    latitude: Option<&'a RawValue>,
    longitude: Option<&'a RawValue>,
    altitude: Option<&'a RawValue>,
}

/// Members of an object, each name once.
pub type Members<'a> = [(Cow<'a, str>, Json<'a>)];

/// The members of an object.
pub fn members(json: Json<'_>) -> Result<Vec<(Cow<'_, str>, Json<'_>)>, Unshapable> {
    json.members().map_err(|error| match error {
        InsideError::NoContainer => Unshapable("the payload is not a JSON object".to_owned()),
        error => Unshapable(format!("the payload {error}")),
    })
}

/// The value of a member.
pub fn get<'a>(members: &Members<'a>, name: &str) -> Option<Json<'a>> {
    let found = members.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| *value)
}

/// An uplink of The Things Network, version 2.
pub fn ttn<'a>(json: Json<'a>) -> Result<Uplink<'a>, Unshapable> {
    let body = members(json)?;
    let gateways = json.pointer("/metadata/gateways");
    let gateway = |heard: Json<'a>| Gateway {
        id: raw(heard, "/gtw_id"),
        snr: raw(heard, "/snr"),
        rssi: raw(heard, "/rssi"),
        channel: raw(heard, "/channel"),
        coordinates: Coordinates::at(heard, ""),
    };
    Ok(Uplink {
        dev_eui: string(get(&body, "hardware_serial"), "hardware_serial")?,
        port: get(&body, "port").map(Json::raw),
        payload: string(get(&body, "payload_raw"), "payload_raw")?,
        gateways: all(gateways, "metadata.gateways", gateway)?,
    })
}

/// An uplink of The Things Stack, version 3.
pub fn tts<'a>(json: Json<'a>) -> Result<Uplink<'a>, Unshapable> {
    let gateway = |heard: Json<'a>| Gateway {
        id: raw(heard, "/gateway_ids/gateway_id"),
        snr: raw(heard, "/snr"),
        rssi: raw(heard, "/rssi"),
        channel: raw(heard, "/channel_index"),
        coordinates: Coordinates::at(heard, "/location"),
    };
    let name = "uplink_message.rx_metadata";
    Ok(Uplink {
        dev_eui: string(json.pointer("/end_device_ids/dev_eui"), "end_device_ids.dev_eui")?,
        port: raw(json, "/uplink_message/f_port"),
        payload: string(
            json.pointer("/uplink_message/frm_payload"),
            "uplink_message.frm_payload",
        )?,
        gateways: all(json.pointer("/uplink_message/rx_metadata"), name, gateway)?,
    })
}

impl<'a> Coordinates<'a> {
    fn at(gateway: Json<'a>, place: &str) -> Self {
        let value = |name: &str| raw(gateway, &format!("{place}/{name}"));
        Self {
            latitude: value("latitude"),
            longitude: value("longitude"),
            altitude: value("altitude"),
        }
    }
}

fn raw<'a>(json: Json<'a>, pointer: &str) -> Option<&'a RawValue> {
    json.pointer(pointer).map(Json::raw)
}

/// A string with something in it.
fn string<'a>(value: Option<Json<'a>>, name: &str) -> Result<&'a RawValue, Unshapable> {
    let text = value.filter(|json| json.text().starts_with('"') && json.text() != "\"\"");
    let missing = || Unshapable(format!("{name:?} is no string in the payload, or is missing"));
    text.map(Json::raw).ok_or_else(missing)
}

/// All gateways; none when there is no list.
fn all<'a>(
    list: Option<Json<'a>>,
    name: &str,
    gateway: impl Fn(Json<'a>) -> Gateway<'a>,
) -> Result<Vec<Gateway<'a>>, Unshapable> {
    let Some(list) = list.filter(|list| list.text() != "null") else {
        return Ok(Vec::new());
    };
    let elements = list.elements().map_err(|error| match error {
        InsideError::NoContainer => Unshapable(format!("{name:?} is no array in the payload")),
        error => Unshapable(format!("{name:?} {error}")),
    })?;
    Ok(elements.into_iter().map(gateway).collect())
}
