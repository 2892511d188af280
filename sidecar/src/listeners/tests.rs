use super::*;

fn rules(exclude: &[&str], quietened: &[&str]) -> Rules {
    let refs = |texts: &[&str]| texts.iter().map(|text| ListenerRef::new(text)).collect();
    Rules::new(refs(exclude), refs(quietened))
}

const DUMP: &str = r#"{
 "configs": [
  {
   "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener",
   "listener": {
    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "name": "web",
    "address": {
     "socket_address": {
      "address": "::1",
      "port_value": 8443
     }
    },
    "additional_addresses": [
     {
      "address": {
       "socket_address": {
        "address": "0.0.0.0",
        "port_value": 8444
       }
      }
     }
    ]
   }
  },
  {
   "listener": {
    "name": "pre",
    "address": {
     "socket_address": {
      "address": "0.0.0.0",
      "port_value": 8080
     }
    },
    "drain_type": "MODIFY_ONLY",
    "stat_prefix": "my.front"
   }
  },
  {
   "listener": {
    "name": "pipe",
    "address": {
     "pipe": {
      "path": "/run/a:b"
     }
    }
   }
  },
  {
   "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener",
   "name": "xds",
   "active_state": {
    "version_info": "1",
    "listener": {
     "name": "xds",
     "address": {
      "socket_address": {
       "address": "10.0.0.1",
       "port_value": 9000
      }
     },
     "filter_chains": [
      {
       "filters": [
        {
         "name": "hcm",
         "typed_config": {
          "stat_prefix": "no listener's",
          "drain_type": "MODIFY_ONLY"
         }
        }
       ]
      }
     ]
    }
   },
   "draining_state": {
    "listener": {
     "name": "old",
     "drain_type": "MODIFY_ONLY"
    }
   }
  }
 ]
}
"#;

#[test]
fn reads_static_and_dynamic_listeners() {
    let listeners = Listener::read_config_dump([DUMP.as_bytes()]).unwrap();
    let read: Vec<_> = listeners
        .iter()
        .map(|l| (l.name.as_str(), l.stat_name.as_str(), l.modify_only))
        .collect();
    assert_eq!(
        read,
        [
            ("web", "[__1]_8443", false),
            ("pre", "my.front", true),
            ("pipe", "/run/a_b", false),
            ("xds", "10.0.0.1_9000", false),
        ]
    );
    assert_eq!(listeners[0].ports, [8443, 8444]);
}

#[test]
fn a_configuration_without_listeners_has_none_and_garbage_is_unknown() {
    assert_eq!(Listener::read_config_dump([&b"{}\n"[..]]), Ok(Vec::new()));
    let half = DUMP.split_at(DUMP.len() / 2).0.as_bytes();
    for garbage in [&b""[..], b"<html>", b"{\"configs\": 5}", b"\xff\xfe", half] {
        assert!(Listener::read_config_dump([garbage]).is_err());
    }
}

#[test]
fn listeners_are_meant_by_name_stat_name_address_or_port_and_never_by_a_part() {
    let mut known = rules(&["pre", "8443", "10.0.0.1:9000"], &[]);
    known.learn(Listener::read_config_dump([DUMP.as_bytes()]).unwrap());
    for (stat_name, class) in [
        ("my.front", Class::Ignored),
        ("[__1]_8443", Class::Ignored),
        ("10.0.0.1_9000", Class::Ignored),
        ("0.0.0.0_18443", Class::Counted),
        ("0.0.0.0_844", Class::Counted),
        ("/run/a_b", Class::Counted),
        // Not an address, so that its end is no port.
        ("front_8443", Class::Counted),
    ] {
        assert_eq!(known.class(stat_name), class, "{stat_name}");
    }
}

#[test]
fn a_listener_called_like_the_admin_is_counted() {
    let nothing = rules(&[], &[]);
    for stat_name in [
        "my-admin-gw",
        "admin2",
        "worker",
        "worker_gw",
        "0.0.0.0_19001",
    ] {
        assert_eq!(nothing.class(stat_name), Class::Counted, "{stat_name}");
    }
    assert_eq!(nothing.class("envoy_internal_inner"), Class::Ignored);
}

#[test]
fn a_port_is_quietened_also_where_a_stat_prefix_hides_it_and_excluding_wins() {
    let mut known = rules(&["8444"], &["8080", "8443"]);
    known.learn(Listener::read_config_dump([DUMP.as_bytes()]).unwrap());
    assert_eq!(known.class("my.front"), Class::Quietened);
    // `web` has both ports.
    assert_eq!(known.class("[__1]_8443"), Class::Ignored);
    assert_eq!(known.class_of_port(8080), Class::Quietened);
    assert_eq!(known.class_of_port(8444), Class::Ignored);
}
