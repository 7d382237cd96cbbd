//! Measures the component under faults, under overload, in a long mixed run, and with a stopped
//! server. Prints a table, and exits with 1 if a bound is broken.
//!
//! ```text
//! cargo bench --all-features --bench faults              # faults and stopped: about three minutes
//! cargo bench --all-features --bench faults -- faults    # 1 % and 10 % of each fault
//! cargo bench --all-features --bench faults -- stopped   # a server stopped and continued
//! cargo bench --all-features --bench faults -- overload  # a minute of ten times overload
//! cargo bench --all-features --bench faults -- soak 600  # 600 seconds of all faults mixed
//! ```
#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::{
    env, fs, io,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio, exit},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix_rt::time::{sleep, sleep_until};
use actix_statsig::{
    Config, ConfigBuilder, Error, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use futures_util::future::join_all;

const CALLERS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_millis(100);

fn main() {
    let args: Vec<_> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |default| args.get(1).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let system = actix::System::new();
    let holds = match args.first().map(String::as_str) {
        None => system.block_on(async { faults().await & stopped().await }),
        Some("faults") => system.block_on(faults()),
        Some("stopped") => system.block_on(stopped()),
        Some("overload") => system.block_on(overload(number(60))),
        Some("soak") => system.block_on(soak(number(600))),
        Some("serve") => serve(),
        Some(other) => panic!("no measurement {other:?}"),
    };
    exit(i32::from(!holds));
}

/// Each user passes only the gate with the user's own number, so that a mixed-up answer is a wrong
/// one.
fn rules() -> Rules {
    (0..CALLERS).fold(Rules::new(), |rules, n| {
        rules.gate(format!("number {n}"), Rule::new(true).when("custom.number", n))
    })
}

fn user(n: usize) -> User {
    let user = User::builder().user_id(format!("user-{n}")).custom("number", n as u64);
    user.build().expect("a valid user")
}

fn config(url: String) -> ConfigBuilder {
    Config::builder("secret-key")
        .base_url(url)
        .timeout(TIMEOUT)
        .attempt_timeout(ATTEMPT)
        .cache_ttl(Duration::ZERO)
}

fn start(config: ConfigBuilder) -> Statsig {
    Statsig::start(config.build().expect("a valid configuration")).expect("a thread")
}

/// The outcomes that the callers saw.
#[derive(Clone, Default)]
struct Seen(Arc<Tally>);

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
    longest_us: AtomicU64,
    over: AtomicBool,
}

impl Seen {
    /// Asks for the caller's own gate and the next caller's, in a loop.
    async fn keep_asking(&self, statsig: &Statsig, n: usize) {
        let user = user(n);
        let names: [Arc<str>; 2] = [n, (n + 1) % CALLERS].map(|n| Arc::from(format!("number {n}")));
        while !self.0.over.load(Relaxed) {
            self.ask(statsig, &user, &names).await;
        }
    }

