//! Templates, conditions and pointers against any payload: no panic, and a pointer finds what
//! serde_json's own finds in a tree.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use stentor::mapping::{Condition, Fields, Mapping, Pointer, Template};

struct Record<'a>(&'a [u8]);

impl Fields for Record<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "subject").then_some(Cow::Borrowed(self.0))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name.len() < 3).then_some(Cow::Borrowed(self.0))
    }
}

fuzz_target!(|given: (&str, &str, &str, &[u8], &[u8])| {
    let (template, condition, pointer, field, payload) = given;
    let fields = &["subject", "absent"];
    let payload = payload.to_vec().into();
    let pointer = Pointer::new(pointer).ok();
    if let Some(pointer) = &pointer {
        let part = pointer.part(&payload);
        if let Ok(whole) = serde_json::from_slice::<serde_json::Value>(&payload) {
            let found = part.map(|part| serde_json::from_slice(&part).expect("a part is JSON"));
            assert_eq!(found.as_ref(), whole.pointer(pointer.as_str()));
        }
    }
    let filter = Condition::new(condition, fields).into_iter().collect();
    if let Ok(channel) = Template::new(template, fields) {
        let key = Some(channel.clone());
        let mapping = Mapping { channel, filter, payload: pointer, key };
        let _ = mapping.map(&Record(field), payload);
    }
});
