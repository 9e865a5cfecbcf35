//! In which form an answer goes out, from `Accept`, and in which a body came in, from `Content-Type`.

use api::status::Status;
use http::{HeaderMap, header};

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch in it.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }
}

/// What of an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    /// All of it.
    #[default]
    Full,
    /// Rows with cells.
    Table,
    /// `PartialObjectMetadata`.
    Partial,
    /// `PartialObjectMetadataList`.
    PartialList,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Form {
    /// How bytes are written.
    pub encoding: Encoding,
    /// What is shown.
    pub shape: Shape,
    /// With line breaks and indents.
    pub pretty: bool,
}

/// One wish of an `Accept` header.
#[derive(Debug, Clone, Default)]
pub struct Wish<'a> {
    /// `application`, `*`, …
    pub kind: &'a str,
    /// `json`, `*`, …
    pub subtype: &'a str,
    /// Parameters, without `q`.
    pub params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Wish<'_> {
    /// A parameter's value.
    pub fn param(&self, key: &str) -> &str {
        self.params.iter().find(|(k, _)| *k == key).map_or("", |(_, value)| value)
    }

    /// Whether a media type satisfies it.
    pub fn allows(&self, media_type: &str) -> bool {
        let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
        (self.kind == "*" || self.kind == kind) && (self.subtype == "*" || self.subtype == subtype)
    }
}

/// The wishes of a header in the order of their weight; no header wishes for anything.
pub fn wishes(headers: &HeaderMap) -> Vec<Wish<'_>> {
    let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut wishes: Vec<Wish<'_>> =
        texts.flat_map(|text| text.split(',')).filter_map(wish).collect();
    if wishes.is_empty() {
        wishes.push(Wish { kind: "*", subtype: "*", params: Vec::new(), quality: 1.0 });
    }
    wishes.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    wishes
}

fn wish(text: &str) -> Option<Wish<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?;
    if media.is_empty() {
        return None;
    }
    let (kind, subtype) = media.split_once('/').unwrap_or((media, "*"));
    let mut wish = Wish { kind, subtype, params: Vec::new(), quality: 1.0 };
    for part in parts {
        match part.split_once('=') {
            Some(("q", value)) => wish.quality = value.trim().parse().unwrap_or(1.0),
            Some((key, value)) => wish.params.push((key.trim(), value.trim())),
            None => {}
        }
    }
    Some(wish)
}

/// What a resource can be shown as.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Protobuf is possible: built-in kinds only.
    pub protobuf: bool,
    /// YAML is possible: not for watches.
    pub yaml: bool,
    /// A table and metadata alone are possible.
    pub shapes: bool,
    /// It is a watch.
    pub watch: bool,
}

impl Offer {
    fn encodings(self) -> impl Iterator<Item = Encoding> {
        let all = [(Encoding::Json, true), (Encoding::Yaml, self.yaml)];
        all.into_iter()
            .chain([(Encoding::Protobuf, self.protobuf)])
            .filter_map(|(e, on)| on.then_some(e))
    }

    /// The form that suits a request best.
    pub fn choose(self, headers: &HeaderMap, pretty: Option<&str>) -> Result<Form, Status> {
        for wish in wishes(headers) {
            if !matches!((wish.param("stream"), self.watch), ("", _) | ("watch", true)) {
                continue;
            }
            let Some(shape) = self.shape(&wish) else { continue };
            for encoding in self.encodings() {
                let table_in_protobuf = encoding == Encoding::Protobuf && shape == Shape::Table;
                if wish.allows(encoding.media_type()) && !table_in_protobuf {
                    return Ok(Form { encoding, shape, pretty: is_pretty(&wish, headers, pretty) });
                }
            }
        }
        Err(self.refusal())
    }

    /// The shape that a wish asks for, `None` when it is none of ours.
    fn shape(self, wish: &Wish<'_>) -> Option<Shape> {
        let shape = match wish.param("as") {
            "" => return Some(Shape::Full),
            "Table" => Shape::Table,
            "PartialObjectMetadata" => Shape::Partial,
            "PartialObjectMetadataList" => Shape::PartialList,
            _ => return None,
        };
        let known = wish.param("g") == "meta.k8s.io" && wish.param("v") == "v1";
        (self.shapes && known).then_some(shape)
    }

    fn refusal(self) -> Status {
        let stream = if self.watch { ";stream=watch" } else { "" };
        let types: Vec<String> =
            self.encodings().map(|e| format!("{}{stream}", e.media_type())).collect();
        not_acceptable(&format!(
            "only the following media types are accepted: {}",
            types.join(", ")
        ))
    }
}

/// 406 with a text.
pub fn not_acceptable(message: &str) -> Status {
    let mut status = Status::new(406, "NotAcceptable", message);
    status.details = None;
    status
}

/// Whether line breaks are wanted: by the query, by the header, or because a person is looking.
fn is_pretty(wish: &Wish<'_>, headers: &HeaderMap, query: Option<&str>) -> bool {
    let truthy = |text: &str| text != "0" && !text.eq_ignore_ascii_case("false");
    match query {
        Some("") => {}
        Some(text) => return truthy(text),
        None => {}
    }
    match wish.param("pretty") {
        "" => {}
        text => return truthy(text),
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.starts_with(person))
}

/// The media type of a body, lower case and without parameters; JSON when nothing is said.
pub fn content_type(headers: &HeaderMap) -> String {
    let text =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media = text.split(';').next().unwrap_or_default().trim();
    if media.is_empty() { "application/json".to_owned() } else { media.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { protobuf: true, yaml: true, shapes: true, watch: false };

    fn choose(accept: &str) -> Option<(Encoding, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        ALL.choose(&headers, None).ok().map(|form| (form.encoding, form.shape))
    }

    #[test]
    fn the_first_wish_that_can_be_met_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(choose(kubectl), Some((Encoding::Json, Shape::Table)));
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(choose(old), Some((Encoding::Json, Shape::Full)));
        let go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(choose(go), Some((Encoding::Protobuf, Shape::Full)));
        assert_eq!(choose("*/*"), Some((Encoding::Json, Shape::Full)));
        assert_eq!(choose("text/html"), None);
        assert_eq!(
            choose("application/yaml;q=0.5,application/json;q=0.9"),
            Some((Encoding::Json, Shape::Full))
        );
    }
}
