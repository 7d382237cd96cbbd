//! The macro that generates everything about the settings from one table.
//!
//! Each entry of the table in `settings.rs` generates a field of `Settings` with its default, text
//! and bounds, a method of `ConfigBuilder`, a method of `Config`, an element of `Config::SETTINGS`
//! (and so an environment variable and a flag of the relay), and the documentation of all of these.

/// Generates the settings from a table. The form of an entry:
///
/// ```text
/// /// More documentation of both methods.
/// name: Type, "what it is, as a noun phrase",
///     default(5 ms), bounds(1 ms ..= 1 min, "more rules"), rule("a rule, if there are no bounds"),
///     set(impl Into<Argument> => conversion), get(&Returned => conversion);
/// ```
///
/// The builder's method takes, and the getter returns, the type itself unless `set` and `get` say
/// otherwise. `get(none)` makes no getter.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ty, $about:literal,
        default($($default:tt)+)
        $(, bounds($low:literal $($low_unit:ident)? ..= $high:literal $($high_unit:ident)? $(, $more:literal)?))?
        $(, rule($rule:literal))?
        $(, set($argument:ty => $into:expr))?
        $(, get($($get:tt)+))?;
    )+) => {
        /// Each setting's value.
        #[derive(Clone, Debug)]
        pub(super) struct Settings {
            $(pub(super) $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: value!($($default)+),)+ }
            }
        }

        impl Settings {
            /// Reads one setting by its name.
            pub(super) fn set(&mut self, setting: &str, text: &str) -> Result<(), Error> {
                match setting {
                    $(stringify!($name) => self.$name = SettingType::parse(stringify!($name), text)?,)+
                    _ => return Err(invalid("setting", setting, "must be one of the settings' names")),
                }
                Ok(())
            }

            /// Returns one setting by its name as text that [`set`](Self::set) reads.
            pub(super) fn text(&self, setting: &str) -> Option<String> {
                match setting {
                    $(stringify!($name) => self.$name.text(),)+
                    _ => None,
                }
            }

            /// Checks the settings that have bounds.
            pub(super) fn check_bounds(&self) -> Result<(), Error> {
                $($(
                    let bounds = value!($low $($low_unit)?)..=value!($high $($high_unit)?);
                    bounded(stringify!($name), &self.$name, bounds)?;
                )?)+
                Ok(())
            }
        }

        /// The settings.
        impl ConfigBuilder {$(
            setter! {
                $name: $type, ($($argument => $into)?),
                #[doc = concat!("Sets ", $about, ".")]
                ///
                #[doc = facts!(($($default)+) $(($low $($low_unit)?, $high $($high_unit)? $(, $more)?))? $($rule)?)]
                ///
                $(#[doc = $doc])*
            }
        )+}

        /// The settings.
        impl Config {
            /// The name of each setting, with a line on its meaning, in the order of the table above.
            pub const SETTINGS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), $about),)+];

            $(getter! {
                $name: $type, ($($($get)+)?),
                #[doc = concat!("Returns ", $about, ".")]
                ///
                #[doc = facts!(($($default)+) $(($low $($low_unit)?, $high $($high_unit)? $(, $more)?))? $($rule)?)]
                ///
                $(#[doc = $doc])*
            })+
        }

        /// The documentation of all settings, as a table.
        macro_rules! settings_table {
            () => { concat!("| setting | default | bounds |\n|---|---|---|\n", $(
                "| `", stringify!($name), "` | ", shown!($($default)+), " | ",
                $(shown!($low $($low_unit)?), " to ", shown!($high $($high_unit)?), $(", ", $more,)?)?
                $($rule,)? " |\n",
            )+) };
        }
    };
}

/// Writes a method of the builder, with its documentation.
macro_rules! setter {
    ($name:ident: $type:ty, (), $($doc:tt)*) => {
        $($doc)*
        pub fn $name(mut self, $name: $type) -> Self {
            self.settings.$name = $name;
            self
        }
    };
    ($name:ident: $type:ty, ($argument:ty => $into:expr), $($doc:tt)*) => {
        $($doc)*
        pub fn $name(mut self, $name: $argument) -> Self {
            self.settings.$name = $into($name);
            self
        }
    };
}

/// Writes a getter, with its documentation.
macro_rules! getter {
    ($name:ident: $type:ty, (none), $($doc:tt)*) => {};
    ($name:ident: $type:ty, (), $($doc:tt)*) => {
        $($doc)*
        pub fn $name(&self) -> $type {
            self.settings.$name
        }
    };
    ($name:ident: $type:ty, ($returned:ty => $as:expr), $($doc:tt)*) => {
        $($doc)*
        pub fn $name(&self) -> $returned {
            $as(&self.settings.$name)
        }
    };
}

/// Writes a default and the bounds or the rule as a line of documentation.
macro_rules! facts {
    (($($default:tt)+)) => { concat!("Default: ", shown!($($default)+), ".") };
    (($($default:tt)+) $rule:literal) => {
        concat!("Default: ", shown!($($default)+), ". Rule: ", $rule, ".")
    };
    (($($default:tt)+) ($low:literal $($low_unit:ident)?, $high:literal $($high_unit:ident)? $(, $more:literal)?)) => {
        concat!(
            "Default: ", shown!($($default)+), ". Bounds: ", shown!($low $($low_unit)?), " to ",
            shown!($high $($high_unit)?), $(", ", $more,)? ".",
        )
    };
}

/// Reads a default or a bound of the table.
macro_rules! value {
    (none) => {
        Default::default()
    };
    (on) => {
        true
    };
    (off) => {
        false
    };
    (interval) => {
        FlushPolicy::Interval
    };
    (text $text:literal) => {
        $text.into()
    };
    ($number:literal ms) => {
        Duration::from_millis($number)
    };
    ($number:literal s) => {
        Duration::from_secs($number)
    };
    ($number:literal min) => {
        Duration::from_secs($number * 60)
    };
    ($number:literal h) => {
        Duration::from_secs($number * 60 * 60)
    };
    ($number:literal days) => {
        Duration::from_secs($number * 24 * 60 * 60)
    };
    ($number:literal MiB) => {
        $number << 20
    };
    ($number:literal TiB) => {
        $number << 40
    };
    ($number:literal) => {
        $number
    };
}

/// Shows a default or a bound of the table in the documentation.
macro_rules! shown {
    (text $text:literal) => { concat!("`", $text, "`") };
    ($($value:tt)+) => { stringify!($($value)+) };
}
