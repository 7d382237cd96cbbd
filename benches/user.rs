//! Measures the cost of making a user, field by field and from JSON. A page makes a user for each
//! of its requests.
//!
//! `cargo bench --all-features --bench user`

use std::hint::black_box;

use actix_statsig::User;
use criterion::{Criterion, criterion_group, criterion_main};

const USER: &str = r#"{"userID": "user-004711", "email": "marie@example.com", "ip": "203.0.113.7",
    "country": "NL", "custom": {"plan": "pro", "seats": 12}}"#;

fn user(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("user");
    group.bench_function("with the builder, six fields", |bencher| {
        bencher.iter(|| {
            let user = User::builder()
                .user_id(black_box("user-004711"))
                .email(black_box("marie@example.com"))
                .ip(black_box("203.0.113.7"))
                .country(black_box("NL"))
                .custom("plan", black_box("pro"))
                .custom("seats", black_box(12));
            user.build().expect("valid")
        });
    });
    group.bench_function("with the builder, an id", |bencher| {
        bencher.iter(|| User::new(black_box("user-004711")).expect("valid"));
    });
    group.bench_function("from JSON text", |bencher| {
        bencher.iter(|| serde_json::from_str::<User>(black_box(USER)).expect("valid"));
    });
    group.bench_function("from a JSON value, which is cloned", |bencher| {
        let json: serde_json::Value = serde_json::from_str(USER).expect("JSON");
        bencher.iter(|| User::from_json(black_box(&json).clone()).expect("valid"));
    });
    group.finish();
}

criterion_group!(benches, user);
criterion_main!(benches);
