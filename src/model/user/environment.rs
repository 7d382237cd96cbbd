//! The tier that a component gives to every user who has none.

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

/// What a user's JSON lacks of a tier.
#[derive(Clone, Copy)]
pub(super) enum Lack {
    Nothing,
    /// The environment has no tier.
    Tier,
    /// There is no environment; this is where it belongs.
    Environment {
        at: u32,
    },
}

/// The same user in the first environment that it was asked about in, by its tier: mostly there is
/// one environment in a process.
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
    /// This user, with the environment's tier if it has none. It is made once for a user and its
    /// clones, so that an answer from the cache allocates nothing.
    pub(crate) fn within(&self, environment: Option<&Environment>) -> Cow<'_, Self> {
        let Some(environment) = environment else { return Cow::Borrowed(self) };
        if matches!(self.0.lack, Lack::Nothing) {
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

    /// The same as [`within`](Self::within), for a user who is handed on.
    pub(crate) fn into_environment(self, environment: Option<&Environment>) -> Self {
        if environment.is_some() { self.within(environment).into_owned() } else { self }
    }

    /// May be longer than a user can be by this field.
    fn with_tier(&self, environment: &Environment) -> Self {
        let json = match self.0.lack {
            Lack::Nothing => return self.clone(),
            Lack::Environment { at } => self.with_environment(at as usize, &environment.field),
            Lack::Tier => self.with_tier_in_environment(&environment.tier),
        };
        Self::of(json, self.0.is_private, Lack::Nothing)
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
            user.settle();
            user.write(&mut json);
        }
        json
    }
}

/// For a field's quotes, its colon, comma and braces.
const ROOM: usize = 64;

/// Writes the canonical JSON of fields that are settled. Says what it lacks of a tier.
pub(super) fn write(fields: &Fields<'_>) -> (String, Lack) {
    let mut json = String::with_capacity(USUAL);
    let (mut at, mut lack) = (None, None);
    for (field, node) in fields {
        json.push(if json.is_empty() { '{' } else { ',' });
        if let (ENVIRONMENT, Node::Object(entries)) = (&**field, node) {
            let has_tier = entries.iter().any(|(key, _)| key == "tier");
            lack = Some(if has_tier { Lack::Nothing } else { Lack::Tier });
        } else if at.is_none() && **field > *ENVIRONMENT {
            at = Some(json.len());
        }
        write_field(field, node, &mut json);
    }
    // What is longer is no user.
    let at = u32::try_from(at.unwrap_or(json.len())).unwrap_or(u32::MAX);
    json.push('}');
    (json, lack.unwrap_or(Lack::Environment { at }))
}

/// Most users are not longer.
const USUAL: usize = 256;
