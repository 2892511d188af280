use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::handshake::{self, Expected};
use crate::served::Served;

fn names() -> ServerNames {
    ServerNames::service("drainhook", "gateways", "cluster.local").unwrap()
}

fn extensions(der: &[u8]) -> Vec<String> {
    let (_, parsed) = X509Certificate::from_der(der).unwrap();
    let told = |extension: &x509_parser::extensions::X509Extension<'_>| {
        let critical = if extension.critical { "critical " } else { "" };
        let contents = match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(_) => "AKI".to_owned(),
            ParsedExtension::SubjectKeyIdentifier(_) => "SKI".to_owned(),
            ParsedExtension::BasicConstraints(it) => format!("{it:?}"),
            ParsedExtension::KeyUsage(it) => format!("KeyUsage: {it}"),
            ParsedExtension::ExtendedKeyUsage(it) => format!("server_auth: {}", it.server_auth),
            ParsedExtension::SubjectAlternativeName(it) => it
                .general_names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            other => format!("{other:?}"),
        };
        format!("{critical}{contents}")
    };
    parsed.extensions().iter().map(told).collect()
}

#[test]
fn a_leaf_carries_the_names_of_the_service_and_no_more_rights_than_it_needs() {
    let now = SystemTime::now();
    let lifetimes = Lifetimes::default();
    let authority = Authority::issue("drainhook", now, &lifetimes).unwrap();
    let leaf = authority.mint(&names(), now, &lifetimes).unwrap();
    assert_eq!(
        extensions(&leaf.key.cert[0]),
        [
            "AKI",
            "DNSName(drainhook.gateways.svc) \
             DNSName(drainhook.gateways.svc.cluster.local) DNSName(drainhook.gateways)",
            "critical KeyUsage: Digital Signature",
            "server_auth: true",
            "SKI",
            "critical BasicConstraints { ca: false, path_len_constraint: None }",
        ]
    );
    assert_eq!(
        extensions(&authority.certificate.der),
        [
            "AKI",
            "critical KeyUsage: Key Cert Sign, CRL Sign",
            "SKI",
            "critical BasicConstraints { ca: true, path_len_constraint: Some(0) }",
        ]
    );
    assert_eq!(
        authority.certificate.organization.as_deref(),
        Some("drainhook")
    );
}

#[test]
fn lifetimes_are_kept_and_a_leaf_never_outlives_its_ca() {
    let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
    let lifetimes = Lifetimes::default();
    let authority = Authority::issue("drainhook", now, &lifetimes).unwrap();
    let of_ca = authority.certificate.validity;
    assert!(of_ca.not_after.duration_since(now).unwrap() >= lifetimes.authority);
    assert!(now.duration_since(of_ca.not_before).unwrap() >= lifetimes.authority);
    assert!(
        of_ca
            .middle()
            .max(now)
            .duration_since(of_ca.middle().min(now))
            .unwrap()
            <= Duration::from_secs(1)
    );

    let leaf = authority.mint(&names(), now, &lifetimes).unwrap().validity;
    let left = leaf.not_after.duration_since(now).unwrap();
    assert!(left >= lifetimes.leaf && left < lifetimes.leaf + Duration::from_secs(1));
    assert!(now.duration_since(leaf.not_before).unwrap() >= lifetimes.backdate);

    let late = of_ca.not_after - Duration::from_secs(60);
    let leaf = authority.mint(&names(), late, &lifetimes).unwrap().validity;
    assert_eq!(leaf.not_after, of_ca.not_after);
}

#[test]
fn serials_and_subjects_never_repeat() {
    let now = SystemTime::now();
    let seen: std::collections::HashSet<_> = (0..50)
        .map(|_| Authority::issue("drainhook", now, &Lifetimes::default()).unwrap())
        .map(|authority| {
            let (_, parsed) = X509Certificate::from_der(&authority.certificate.der).unwrap();
            let serial = parsed.tbs_certificate.raw_serial();
            assert!(serial.len() == 16 && serial[0] & 0x80 == 0, "{serial:?}");
            (parsed.raw_serial_as_string(), parsed.subject().to_string())
        })
        .collect();
    assert_eq!(seen.len(), 50);
}

#[test]
fn a_ca_read_back_from_pem_signs_as_before() {
    let now = SystemTime::now();
    let lifetimes = Lifetimes::default();
    let made = Authority::issue("drainhook", now, &lifetimes).unwrap();
    let pem = made.certificate.to_pem();
    let read = Authority::parse(pem.as_bytes(), made.key_pem().as_bytes()).unwrap();
    let served = Arc::new(Served::default());
    served.replace(read.mint(&names(), now, &lifetimes).unwrap().key);
    for name in ["drainhook.gateways.svc", "drainhook.gateways"] {
        let bundle = std::slice::from_ref(&made.certificate);
        let expected = Expected::Chain { bundle, name };
        handshake::verify(Arc::clone(&served) as _, expected, now).unwrap();
    }
}

#[test]
fn what_is_no_ca_is_refused_with_the_reason() {
    let now = SystemTime::now();
    let lifetimes = Lifetimes::default();
    let one = Authority::issue("drainhook", now, &lifetimes).unwrap();
    let other = Authority::issue("drainhook", now, &lifetimes).unwrap();
    let leaf = one.mint(&names(), now, &lifetimes).unwrap();
    let leaf = armored("CERTIFICATE", &leaf.key.cert[0]);
    let (pem, key) = (one.certificate.to_pem(), one.key_pem());
    let twice = pem.repeat(2);
    let parse = |certificate: &str, key: &str| {
        Authority::parse(certificate.as_bytes(), key.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(parse("", &key), "0 certificates where one is expected");
    assert_eq!(parse(&twice, &key), "2 certificates where one is expected");
    assert_eq!(
        parse(&leaf, &key),
        AuthorityError::NotAnAuthority.to_string()
    );
    assert_eq!(
        parse(&pem, &other.key_pem()),
        AuthorityError::Mismatch.to_string()
    );
    assert_eq!(parse(&pem, &key[..80]), AuthorityError::Key.to_string());
    assert!(parse(&pem[..80], &key).starts_with("not PEM: "));
}

#[test]
fn a_clock_outside_of_what_x509_can_write_is_an_error_and_no_panic() {
    let lifetimes = Lifetimes::default();
    for now in [
        UNIX_EPOCH,
        UNIX_EPOCH + Duration::from_secs(260_000_000_000),
    ] {
        let refused = Authority::issue("drainhook", now, &lifetimes);
        assert!(matches!(refused, Err(IssueError::Clock(_))), "{now:?}");
    }
}
