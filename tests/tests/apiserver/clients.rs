//! Servers that answer only who shows a certificate, called by a real API server that shows one or none.

use drainhook_tests::{
    cluster::{ApiServer, Authority, Version},
    wait::until,
};

use crate::{
    admission::until_called,
    site::{BOTH, FAIL, Installed, Site},
};

const CLIENT_AUTHORITY: &str = "certificates.clientCAConfigMap=clients";
const CLIENT_NAME: &str = "certificates.clientNames[0]=kube-apiserver";

#[tokio::test]
async fn an_api_server_that_shows_a_certificate_of_the_clients_ca_is_answered() {
    for version in BOTH {
        let options = ApiServer::options().version(version);
        let Some(site) = Site::with(options.webhook_client("kube-apiserver")).await else {
            return;
        };
        let ours = site.server.authority().certificate();
        let others = Authority::generate("others").unwrap().certificate();
        let mut installed = install(&site, &ours).await;
        until_called(&site.server).await;

        // The file is replaced: its certificate is one of nobody's, and then one of ours again.
        let installation = &installed.installation;
        installation.set_client_authority(&others).unwrap();
        until_refused(&mut installed, "unknown certificate authority").await;
        installed.installation.set_client_authority(&ours).unwrap();
        until_called(&site.server).await;
    }
}

#[tokio::test]
async fn an_api_server_that_shows_none_is_refused() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let ours = site.server.authority().certificate();
    let mut installed = install(&site, &ours).await;
    until_refused(&mut installed, "certificate required").await;
    assert_eq!(installed.replicas[0].decisions(|_| true), 0);
}

#[tokio::test]
async fn an_api_server_of_another_name_is_refused() {
    let options = ApiServer::options().webhook_client("somebody");
    let Some(site) = Site::with(options).await else {
        return;
    };
    let ours = site.server.authority().certificate();
    let mut installed = install(&site, &ours).await;
    until_refused(&mut installed, "access denied").await;
    assert_eq!(installed.replicas[0].decisions(|_| true), 0);
}

/// One replica that answers clients of this CA and the usual name, as an endpoint.
async fn install<'s>(site: &'s Site, clients: &str) -> Installed<'s> {
    let mut installed = site.install(&[FAIL, CLIENT_AUTHORITY, CLIENT_NAME]).await;
    let installation = &mut installed.installation;
    installation.set_client_authority(clients).unwrap();
    let replica = installation.replica().await.unwrap();
    installed.replicas.push(replica);
    installed.publish().await;
    installed
}

/// Until the API server is told this alert. A connection that it has is kept by both sides, so it is made to
/// open others, by a bundle of another text each time.
async fn until_refused(installed: &mut Installed<'_>, alert: &str) {
    let ours = installed.server.authority().certificate();
    let mut bundle = ours.clone();
    until(alert, async || {
        bundle += &ours;
        installed.installation.trust(&bundle).await.unwrap();
        let failure = installed.probe().await.err()?.to_string();
        failure.contains(alert).then_some(())
    })
    .await
    .unwrap();
}
