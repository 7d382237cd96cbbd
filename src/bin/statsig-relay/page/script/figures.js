'use strict';

const EVERY = 1000;      // ms from one question to the next
const PATIENCE = 3000;   // ms an answer may take
const WINDOW = 180000;   // ms that the charts show
const TOO_FAR = 5000;    // ms between two snapshots beyond which a rate says nothing about now

// What is known

const known = {
  data: null,        // the last answer
  at: Date.now(),    // when it came; until there is one, when the page was opened
  version: null,     // the relay's when the page was opened: the one it is made for
  offset: 0,         // what turns the relay's uptime into this machine's time
  samples: [],       // figures and gaps, the oldest first
  problem: null,     // why there is no answer now: {refused} or {words}
  restarted: 0,      // when a restart was seen
  paused: false,
  key: '',
  cursor: null,      // the time of the sample that is pointed at
};

const resting = () => known.paused || document.hidden;

function heard(data, at) {
  const before = known.data;
  const restarted = before && before.run !== data.run;
  if (restarted) known.restarted = at;
  if (!before || restarted) known.offset = at - data.uptime_ms;
  const follows = before && !restarted && !known.problem && data.uptime_ms - before.uptime_ms < TOO_FAR;
  if (!follows) known.samples.push({ at, gap: true });
  known.samples.push({ at, buffered: data.stats.buffered, inFlight: data.stats.in_flight, ...(follows && rates(before, data)) });
  Object.assign(known, { data, at, problem: null, version: known.version ?? data.version });
  forget(at);
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
  const grown = count => Math.max(0, count(after.stats) - count(before.stats));
  const [checks, calls, cached, errors] = [s => s.names, s => s.calls, s => s.cached, failed].map(grown);
  const hits = checks ? Math.min(1, cached / checks) : null;
  return { checks: checks / seconds, calls: calls / seconds, errors: errors / seconds, hits, grown: { checks, cached } };
}

const failed = stats => Object.values(stats.errors).reduce((sum, count) => sum + count, 0);

function hitsOfLastMinute() {
  const late = known.samples.filter(sample => sample.grown && known.at - sample.at < 60000);
  const sum = field => late.reduce((sum, sample) => sum + sample.grown[field], 0);
  return sum('checks') ? Math.min(1, sum('cached') / sum('checks')) : null;
}
