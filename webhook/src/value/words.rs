//! The values that are one of a closed set of words.

use super::not_a_word;

/// Declares a closed set of words, each with the name by which the code calls it.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$word_doc])* $variant,)+
        }

        impl $name {
            /// Every word of the set.
            pub const WORDS: &'static [&'static str] = &[$($text),+];

            /// The word as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            pub(crate) fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(not_a_word(Self::WORDS)),
                }
            }
        }
    };
}

words! {
    /// `inject`: whether the pod takes part.
    Switch {
        /// Takes part.
        On = "true",
        /// Does not, whatever its namespace says.
        Off = "false",
    }
}

words! {
    /// `wait-for`: what the drain waits for.
    WaitFor {
        /// Nothing new arrives and nothing is in flight.
        Quiet = "quiet",
        /// The classic loop: few enough open connections.
        Connections = "connections",
    }
}

words! {
    /// `drain-listeners`: whether the listeners are told as well.
    DrainListeners {
        /// Where a listener needs it.
        Auto = "auto",
        /// In every drain.
        Always = "always",
        /// In none.
        Never = "never",
    }
}

words! {
    /// `pre-stop`: what becomes of a preStop hook that Envoy already has.
    PreStop {
        /// The pod is refused.
        Reject = "reject",
        /// The hook stays, and calls `/shutdown` itself.
        Keep = "keep",
        /// The hook gives way to ours.
        Replace = "replace",
    }
}

words! {
    /// `mode`: which kind of container the sidecar becomes.
    Mode {
        /// Native where the cluster is known to be new enough.
        Auto = "auto",
        /// An init container with `restartPolicy: Always` (KEP-753).
        Native = "native",
        /// A container beside the others.
        Container = "container",
    }
}

words! {
    /// `image-pull-policy`.
    PullPolicy {
        /// Ask the registry each time.
        Always = "Always",
        /// Ask it once.
        IfNotPresent = "IfNotPresent",
        /// Never ask it.
        Never = "Never",
    }
}

words! {
    /// `log-level` of the sidecar.
    LogLevel {
        /// Faults only.
        Error = "error",
        /// And what a person should look at.
        Warn = "warn",
        /// And what it does.
        Info = "info",
        /// And why.
        Debug = "debug",
        /// And each poll.
        Trace = "trace",
    }
}
