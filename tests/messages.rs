//! `CheckGates` and `GetConfigs`, answered through a scripted transport.

use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler, Recipient};
use actix_statsig::{
    Call, CallKind, CheckGates, Config, ConfigEvaluation, Error, Evaluation, GateEvaluation,
    GetConfigs, Statsig, User,
};

struct Echo(Arc<Mutex<Vec<Vec<String>>>>);

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Call> for Echo {
    type Result = ();
    fn handle(&mut self, call: Call, _: &mut Context<Self>) {
        let request = call.request();
        self.0.lock().unwrap().push(request.names.iter().map(|n| n.to_string()).collect());
        let outcome = request
            .names
            .iter()
            .map(|name| {
                Some(match request.kind {
                    CallKind::CheckGate => GateEvaluation::new(name.clone(), true).into(),
                    CallKind::GetConfig => {
                        ConfigEvaluation::new(name.clone(), Default::default()).into()
                    }
                })
            })
            .collect::<Vec<Option<Evaluation>>>();
        call.complete(Ok(outcome));
    }
}

#[actix_rt::test]
async fn smoke() -> Result<(), Error> {
    let calls = Arc::default();
    let log = Arc::clone(&calls);
    let statsig = Statsig::start_here_with(Config::new("secret")?, move || {
        Ok::<Recipient<Call>, _>(Echo(Arc::clone(&log)).start().recipient())
    })?;
    let user = User::new("u-1")?;
    let addr = statsig.addr();
    let (a, b, c) = tokio::join!(
        addr.send(CheckGates::new(user.clone(), ["aa", "bb", "aa"])),
        addr.send(CheckGates::new(user.clone(), ["bb"])),
        addr.send(GetConfigs::new(user.clone(), ["aa"])),
    );
    let names: Vec<_> = a.unwrap()?.iter().map(|g| g.name().to_owned()).collect();
    assert_eq!(names, ["aa", "bb", "aa"]);
    assert_eq!(b.unwrap()?.len(), 1);
    assert_eq!(c.unwrap()?.len(), 1);
    println!("{:?} {:?}", calls.lock().unwrap(), statsig.stats());
    let report = statsig.shutdown(std::time::Duration::from_secs(1)).await;
    println!("{report:?}");
    assert!(matches!(statsig.check_gate(&user, "aa").await, Err(Error::ShuttingDown)));
    assert!(addr.send(CheckGates::new(user, ["aa"])).await.is_err());
    Ok(())
}
