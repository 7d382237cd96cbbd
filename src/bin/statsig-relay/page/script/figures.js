'use strict';

const EVERY = 1000;      // ms between two requests
const PATIENCE = 3000;   // ms until a request times out
const WINDOW = 180000;   // ms that the charts show
const TOO_FAR = 5000;    // ms between two samples; beyond that, their rate is out of date

// The page's state

const known = {
  data: null,        // the last answer
  at: Date.now(),    // the time of the last answer, or when the page was opened
  version: null,     // the relay's version when the page was opened, which this page matches
  offset: 0,         // add it to the relay's uptime to get this machine's time
  samples: [],       // figures and gaps, the oldest first
  problem: null,     // why the last request got no answer: {refused} or {words}
  restarted: 0,      // when a restart was noticed
  paused: false,
  key: '',
  cursor: null,      // the time of the sample under the pointer
};

const resting = () => known.paused || document.hidden;

function heard(data, at) {
  const before = known.data;
  const restarted = before && before.run !== data.run;
  if (restarted) known.restarted = at;
  if (!before || restarted) known.offset = at - data.uptime_ms;
  const counts = countsOf(data);
  if (data.history) {
    // The relay's own samples fill the charts, except the last half second, too short for a rate.
    const history = data.history.filter(past => past.uptime_ms <= counts.uptime_ms - EVERY / 2);
    const start = known.offset + (history[0] || counts).uptime_ms;
    known.samples = known.samples.filter(sample => sample.at < start);
    [...history, counts].forEach((now, i, all) => add(all[i - 1], now));
  } else {
    add(!restarted && !known.problem && before && countsOf(before), counts, at);
  }
  Object.assign(known, { data, at, problem: null, version: known.version ?? data.version });
  forget(at);
}

/** Adds a sample, after a gap if the previous sample is too old. */
function add(before, now, at = known.offset + now.uptime_ms) {
  const follows = before && now.uptime_ms - before.uptime_ms < TOO_FAR;
  if (!follows) known.samples.push({ at, gap: true });
  known.samples.push({ at, buffered: now.buffered, inFlight: now.in_flight, ...(follows && rates(before, now)) });
}

/** Whether the charts have a recent gap, which the relay's history can fill. */
const needsHistory = () => !known.data || known.problem || Date.now() - known.at > TOO_FAR;

/** Returns an answer's counts, in the format of the relay's history. */
function countsOf({ uptime_ms, stats, refused_bodies }) {
  const { names, cached, buffered, in_flight } = stats;
  return { uptime_ms, names, cached, buffered, in_flight, calls: callsOf(stats), errors: sum(stats.errors) + sum(refused_bodies) };
}

function missed(problem, at) {
  known.problem = problem;
  known.samples.push({ at, gap: true });
  forget(at);
}

function forget(now) {
  known.samples = known.samples.filter(sample => now - sample.at <= WINDOW);
}

function rates(before, after) {
  const seconds = (after.uptime_ms - before.uptime_ms) / 1000;
  if (seconds <= 0) return {};
  const [checks, calls, cached, errors] = ['names', 'calls', 'cached', 'errors'].map(of => Math.max(0, after[of] - before[of]));
  const hits = checks ? Math.min(1, cached / checks) : null;
  return { checks: checks / seconds, calls: calls / seconds, errors: errors / seconds, hits, grown: { checks, cached } };
}

/** Calls to Statsig, except calls that the relay refused before an attempt. */
const callsOf = stats => stats.calls - (stats.refused_calls || 0);

const sum = counts => Object.values(counts || {}).reduce((sum, count) => sum + count, 0);

function hitsOfLastMinute() {
  const recent = known.samples.filter(sample => sample.grown && known.at - sample.at < 60000);
  const total = field => recent.reduce((total, sample) => total + sample.grown[field], 0);
  return total('checks') ? Math.min(1, total('cached') / total('checks')) : null;
}
