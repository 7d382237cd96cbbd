//! Answers do not mix: many requests of many users at once, over a real server with several
//! workers.

use std::collections::{BTreeMap, BTreeSet};

use actix_statsig::{
    Config, FlushPolicy, Statsig, User,
    test_util::{LocalStatsig, Rule, Rules},
    web::{Flags, FlagsConfig, RequireGate},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Result,
    dev::HttpServiceFactory,
    error::ErrorUnauthorized,
    web::{self, Path},
};
use futures_util::future::join_all;
use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::Index,
};
use serde_json::json;

/// Some users, the gates, and the gates open for each user.
#[derive(Clone, Debug)]
struct World {
    gates: Vec<String>,
    users: BTreeMap<String, BTreeSet<String>>,
}

/// A request: its user and its gates.
#[derive(Clone, Debug)]
struct Visit {
    user: String,
    gates: Vec<String>,
}

fn worlds() -> impl Strategy<Value = World> {
    let gates = btree_set("[a-z][a-z0-9_.-]{1,15}", 1..8);
    let users = btree_set("[a-zA-Z0-9@.+_-]{1,24}", 1..12);
    (gates, users).prop_flat_map(|(gates, users)| {
        let gates: Vec<_> = gates.into_iter().collect();
        let open = proptest::sample::subsequence(gates.clone(), 0..=gates.len());
        vec(open, users.len()).prop_map(move |open| {
            let open = open.into_iter().map(BTreeSet::from_iter);
            World { gates: gates.clone(), users: users.clone().into_iter().zip(open).collect() }
        })
    })
}

fn visits() -> impl Strategy<Value = (World, Vec<Visit>)> {
    let picks = vec((any::<Index>(), vec(any::<Index>(), 1..6)), 1..80);
    (worlds(), picks).prop_map(|(world, picks)| {
        let users: Vec<_> = world.users.keys().collect();
        let visits = picks.into_iter().map(|(user, gates)| Visit {
            user: users[user.index(users.len())].clone(),
            gates: gates.iter().map(|gate| gate.get(&world.gates).clone()).collect(),
        });
        let visits = visits.collect();
        (world, visits)
    })
}

impl World {
    fn rules(&self) -> Rules {
        let gates = self.gates.iter().fold(Rules::new(), |rules, name| {
            let open = self.users.iter().filter(|(_, open)| open.contains(name));
            let rule = Rule::new(false);
            rules.gate(name, open.fold(rule, |rule, (user, _)| rule.override_for(user, true)))
        });
        let own = self.users.keys().fold(Rule::from(json!({})), |own, user| {
            own.override_for(user, json!({"id": user}).as_object().cloned().unwrap())
        });
        gates.config("own", own)
    }

    fn is_open(&self, visit: &Visit, gate: &str) -> bool {
        self.users[&visit.user].contains(gate)
    }

    /// What the page shows if the first gate is open for the visitor.
    fn page(&self, visit: &Visit) -> (u16, String) {
        if !self.is_open(visit, &visit.gates[0]) {
            return (404, String::new());
        }
        let open: Vec<_> = visit.gates.iter().map(|gate| self.is_open(visit, gate)).collect();
        (200, format!("{} {} {open:?}", visit.user, visit.user))
    }
}

fn identify(request: &HttpRequest) -> Result<User> {
    let id = request.headers().get("x-user").ok_or_else(|| ErrorUnauthorized("who are you?"))?;
    Ok(User::new(id.to_str().unwrap())?)
}

/// `GET /{gates, separated by commas}`
async fn page(request: HttpRequest, flags: Flags, gates: Path<String>) -> Result<HttpResponse> {
    let gates: Vec<_> = gates.split(',').collect();
    let each = join_all(gates.iter().map(|gate| flags.check_gate(*gate)));
    let each: Vec<bool> = each.await.into_iter().collect::<Result<_, _>>()?;
    assert_eq!(flags.check_gates(gates).await?, each);
    let id: String = flags.get_config("own").await?.get("id")?;
    let user = request.headers().get("x-user").unwrap().to_str().unwrap();
    Ok(HttpResponse::Ok().body(format!("{user} {id} {each:?}")))
}

/// Admits visitors for whom the first gate in the path is open.
fn scope(gate: &str) -> impl HttpServiceFactory + use<> {
    web::scope(gate).wrap(RequireGate::new(gate)).route("/{gates}", web::get().to(page))
}

async fn all_get_their_own(world: World, visits: Vec<Visit>, policy: FlushPolicy) {
    let local = LocalStatsig::start(world.rules()).unwrap();
    let config = Config::builder("secret-key").base_url(local.url()).flush_policy(policy);
    let statsig = Statsig::start(config.build().unwrap()).unwrap();
    let (flags, gates) = (FlagsConfig::new(statsig.clone(), identify), world.gates.clone());
    let app = move || {
        let app = App::new().app_data(flags.clone());
        gates.iter().fold(app, |app, gate| app.service(scope(gate)))
    };
    let server = HttpServer::new(app).workers(3).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);

    let client = awc::Client::builder().disable_timeout().finish();
    let answers = visits.iter().map(async |visit| {
        let path = format!("{}/{}", visit.gates[0], visit.gates.join(","));
        let request = client.get(format!("http://{address}/{path}"));
        let mut response = request.insert_header(("x-user", &*visit.user)).send().await.unwrap();
        let body = response.body().await.unwrap();
        (response.status().as_u16(), String::from_utf8(body.to_vec()).unwrap())
    });
    let answers = join_all(answers).await;
    handle.stop(false).await;

    for (visit, answer) in visits.iter().zip(answers) {
        assert_eq!(answer, world.page(visit), "{visit:?}");
    }
    assert_eq!(local.refused(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn promise_2_each_request_has_the_answers_of_its_own_user(
        (world, visits) in visits(),
        is_adaptive in any::<bool>(),
    ) {
        let policy = if is_adaptive { FlushPolicy::Adaptive } else { FlushPolicy::Interval };
        actix_rt::System::new().block_on(all_get_their_own(world, visits, policy));
    }
}
