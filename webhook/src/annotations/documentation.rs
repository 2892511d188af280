//! `docs/annotations.md`, written from the table.

use super::{Annotation, PREFIX, TABLE};

const BEFORE: &str = "\
# Annotations

<!-- Written from the table in webhook/src/annotations.rs: a test tells when it is old. -->

All keys begin with `drainhook.io/` and stand on the pod, which for a Deployment, DaemonSet,
StatefulSet, Job or CronJob means: in the pod template's `metadata.annotations`. One is enough:

```yaml
metadata:
  annotations:
    drainhook.io/inject: \"true\"
```

Values are texts, so numbers and `true` need quotes. Durations are written `90s`, `5m`, `1m30s`.

## Where a value comes from

1. the pod's annotation;
2. its namespace's annotation of the same key;
3. the installation's default: a map of the same keys, without prefix;
4. what is built in: the column \"default\" below.

What the pod itself shows of its Envoy and the admin (see `envoy` and `admin`) comes before the
defaults of others, and after its own annotations. `drainhook check` prints each value and where it
came from.

A pod is refused only for what stands on itself: an unknown key (with the nearest known one), a
value that is not allowed, values that contradict each other. All faults are told at once. A bad
value on a namespace is passed over with a warning. Where a namespace asks, and not the pod, a pod
without Envoy is left alone, and so is one that cannot have a drain, with a warning that says why.

## All annotations
";

const AFTER: &str = "
## Taking part by namespace

The label `drainhook.io/inject: enabled` (or `\"true\"`) on a namespace has all pods of it take part
that run one Envoy. A pod says no with `drainhook.io/inject: \"false\"`.

## Grace periods

The pod's `terminationGracePeriodSeconds` is raised to `drain-timeout` and 5 s, and never lowered. A
liveness or startup probe that fails kills its container with the pod's grace period unless it has
one of its own; so where the pod's is raised, such probes get the old one, and a container that
hangs is gone as soon as before.

## Resources

The sidecar asks for little, and has no CPU limit, because a limit slows the polls of the drain. In
a pod of the Guaranteed class it gets limits that equal its requests, so that Envoy keeps its class.
In a pod with `spec.resources` it gets none. A namespace with a ResourceQuota on `limits.cpu`
refuses pods with a container that has no such limit: set `drainhook.io/cpu-limit` there, on the
namespace. A LimitRange may refuse the sidecar too, for any of the four. `drainhook check` names the
keys to write, and values that fit, where it is shown what the namespace has:

```console
$ kubectl get namespace,resourcequota,limitrange,deployment -n edge -o yaml | drainhook check
```

## Written by drainhook

`drainhook.io/status` is a JSON text: the version, pointers to what was added (with a container's
name in place of its index), and the original of what was changed, so that `drainhook uninject` is
exact. It is never believed for deciding: what counts is the container and the hooks that are there.
";

/// The text of `docs/annotations.md`.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from(BEFORE);
    text.push_str("\n| key | default | what it means |\n|---|---|---|\n");
    for row in TABLE {
        text.push_str(&format!(
            "| `{}` | {} | {} |\n",
            row.name,
            default(row),
            row.meaning
        ));
    }
    text.push_str("\n## What is allowed\n\n| key | values | sidecar's variable |\n|---|---|---|\n");
    for row in TABLE {
        let variable = row
            .variable
            .map_or("-".to_owned(), |variable| format!("`{variable}`"));
        text.push_str(&format!(
            "| `{PREFIX}{}` | {} | {variable} |\n",
            row.name,
            row.kind.allowed()
        ));
    }
    text.push_str(AFTER);
    text
}

fn default(row: &Annotation) -> String {
    match row.default {
        Some(default) => format!("`{default}`"),
        None if row.otherwise.is_empty() => "-".to_owned(),
        None => row.otherwise.to_owned(),
    }
}
