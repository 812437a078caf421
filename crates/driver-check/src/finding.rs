//! What a check reports.

use std::fmt;

/// One of the things that are checked. Its name is what a person types to leave it out.
pub trait Check: Copy + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The name, in kebab case.
    fn name(self) -> &'static str;
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<C> {
    /// Which check found it.
    pub check: C,
    /// What is wrong and why it matters, one sentence.
    pub text: String,
    /// Who says so: a page of Microsoft's documentation and its section.
    pub source: &'static str,
}

impl<C: Check> fmt::Display for Finding<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}: {}]", self.text, self.check.name(), self.source)
    }
}

/// Declares the checks of one kind of file: an enum whose variants carry their names.
macro_rules! checks {
    ($(#[$outer:meta])* enum Check { $($(#[$inner:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Check {
            $($(#[$inner])* $variant,)*
        }

        impl $crate::Check for Check {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}
