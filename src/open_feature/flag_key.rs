//! Flag keys: the name of a config, and a key in it.

/// The parts of a flag key. Without `key`, the flag key names the whole config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlagKey<'a> {
    pub(super) config: &'a str,
    pub(super) key: Option<&'a str>,
}

impl<'a> From<&'a str> for FlagKey<'a> {
    fn from(flag_key: &'a str) -> Self {
        match flag_key.rsplit_once('.') {
            Some((config, "")) => Self { config, key: None },
            Some((config, key)) => Self { config, key: Some(key) },
            None => Self { config: flag_key, key: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_after_the_last_dot_is_the_key() {
        for (flag_key, config, key) in [
            ("homepage", "homepage", None),
            ("homepage.theme", "homepage", Some("theme")),
            ("homepage.the theme", "homepage", Some("the theme")),
            ("shop.homepage.theme", "shop.homepage", Some("theme")),
            ("shop.homepage.", "shop.homepage", None),
            ("homepage..", "homepage.", None),
            (".theme", "", Some("theme")),
            (".", "", None),
            ("", "", None),
        ] {
            assert_eq!(FlagKey::from(flag_key), FlagKey { config, key }, "{flag_key:?}");
        }
    }
}
