//! Whether a sidecar's image is the one that its pod would get today.

use serde_json::Value;

use crate::annotations::Key;
use crate::existing::{self, Named};
use crate::message::printable;
use crate::pod::Pod;
use crate::{Setting, Source};

/// That it is not, in words. Registries are passed over: a mirror has the same image under another
/// name.
pub(super) fn of_another(pod: &Value, settings: &[Setting]) -> Option<String> {
    let pod = Pod::read(pod).ok()?;
    let Some(Named::Ours(sidecar)) = existing::find(&pod) else {
        return None;
    };
    // What somebody wrote by hand, no restart changes.
    if sidecar.is_hand_written() {
        return None;
    }
    let key = Key::Image.full();
    let wanted = settings.iter().find(|setting| setting.key == key)?;
    // Which one the installation has was not said: most have a mirror's, with tags of its own.
    if wanted.source == Source::BuiltIn {
        return None;
    }
    let image = sidecar.container.image;
    Version::of(image)
        .differs(Version::of(&wanted.value))
        .then(|| {
            format!(
                "its sidecar is {}, and it would be {} today",
                printable(image),
                wanted.value
            )
        })
}

/// What of a reference says which image it is.
#[derive(Clone, Copy, Debug)]
struct Version<'i> {
    tag: Option<&'i str>,
    digest: Option<&'i str>,
}

impl<'i> Version<'i> {
    fn of(image: &'i str) -> Self {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (image, None),
        };
        // A registry may have a port.
        let last = name.rsplit('/').next().unwrap_or(name);
        let tag = last.split_once(':').map(|(_, tag)| tag);
        Self { tag, digest }
    }

    /// Whether they are two; of a tag and a digest nobody can tell.
    fn differs(self, other: Self) -> bool {
        match (self.digest.zip(other.digest), self.tag.zip(other.tag)) {
            (Some((one, other)), _) | (None, Some((one, other))) => one != other,
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(image: &str, wanted: &str, source: Source) -> Option<String> {
        let pod = json!({"spec": {"containers": [
            {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"},
            {"name": "shutdown-manager", "image": image},
        ]}});
        let setting = Setting {
            key: Key::Image.full(),
            value: wanted.to_owned(),
            source,
        };
        of_another(&pod, &[setting])
    }

    #[test]
    fn an_image_is_another_by_its_tag_or_digest_and_not_by_its_registry() {
        let ours = "ghcr.io/drainhook/shutdown-manager:v0.1.0";
        let (one, other) = ("sha256:11", "sha256:22");
        for (image, wanted, differs) in [
            (ours.to_owned(), ours.to_owned(), false),
            (
                "mirror:5000/shutdown-manager:v0.1.0".into(),
                ours.into(),
                false,
            ),
            (
                "mirror:5000/shutdown-manager:v0.0.9".into(),
                ours.into(),
                true,
            ),
            (
                "shutdown-manager:june".into(),
                "shutdown-manager:may".into(),
                true,
            ),
            (format!("{ours}@{one}"), format!("{ours}@{one}"), false),
            (format!("{ours}@{one}"), format!("{ours}@{other}"), true),
            // Which digest a tag has, nobody here can tell.
            (format!("shutdown-manager@{one}"), ours.into(), false),
            ("mirror:5000/shutdown-manager".into(), ours.into(), false),
        ] {
            let said = said(&image, &wanted, Source::Installation);
            assert_eq!(said.is_some(), differs, "{image} {wanted}: {said:?}");
        }
    }

    #[test]
    fn where_the_installation_s_was_not_said_none_is_another() {
        let ours = "ghcr.io/drainhook/shutdown-manager:v0.1.0";
        let image = "mirror/shutdown-manager:2026.11.1";
        assert_eq!(said(image, ours, Source::BuiltIn), None);
    }

    #[test]
    fn one_that_was_written_by_hand_is_nobody_elses_business() {
        let pod = json!({"spec": {"containers": [
            {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"},
            {"name": "shutdown-manager", "image": "shutdown-manager:v0.0.1", "args": ["serve"]},
        ]}});
        let setting = Setting {
            key: Key::Image.full(),
            value: "shutdown-manager:v0.1.0".to_owned(),
            source: Source::Installation,
        };
        assert_eq!(of_another(&pod, &[setting]), None);
    }
}
