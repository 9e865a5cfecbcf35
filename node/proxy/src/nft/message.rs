//! Netlink attributes: length, type, value, padded to four bytes, and nested in each other.

/// Says that an attribute holds attributes.
const NESTED: u16 = 0x8000;

/// The attributes of one message, or of one level of it.
#[derive(Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// No attributes yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What was gathered.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds raw bytes.
    pub(crate) fn raw(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are kept below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds attributes that are written already.
    pub(crate) fn append(&mut self, attributes: &[u8]) {
        self.bytes.extend_from_slice(attributes);
    }

    /// Adds a number, in network order as nf_tables wants all of them.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.raw(kind, &value.to_be_bytes())
    }

    /// Adds a long number.
    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.raw(kind, &value.to_be_bytes())
    }

    /// Adds a text, with the zero byte that the kernel expects.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    /// Adds attributes inside an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::new();
        fill(&mut inner);
        self.raw(kind | NESTED, &inner.bytes)
    }

    /// Adds a value as nf_tables wraps it.
    pub(crate) fn data(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest(kind, |data| {
            data.raw(1, value);
        })
    }

    /// Adds a verdict as nf_tables wraps it.
    pub(crate) fn verdict(&mut self, kind: u16, verdict: &Verdict) -> &mut Self {
        self.nest(kind, |data| {
            data.nest(2, |inner| {
                let (code, chain) = match verdict {
                    Verdict::Drop => (0, None),
                    Verdict::Jump(chain) => (-3, Some(chain)),
                    Verdict::Goto(chain) => (-4, Some(chain)),
                };
                inner.u32(1, i32::cast_unsigned(code));
                if let Some(chain) = chain {
                    inner.text(2, chain);
                }
            });
        })
    }
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It vanishes.
    Drop,
    /// Another chain looks at it, and may give it back.
    Jump(String),
    /// Another chain looks at it for good.
    Goto(String),
}
