//! The component's tier, for users without one.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use super::{
    Tier, User,
    fields::{ENVIRONMENT, MAX_DEPTH},
};
use crate::model::json::{Fields, Node, write_field, write_string};

/// The environment that a component runs in.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    tier: Arc<str>,
    /// As a field of a user's JSON.
    field: String,
}

/// The part of `statsigEnvironment.tier` that a user's JSON lacks.
#[derive(Clone, Copy)]
pub(super) enum MissingTier {
    Nothing,
    /// `tier`: the environment has none.
    Tier,
    /// `statsigEnvironment`, which belongs at this position of the text.
    Environment {
        at: u32,
    },
}

/// The same user with the tier of the first component that asked for it. Most processes have one
/// environment.
pub(super) type InEnvironment = OnceLock<Box<(Arc<str>, User)>>;

impl Environment {
    pub(crate) fn new(tier: &Tier) -> Self {
        let mut field = format!(r#""{ENVIRONMENT}":{{"tier":"#);
        write_string(tier.as_str(), &mut field);
        field.push('}');
        Self { tier: tier.as_str().into(), field }
    }
}

impl User {
    /// Returns this user, with the environment's tier if the user has none. The result is stored for the
    /// user and its clones, so that an answer from the cache allocates nothing.
    pub(crate) fn within(&self, environment: Option<&Environment>) -> Cow<'_, Self> {
        let Some(environment) = environment else { return Cow::Borrowed(self) };
        if matches!(self.0.missing_tier, MissingTier::Nothing) {
            return Cow::Borrowed(self);
        }
        let make = || Box::new((Arc::clone(&environment.tier), self.with_tier(environment)));
        let (tier, user) = &**self.0.in_environment.get_or_init(make);
        if *tier == environment.tier {
            Cow::Borrowed(user)
        } else {
            Cow::Owned(self.with_tier(environment))
        }
    }

    /// Does the same as [`within`](Self::within), for an owned user.
    pub(crate) fn into_environment(self, environment: Option<&Environment>) -> Self {
        if environment.is_some() { self.within(environment).into_owned() } else { self }
    }

    /// The result may exceed a user's maximum length by this field.
    fn with_tier(&self, environment: &Environment) -> Self {
        let json = match self.0.missing_tier {
            MissingTier::Nothing => return self.clone(),
            MissingTier::Environment { at } => {
                self.with_environment(at as usize, &environment.field)
            }
            MissingTier::Tier => self.with_tier_in_environment(&environment.tier),
        };
        Self::of(json, self.0.is_private, MissingTier::Nothing)
    }

    fn with_environment(&self, at: usize, field: &str) -> String {
        let (before, after) = self.json().split_at(at);
        // Every user has at least an id.
        if after == "}" {
            [before, ",", field, after].concat()
        } else {
            [before, field, ",", after].concat()
        }
    }

    fn with_tier_in_environment(&self, tier: &str) -> String {
        let mut json = String::with_capacity(self.json().len() + tier.len() + ROOM);
        let mut user = Node::read(self.json(), MAX_DEPTH, usize::MAX);
        if let Ok(Node::Object(fields)) = &mut user {
            for (field, node) in fields {
                if let (ENVIRONMENT, Node::Object(entries)) = (&**field, node) {
                    entries.push(("tier".into(), Node::String(tier.into())));
                }
            }
        }
        if let Ok(mut user) = user {
            user.normalize();
            user.write(&mut json);
        }
        json
    }
}

/// For a field's quotes, its colon, comma and braces.
const ROOM: usize = 64;

/// Writes the canonical JSON of normalized fields. Also returns the part of the tier that it lacks.
pub(super) fn write(fields: &Fields<'_>) -> (String, MissingTier) {
    let mut json = String::with_capacity(USUAL);
    let (mut at, mut missing) = (None, None);
    for (field, node) in fields {
        json.push(if json.is_empty() { '{' } else { ',' });
        if let (ENVIRONMENT, Node::Object(entries)) = (&**field, node) {
            let has_tier = entries.iter().any(|(key, _)| key == "tier");
            missing = Some(if has_tier { MissingTier::Nothing } else { MissingTier::Tier });
        } else if at.is_none() && **field > *ENVIRONMENT {
            at = Some(json.len());
        }
        write_field(field, node, &mut json);
    }
    // A text longer than `u32::MAX` is refused as a user.
    let at = u32::try_from(at.unwrap_or(json.len())).unwrap_or(u32::MAX);
    json.push('}');
    (json, missing.unwrap_or(MissingTier::Environment { at }))
}

/// The initial capacity, in bytes. Most users fit.
const USUAL: usize = 256;
