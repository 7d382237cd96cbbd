//! The settings of the component: one option for each entry of [`Config::SETTINGS`].

use std::collections::BTreeMap;

use actix_statsig::{Config, Error};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::value::{OptionValue, option, text};

/// The setting that has no flag, only a variable and a file.
const SECRET: &str = "api_key";

/// The settings, each with its value from a flag or variable, or its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(BTreeMap<&'static str, OptionValue<String>>);

/// The name of a setting that the relay itself reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettingName(&'static str);

impl SettingName {
    pub(crate) const API_KEY: Self = Self(SECRET);
    pub(crate) const BASE_URL: Self = Self("base_url");
    pub(crate) const MAX_IN_FLIGHT: Self = Self("max_in_flight");
    pub(crate) const TRANSPORTS: Self = Self("transports");
}

impl Settings {
    /// Returns the setting if a flag or variable set it.
    pub(crate) fn get(&self, setting: SettingName) -> Option<&OptionValue<String>> {
        self.if_set(setting.0)
    }

    /// Returns a setting that is a whole number, set or default. The component checks the bounds.
    pub(crate) fn number(&self, setting: SettingName) -> Result<usize, String> {
        let Some(value) = self.0.get(setting.0) else { return Ok(0) };
        value.get()?.trim().parse().map_err(|_| value.invalid("must be a whole number"))
    }

    /// Sets the API key, which has no flag.
    pub(super) fn set_api_key(&mut self, key: OptionValue<String>) {
        self.0.insert(SECRET, key);
    }

    /// Returns the flag or variable that set the setting, or else the flag that would set it.
    pub(crate) fn origin(&self, setting: SettingName) -> String {
        self.origin_of(setting.0)
    }

    /// Builds the component's configuration. The overrides win over all settings, and the hook is
    /// called for each error.
    pub(crate) fn config(
        &self,
        overrides: &[(SettingName, &str)],
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        let explain = |error| self.explain(error);
        let mut builder = Config::builder("");
        for (setting, value) in self.0.iter().filter(|(_, value)| value.if_set().is_some()) {
            builder = builder.set(setting, &value.get()?).map_err(explain)?;
        }
        for (setting, text) in overrides {
            builder = builder.set(setting.0, text).map_err(explain)?;
        }
        builder.on_error(on_error).build().map_err(explain)
    }

    /// Formats an error with the flag or variable to fix in place of the setting's name.
    pub(crate) fn explain(&self, error: Error) -> String {
        match error {
            Error::InvalidConfig { setting, value, rule, .. } => {
                self.explain_setting(setting, &value, &rule)
            }
            other => other.to_string(),
        }
    }

    /// A rule may name another setting in backticks. If only that setting is set, the message names
    /// it as the one to fix.
    fn explain_setting(&self, setting: &str, value: &str, rule: &str) -> String {
        let origin = self.origin_of(setting);
        let Some((before, other, after)) = setting_in(rule) else {
            return format!("{origin} cannot be {value}: {rule}");
        };
        let other_origin = self.origin_of(other);
        let rule = format!("{before}{other_origin}{after}");
        if self.if_set(other).is_some() && self.if_set(setting).is_none() {
            format!("{other_origin} does not fit: {origin} is {value}, and {rule}")
        } else {
            format!("{origin} cannot be {value}: {rule}")
        }
    }

    fn if_set(&self, setting: &str) -> Option<&OptionValue<String>> {
        self.0.get(setting)?.if_set()
    }

    fn origin_of(&self, setting: &str) -> String {
        match self.0.get(setting) {
            Some(value) => value.origin().to_owned(),
            None if setting == SECRET => variable(setting),
            None => format!("--{}", flag(setting)),
        }
    }
}

/// Finds the setting that a rule names, and the text around it.
fn setting_in(rule: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = rule.split_once('`')?;
    let (setting, after) = rest.split_once('`')?;
    let exists = Config::SETTINGS.iter().any(|(name, _)| *name == setting);
    exists.then_some((before, setting, after))
}

fn flag(setting: &str) -> String {
    if setting == SettingName::BASE_URL.0 {
        "upstream".to_owned()
    } else {
        setting.replace('_', "-")
    }
}

fn variable(setting: &str) -> String {
    format!("STATSIG_{}", setting.to_ascii_uppercase())
}

/// Returns the settings that have a flag.
fn public() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    Config::SETTINGS.iter().filter(|(name, _)| *name != SECRET)
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let defaults = Config::new("-").ok();
        public().fold(command, |command, &(name, meaning)| {
            let default = defaults.as_ref().and_then(|config| config.text(name));
            let mut help = meaning.to_owned();
            help.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
            let arg = Arg::new(name).long(flag(name)).env(variable(name)).value_name("VALUE");
            command.arg(arg.default_values(default).value_parser(option(text)).help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |name| matches.get_one::<OptionValue<String>>(name).cloned();
        let values = public().filter_map(|&(name, _)| Some((name, value(name)?)));
        Ok(Self(values.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_the_relay_names_exist() {
        use SettingName as Name;
        for name in [Name::API_KEY, Name::BASE_URL, Name::MAX_IN_FLIGHT, Name::TRANSPORTS] {
            assert!(Config::SETTINGS.iter().any(|(setting, _)| *setting == name.0), "{name:?}");
        }
    }
}