    async fn ask(&self, statsig: &Statsig, user: &User, names: &[Arc<str>; 2]) {
        let start = Instant::now();
        let answer = statsig.check_gates(user, names.iter().cloned()).await;
        let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.longest_us.fetch_max(took, Relaxed);
        let counter = match answer {
            Ok(open) if open == [true, false] => &self.0.answered,
            Ok(_) => &self.0.wrong,
            Err(Error::Overloaded { .. }) => &self.0.refused,
            Err(_) => &self.0.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn ended(&self) -> u64 {
        self.0.answered.load(Relaxed) + self.0.failed.load(Relaxed)
    }

    fn wrong(&self) -> u64 {
        self.0.wrong.load(Relaxed)
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.0.longest_us.load(Relaxed))
    }
}

/// Lets the callers ask for this long. Returns the number of requests that ended per second.
async fn run(statsig: &Statsig, seen: &Seen, length: Duration) -> f64 {
    let start = Instant::now();
    let callers = (0..CALLERS).map(|n| {
        let (statsig, seen) = (statsig.clone(), seen.clone());
        actix_rt::spawn(async move { seen.keep_asking(&statsig, n).await })
    });
    let callers: Vec<_> = callers.collect();
    sleep(length).await;
    let rate = seen.ended() as f64 / start.elapsed().as_secs_f64();
    seen.0.over.store(true, Relaxed);
    join_all(callers).await;
    rate
}

/// With 1 % and 10 % of each fault, throughput must stay at 90 % or more of the possible rate: the
/// number of callers divided by the mean time of a call. That mean is the time of a call without
/// faults, plus the expected cost of the faults.
async fn faults() -> bool {
    const LENGTH: Duration = Duration::from_secs(5);
    // The cost of a fault is its own time, the mean pause before the retry, and the retry itself. A
    // fault without a delay has no time of its own, a closed connection is retried without a pause,
    // and an answer is not retried.
    let pause = Duration::from_millis(25);
    let delay = Duration::from_millis(100);
    type Make = fn() -> Fault;
    let kinds: [(&str, Make, Duration, bool); 11] = [
        ("delay of 100 ms", || Fault::delay(Duration::from_millis(100)), delay, false),
        ("hang", Fault::hang, ATTEMPT + pause, true),
        ("stalled body", Fault::stall_body, ATTEMPT + pause, true),
        ("reset", Fault::reset, pause, true),
        ("reset in the body", Fault::reset_mid_body, pause, true),
        ("truncated", Fault::truncated, pause, true),
        ("closed", Fault::close, Duration::ZERO, true),
        ("500", || Fault::status(500), pause, true),
        ("429, retry at once", || Fault::status(429).retry_after("0"), pause, true),
        ("garbage", Fault::garbage, Duration::ZERO, false),
        ("left out", || Fault::leave_out(["number 0"]), Duration::ZERO, false),
    ];
    println!("| fault | share | requests/s | possible | kept | errors | wrong | longest |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut holds = true;
    let server = LocalStatsig::start(rules()).expect("a free port");
    for (name, fault, cost, is_retried) in kinds {
        for share in [0.01, 0.1] {
            server.clear_faults();
            let statsig = start(config(server.url()));
            let undisturbed = run(&statsig, &Seen::default(), LENGTH / 2).await;
            let base = CALLERS as f64 / undisturbed;

            server.inject(fault().with_probability(share, 42).always());
            let seen = Seen::default();
            let rate = run(&statsig, &seen, LENGTH).await;

            let strikes = if is_retried { share / (1.0 - share) } else { share };
            let again = if is_retried { base } else { 0.0 };
            let possible = CALLERS as f64 / (base + strikes * (cost.as_secs_f64() + again));
            let kept = rate / possible;
            let fails = kept < 0.9 || seen.wrong() > 0 || seen.longest() > TIMEOUT + GRACE;
            holds &= !fails;
            println!(
                "| {name} | {:.0} % | {rate:.0} | {possible:.0} | {:.0} % | {} | {} | {:.0?} |{}",
                share * 100.0,
                kept * 100.0,
                seen.0.failed.load(Relaxed),
                seen.wrong(),
                seen.longest(),
                if fails { " **broken**" } else { "" },
            );
            statsig.shutdown(TIMEOUT).await;
        }
    }
    holds
}

/// Sends ten times the load that the server can sustain. Accepted requests must be answered in
/// time, the others refused at once, and memory must stay flat.
async fn overload(seconds: u64) -> bool {
    // 64 concurrent calls of 20 ms each make 3,200 a second. The callers ask for 32,000.
    const ASKED: u64 = 32_000;
    let server = LocalStatsig::start(rules()).expect("a free port");
    server.keep_requests(0);
    server.set_latency(Duration::from_millis(20));
    let statsig = start(config(server.url()).max_pending(2_000));
    let seen = Seen::default();
    let start = Instant::now();
    let mut after_a_sixth = 0;
    for tick in 0..seconds * 100 {
        sleep_until((start + Duration::from_millis(tick * 10)).into()).await;
        for n in 0..ASKED / 100 {
            let (statsig, seen) = (statsig.clone(), seen.clone());
            let n = (tick * ASKED / 100 + n) as usize;
            actix_rt::spawn(async move {
                let user = User::builder().user_id(format!("u-{n}"));
                let user = user.custom("number", (n % CALLERS) as u64).build();
                let names =
                    [n % CALLERS, (n + 1) % CALLERS].map(|n| Arc::from(format!("number {n}")));
                seen.ask(&statsig, &user.expect("a valid user"), &names).await;
            });
        }
        if tick == seconds * 100 / 6 {
            after_a_sixth = resident_kib();
        }
    }
    let at_the_end = resident_kib();
    let took = start.elapsed().as_secs_f64();
    let refusal = refusal_cost(&statsig, &server).await;
    let stats = statsig.stats();
    statsig.shutdown(2 * TIMEOUT).await;
    let growth = at_the_end as f64 / after_a_sixth as f64;
    println!(
        "overload: {:.0} requests/s asked for {took:.0} s, {:.0}/s answered, {:.0}/s failed, \
         {:.0}/s refused in {refusal:?} each, {} wrong, longest {:.0?}; resident {after_a_sixth} \
         KiB after a sixth, {at_the_end} KiB at the end ({growth:.2}); queueing p99 {} us",
        ASKED as f64,
        seen.0.answered.load(Relaxed) as f64 / took,
        seen.0.failed.load(Relaxed) as f64 / took,
        seen.0.refused.load(Relaxed) as f64 / took,
        seen.wrong(),
        seen.longest(),
        stats.queueing.p99_us,
    );
    let in_time = seen.longest() <= TIMEOUT + GRACE;
    growth < 1.1 && in_time && seen.wrong() == 0 && refusal < Duration::from_millis(1)
}

/// Measures the time of one refusal, on the caller's thread.
async fn refusal_cost(statsig: &Statsig, server: &LocalStatsig) -> Duration {
    server.inject(Fault::hang().always());
    let full = (0..20).map(|n| {
        let statsig = statsig.clone();
        let names = (0..100).map(move |gate| format!("gate {n} {gate}"));
        actix_rt::spawn(async move {
            let _ = statsig.check_gates(&user(1_000 + n), names).await;
        })
    });
    let full: Vec<_> = full.collect();
    actix_rt::task::yield_now().await;
    let user = user(1);
    let start = Instant::now();
    let refused = join_all((0..1_000).map(|_| statsig.check_gate(&user, "number 1"))).await;
    let took = start.elapsed() / 1_000;
    let refused = refused.iter().filter(|r| matches!(r, Err(Error::Overloaded { .. }))).count();
    assert_eq!(refused, 1_000, "everything is full");
    server.clear_faults();
    full.iter().for_each(actix_rt::task::JoinHandle::abort);
    took
}

/// Mixes all faults. At the end, memory must be as it was after the first minute, and no socket may
/// be left.
async fn soak(seconds: u64) -> bool {
    let server = LocalStatsig::start(rules()).expect("a free port");
    server.keep_requests(0);
    let faults: [fn() -> Fault; 9] = [
        || Fault::delay(Duration::from_millis(50)),
        Fault::hang,
        Fault::stall_body,
        Fault::reset,
        Fault::reset_mid_body,
        Fault::truncated,
        Fault::close,
        || Fault::status(503),
        Fault::garbage,
    ];
    for (seed, fault) in faults.into_iter().enumerate() {
        server.inject(fault().with_probability(0.01, seed as u64).always());
    }
    let statsig = start(config(server.url()));
    let seen = Seen::default();
    let watch = async {
        sleep(warm_up(seconds)).await;
        let warm = resident_kib();
        let mut most_sockets = 0;
        let until = Instant::now() + Duration::from_secs(seconds).saturating_sub(warm_up(seconds));
        while Instant::now() < until {
            sleep(Duration::from_secs(1)).await;
            most_sockets = most_sockets.max(server.open_connections());
        }
        (warm, most_sockets)
    };
    let length = Duration::from_secs(seconds);
    let (rate, (warm, most_sockets)) = tokio::join!(run(&statsig, &seen, length), watch);
    let end = resident_kib();
    let stats = statsig.stats();
    let counted = stats.answered + stats.errors.values().sum::<u64>() + stats.abandoned;
    statsig.shutdown(TIMEOUT).await;
    let growth = end as f64 / warm as f64;
    println!(
        "soak: {seconds} s, {rate:.0} requests/s, {} answered, {} failed, {} wrong, longest \
         {:.0?}; resident {warm} KiB when warm, {end} KiB at the end ({growth:.2}); at most \
         {most_sockets} sockets; {} requests, {counted} accounted for; errors {:?}",
        seen.0.answered.load(Relaxed),
        seen.0.failed.load(Relaxed),
        seen.wrong(),
        seen.longest(),
        stats.requests,
        stats.errors,
    );
    let adds_up = counted == stats.requests;
    let in_time = seen.longest() <= TIMEOUT + GRACE;
    growth < 1.1 && seen.wrong() == 0 && adds_up && in_time && most_sockets <= 2 * CALLERS
}

fn warm_up(seconds: u64) -> Duration {
    Duration::from_secs((seconds / 10).clamp(1, 60))
}

/// Stops the server for twice the timeout, and continues it. Meanwhile, callers must get errors in
/// time. Right answers must return as soon as a probe can have seen the server again, and then no
/// check may fail.
async fn stopped() -> bool {
    let (mut server, url) = spawn_server().expect("this program as a server");
    let statsig = start(config(url));
    let seen = Seen::default();
    let asking = {
        let (statsig, seen) = (statsig.clone(), seen.clone());
        actix_rt::spawn(async move { run(&statsig, &seen, Duration::from_secs(8)).await })
    };
    sleep(Duration::from_secs(2)).await;
    signal(&server, "STOP");
    sleep(2 * TIMEOUT).await;
    let during = statsig.stats();
    signal(&server, "CONT");
    let continued = Instant::now();
    let answered = seen.0.answered.load(Relaxed);
    while seen.0.answered.load(Relaxed) == answered {
        sleep(Duration::from_millis(1)).await;
    }
    let recovered = continued.elapsed();
    // Requests that were in flight when the server continued may still time out.
    sleep(TIMEOUT).await;
    let failed = seen.0.failed.load(Relaxed);
    asking.await.expect("the callers");
    let failed = seen.0.failed.load(Relaxed) - failed;
    statsig.shutdown(TIMEOUT).await;
    // How the server ends does not matter.
    let _ = server.kill();
    let _ = server.wait();
    println!(
        "stopped for {:?}: errors meanwhile {:?}, breaker {:?}; right answers {recovered:.0?} \
         after it continued, and {failed} errors from a second later on; {} answered, {} wrong, \
         longest {:.0?}",
        2 * TIMEOUT,
        during.errors,
        during.breaker,
        seen.0.answered.load(Relaxed),
        seen.wrong(),
        seen.longest(),
    );
    // A probe begins every half second.
    let in_time = seen.longest() <= TIMEOUT + GRACE;
    recovered < Duration::from_millis(600) && failed == 0 && seen.wrong() == 0 && in_time
}

/// Runs this program again as the server, so that the server can be stopped alone.
fn spawn_server() -> io::Result<(Child, String)> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut url = String::new();
    BufReader::new(stdout).read_line(&mut url)?;
    Ok((child, url.trim().to_owned()))
}

fn serve() -> bool {
    let server = LocalStatsig::start(rules()).expect("a free port");
    println!("{}", server.url());
    io::stdout().flush().expect("a reader");
    // Serve until the parent process closes the pipe.
    let _ = io::stdin().read_line(&mut String::new());
    true
}

fn signal(process: &Child, name: &str) {
    let signal = format!("-{name}");
    let sent = Command::new("kill").args([&signal, &process.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}
