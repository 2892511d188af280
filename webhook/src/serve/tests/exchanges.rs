//! Requests and their answers as files, through the router: `webhook/tests/exchanges/NAME.request` and
//! `NAME.answer`. Most bodies are the reviews that a real API server sent (`webhook/tests/reviews`).
//!
//! A request is its line, its header and its body, as on the wire but for what a line of its own says:
//!
//! * `# ...` before the request: for the reader;
//! * `@review NAME KEY=JSON...` as body: a recorded review, with other values in its `request`;
//! * `@repeat COUNT TEXT` as body: the same text so many times;
//! * `@unfinished TEXT` as body: the text, after which nothing comes, not even the body's end.
//!
//! An answer has the status, the header and the body; JSON is laid out and its patch decoded.
//! `UPDATE_EXCHANGES=1` writes the answers anew; each is to be read before it is checked in.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use futures_util::stream::{self, StreamExt as _};

use super::*;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// One `.request`.
struct Exchange {
    path: PathBuf,
    request: Request<Body>,
}

impl Exchange {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.lines().skip_while(|line| line.starts_with('#'));
        let mut lines = text.collect::<Vec<_>>().into_iter();
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let body = body(&lines.collect::<Vec<_>>().join("\n"));
        Self {
            path,
            request: request.body(body).unwrap(),
        }
    }

    fn name(&self) -> String {
        self.path
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    }
}

fn body(text: &str) -> Body {
    let Some(begun) = text.strip_prefix("@unfinished ") else {
        return whole_body(text).into();
    };
    let begun = Ok::<_, Infallible>(begun.to_owned());
    Body::from_stream(stream::iter([begun]).chain(stream::pending()))
}

fn whole_body(text: &str) -> String {
    if let Some(review) = text.strip_prefix("@review ") {
        let mut words = review.split(' ');
        let file = format!("{}.json", words.next().unwrap());
        let text = fs::read_to_string(directory("reviews").join(file)).unwrap();
        let mut review: Value = serde_json::from_str(&text).unwrap();
        for word in words {
            let (key, value) = word.split_once('=').unwrap();
            review["request"][key] = serde_json::from_str(value).unwrap();
        }
        return review.to_string();
    }
    match text
        .strip_prefix("@repeat ")
        .and_then(|rest| rest.split_once(' '))
    {
        Some((count, text)) => text.repeat(count.parse().unwrap()),
        None => text.to_owned(),
    }
}

fn laid_out(answer: &Answered) -> String {
    let mut out = format!("{}\n", answer.status);
    let headers: BTreeSet<_> = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    out.extend(headers);
    out.push('\n');
    match serde_json::from_slice::<Value>(&answer.body) {
        Err(_) => out.push_str(answer.text()),
        Ok(mut review) => {
            let uid = review["response"]["uid"].as_str().unwrap().to_owned();
            if review["response"].get("patch").is_some() {
                review["response"]["patch"] = json!(answer.patch(&uid));
            }
            writeln!(out, "{review:#}").unwrap();
        }
    }
    out
}

/// What the server is, for each of these; for all others it is as always.
fn api_for(name: &str) -> TestApi {
    match name {
        "defect" => TestApi::with(Box::new(Poisoned(decider())), Limits::default()),
        "busy" => {
            let requests = 1;
            let limits = Limits {
                requests,
                ..Limits::default()
            };
            TestApi::with(Box::new(decider()), limits)
        }
        _ => TestApi::new(),
    }
}

#[tokio::test]
async fn every_exchange_is_as_its_file_says() {
    let mut wrong = Vec::new();
    let mut statuses = BTreeSet::new();
    for entry in fs::read_dir(directory("exchanges")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "request")
        {
            continue;
        }
        let exchange = Exchange::read(path);
        let answer = api_for(&exchange.name()).send(exchange.request).await;
        statuses.insert(answer.status.as_u16());
        let file = exchange.path.with_extension("answer");
        let said = laid_out(&answer);
        if std::env::var_os("UPDATE_EXCHANGES").is_some() {
            fs::write(&file, &said).unwrap();
        } else if fs::read_to_string(&file).ok().as_ref() != Some(&said) {
            wrong.push(format!("{}: {said}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let documented = BTreeSet::from([200, 400, 404, 405, 408, 413, 415, 429, 500]);
    assert_eq!(
        statuses, documented,
        "each status of the table in `api` has an exchange"
    );
}
