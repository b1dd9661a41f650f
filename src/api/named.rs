//! Enums whose variants are names that users read.

/// Declares an enum of names. Beside the enum itself: `ALL`, the name of each variant (`as_str`, `Display`, `parse`), and its
/// doc comment (`meaning`), from which the reference pages are generated. A list of variants by hand is never needed.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[doc = $doc:tt])+ $variant:ident,)+ }
    ) => {
        $(#[$attribute])*
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];

            /// The name as users read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What it means, in one or more sentences.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The variant of this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|variant| variant.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use named;
