//! Rollouts under load.

use drainhook_tests::{
    load::Mix,
    stage::{Gateway, play},
};

#[test]
fn no_request_fails_while_every_pod_of_a_deployment_is_replaced() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new()).await.unwrap();
        let traffic = gateway.load(Mix::standard()).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        assert_eq!(record.describe_failures(), Vec::<String>::new());
    });
}
