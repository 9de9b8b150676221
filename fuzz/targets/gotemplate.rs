//! Go's templates, run on a document that has something of everything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_gotemplate::{Json, Template, Value, quote};

const DOCUMENT: &[u8] =
    br#"{"A":"text","B":[1,2.5,-3,"x",null,true],"C":{"D":{"E":"deep"},"F":[]},"N":12345678901234567890}"#;

fuzz_target!(|text: &str| {
    let _ = quote(text);
    let _ = Json::parse(text.as_bytes()).map(|json| json.html_safe().to_string());
    let Ok(template) = Template::parse(text) else { return };
    let document = Json::parse(DOCUMENT).expect("a document");
    let _ = template.execute(&Value::from(&document));
});
