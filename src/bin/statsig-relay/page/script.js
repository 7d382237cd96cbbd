
'use strict';

const EVERY = 1000;      // ms from one question to the next
const PATIENCE = 3000;   // ms an answer may take
const WINDOW = 180000;   // ms that the charts show
const TOO_FAR = 5000;    // ms between two snapshots beyond which a rate says nothing about now

// 1. What is known

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

// 2. Asking: one question at a time, none while nobody looks

let timer = 0, asking = false;

async function tick() {
  clearTimeout(timer);
  if (asking || resting()) return;
  asking = true;
  const began = Date.now();
  try {
    heard(await ask(), Date.now());
  } catch (problem) {
    missed({ refused: problem.refused, words: problem.words || 'No answer' }, Date.now());
  } finally {
    asking = false;
  }
  if (!resting()) timer = setTimeout(tick, Math.max(EVERY / 4, began + EVERY - Date.now()));
  try {
    show();
  } catch {
    // A relay of another version may say what this page has no words for.
    known.data = null;
    missed({ words: 'No answer that this page can read' }, Date.now());
    show();
  }
}

async function ask() {
  const headers = known.key ? { 'statsig-api-key': known.key } : {};
  const answer = await fetch('watch', { headers, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401) throw { refused: true };
  if (!answer.ok) throw { words: `Only status ${answer.status}` };
  return answer.json();
}

// 3. Words for figures

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const whole = value => grouped.format(value);
const rate = value => value > 0 && value < 10 ? value.toFixed(1) : whole(value);
const percent = value => `${(value * 100).toFixed([0, 0.5, 1].includes(value) ? 0 : 1)}\u00a0%`;
const or = (value, words) => value === null || value === undefined ? '–' : words(value);
const clock = at => new Date(at).toLocaleTimeString('en-GB');

function duration(us) {
  if (us < 1000) return `${us}\u00a0µs`;
  if (us < 1e6) return `${(us / 1000).toPrecision(us < 1e5 ? 2 : 3)}\u00a0ms`;
  return `${(us / 1e6).toPrecision(3)}\u00a0s`;
}

function age(ms) {
  const [s, min, h] = [1, 60, 3600].map(unit => Math.floor(ms / 1000 / unit));
  if (s < 60) return `${s} s`;
  if (min < 60) return `${min} min ${s % 60} s`;
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} days`;
}

// 4. The document

const byId = id => document.getElementById(id);

/** Changes a text only where it differs: what has not changed is not announced again. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, attributes = {}, ...children) {
  const svg = ['svg', 'path'].includes(name);
  const element = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

function state() {
  if (known.problem) return known.problem.refused ? 'refused' : 'lost';
  if (known.paused) return 'paused';
  return known.data ? 'live' : 'waiting';
}

function show() {
  const now = state();
  document.body.dataset.state = now;
  showState(now);
  if (known.data) {
    showBreaker(known.data);
    showSaved(known.data.stats);
    showLatency(known.data.stats);
    showErrors(known.data.recent_errors);
    showCounts(known.data);
  }
  for (const chart of charts) chart.draw();
}

function showState(now) {
  const words = { waiting: 'Asking', live: 'Live', paused: 'Paused', lost: 'No answer', refused: 'Key needed' };
  put(byId('state-word'), words[now]);
  put(byId('pause'), known.paused ? 'Resume' : 'Pause');
  put(byId('notice'), notice(now));
  byId('ask-key').hidden = now !== 'refused';
  const { data } = known;
  if (data) put(byId('about'), `Version ${data.version}, up ${age(data.uptime_ms)}, asks ${data.upstream}`);
  const trouble = ['lost', 'refused'].includes(now) ? words[now].toLowerCase()
    : data && data.stats.breaker !== 'closed' ? 'circuit breaker ' + breakers[data.stats.breaker][0].toLowerCase() : '';
  document.title = (trouble && `⚠ ${trouble} – `) + 'statsig-relay';
}

function notice(now) {
  const then = known.data ? `since ${clock(known.at)}. The figures below are from then.` : 'yet.';
  const goesOn = known.paused ? 'It is asked again when you resume.' : 'It is asked again every second.';
  if (now === 'lost') return `${known.problem.words} from the relay ${then} ${goesOn}`;
  if (now === 'refused' && known.key) return 'The relay does not know this key. Give one of those it was started with.';
  if (now === 'refused') return 'The relay shows its figures only to callers with a key. Give one of those it was started with.';
  if (known.data && known.data.version !== known.version) return `The relay is of version ${known.data.version} now: reload this page.`;
  if (known.at - known.restarted < 60000) return `The relay was restarted before ${clock(known.restarted)}, and counts from zero.`;
  return '';
}

const breakers = {
  closed: ['Closed', 'Calls are let through.', 'M14 17H34'],
  open: ['Open', 'The last calls failed in a row: for now, calls fail at once.', 'M14 17L31 3'],
  half_open: ['Half open', 'One call is let through, and decides.', 'M14 17L33 9'],
  off: ['Off', 'Calls are always let through.', ''],
};

function showBreaker({ stats, has_breaker }) {
  const is = has_breaker ? stats.breaker : 'off';
  const [word, why, lever] = breakers[is];
  const last = stats.last_call_failed ? 'The last one failed.' : stats.call.count ? 'The last one was answered.' : '';
  byId('breaker').dataset.is = is;
  byId('lever').setAttribute('d', lever);
  put(byId('breaker-word'), word);
  put(byId('breaker-why'), is === 'open' ? why : `${why} ${last}`);
}

function showSaved({ names, calls }) {
  put(byId('saved'), whole(names - calls));
  put(byId('saved-why'), names ? `${whole(calls)} calls for ${whole(names)} checks since the start: ${percent(1 - calls / names)} fewer than one each.` : 'Nothing has been asked yet.');
}

function showLatency({ call, queueing }) {
  const rows = { p50: 'p50_us', p90: 'p90_us', p99: 'p99_us', longest: 'max_us' };
  fill(byId('latency'), Object.entries(rows).map(([name, field]) => [name, call, queueing].map(of =>
    typeof of === 'string' ? of : of.count ? duration(of[field]) : '–')), cells =>
    make('tr', {}, make('th', { scope: 'row' }), ...cells.slice(1).map(() => make('td'))));
}

function showErrors(errors) {
  put(byId('no-errors'), errors.length ? '' : 'None since the start.');
  const start = known.offset + known.data.uptime_ms;
  fill(byId('errors'), errors.map(error => [
    error.kind.replaceAll('_', ' '), error.message,
    `${error.times > 1 ? `${whole(error.times)} times, last at` : 'at'} ${clock(start - error.ago_ms)}`,
  ]), () => make('li', {}, make('strong'), ' ', make('span'), make('span', { class: 'when' })));
}

function showCounts({ stats }) {
  const kinds = counts => Object.entries(counts).map(([kind, count]) => ['– ' + kind.replaceAll('_', ' '), count]);
  const rows = [
    ['Requests', stats.requests], ['Checks in them', stats.names],
    ['Checks answered from the cache', stats.cached], ['Of these, stale ones while upstream failed', stats.stale],
    ['Checks that joined a call under way', stats.joined],
    ['Calls', stats.calls], ['Attempts beyond the first', stats.retries],
    ['Requests answered', stats.answered], ['Requests whose callers left', stats.abandoned],
    ['Requests that got an error', failed(stats)], ...kinds(stats.errors),
    ['Restarts of the actors after a failure', stats.restarts],
  ];
  if (stats.hooks_missed) rows.push(['Errors too many for the list', stats.hooks_missed]);
  const list = byId('counts');
  while (list.children.length > 2 * rows.length) list.lastChild.remove();
  while (list.children.length < 2 * rows.length) list.append(make('dt'), make('dd'));
  rows.forEach(([name, count], row) => {
    put(list.children[2 * row], name);
    put(list.children[2 * row + 1], whole(count));
  });
}

/** Puts rows of texts into a list's items, which are kept as far as there are any. */
function fill(list, rows, item) {
  while (list.children.length > rows.length) list.lastElementChild.remove();
  while (list.children.length < rows.length) list.append(item(rows[list.children.length]));
  rows.forEach((texts, row) => texts.forEach((text, at) => put(list.children[row].children[at], text)));
}

// 5. Charts

const charts = [
  chart('Checks and calls a second', rate, [
    { word: 'checks', of: s => s.checks, style: 'first' },
    { word: 'calls', of: s => s.calls, style: 'second' },
  ]),
  chart('Answered from the cache', percent, [
    { word: 'of the checks', of: s => s.hits, style: 'first', now: hitsOfLastMinute, nowWord: () => 'of the last minute’s checks' },
  ], 1),
  chart('On the way', whole, [
    { word: 'names buffered', of: s => s.buffered, style: 'first' },
    { word: 'calls in flight', of: s => s.inFlight, style: 'second', nowWord: () => known.data && `calls in flight, for ${known.data.max_in_flight} places` },
  ]),
  chart('Errors a second', rate, [{ word: 'requests', of: s => s.errors, style: 'failed' }]),
];

/** A chart of one or two lines, whose figures are put into words by `words`. */
function chart(name, words, lines, most = 0) {
  const figure = byId('chart').content.cloneNode(true).firstElementChild;
  const [svg, ticks, end, when, body] = ['.plot svg', '.ticks', '.end', '.when', 'tbody'].map(part => figure.querySelector(part));
  const [grid, area, cursor] = ['grid', 'area', 'cursor'].map(part => make('path', { class: part }));
  const drawn = lines.map(spec => {
    const [line, dot] = ['line', 'dot'].map(part => make('path', { class: `${part} ${spec.style}` }));
    const [value, label] = [make('b'), make('span')];
    const sign = make('svg', { viewBox: '0 0 20 4', 'aria-hidden': 'true' }, make('path', { class: `line ${spec.style}`, d: 'M1 2h18' }));
    figure.querySelector('.legend').append(make('li', {}, sign, value, label));
    return { ...spec, line, dot, value, label };
  });
  put(figure.querySelector('h3'), name);
  svg.append(grid, area, ...drawn.map(d => d.line), cursor, ...drawn.map(d => d.dot));
  figure.querySelector('thead tr').append(...['time', ...lines.map(line => line.word)].map(word => make('th', { scope: 'col' }, word)));
  figure.querySelector('.scroll').setAttribute('aria-label', `${name}, second by second`);
  byId('charts').append(figure);
  let labelled = 0, rowed = 0;

  function draw() {
    const { samples } = known;
    const edge = samples.length ? samples.at(-1).at : known.at;
    const top = most || nice(Math.max(...samples.flatMap(s => drawn.map(d => d.of(s) ?? 0)), 0));
    const x = at => 1000 - (edge - at) / WINDOW * 1000;
    const y = value => 100 - value / top * 100;
    const pointed = samples.find(s => s.at === known.cursor && !s.gap);
    const latest = samples.findLast(s => !s.gap);
    grid.setAttribute('d', 'M0 0H1000M0 50H1000M0 100H1000');
    fill(ticks, [top, top / 2, 0].map(value => [words === percent ? percent(value) : short.format(value)]), () => make('span', {}, make('span')));
    [...ticks.children].forEach((tick, i) => { tick.style.top = `${i * 50}%`; });
    for (const d of drawn) {
      d.line.setAttribute('d', path(samples, d.of, x, y));
      const value = pointed ? d.of(pointed) : d.now ? d.now() : latest && d.of(latest);
      put(d.value, or(value, words));
      put(d.label, !pointed && d.nowWord?.() || d.word);
      const at = pointed && d.of(pointed);
      d.dot.setAttribute('d', typeof at === 'number' ? `M${x(pointed.at)} ${y(at)}h0` : '');
    }
    area.setAttribute('d', shade(path(samples, drawn[0].of, x, y)));
    cursor.setAttribute('d', pointed ? `M${x(pointed.at)} 0V100` : '');
    put(when, pointed ? clock(pointed.at) : '');
    put(end, known.paused ? clock(edge) : 'now');
    if (edge - labelled > 10000) label(edge, latest);
    if (figure.querySelector('details').open) rows();
  }

  function label(edge, latest) {
    labelled = edge;
    const text = drawn.map(d => {
      const most = Math.max(...known.samples.map(d.of).filter(Number.isFinite), 0);
      return `${d.word}: ${or(latest && d.of(latest), words)} at ${clock(edge)}, at most ${words(most)}`;
    });
    svg.setAttribute('aria-label', `${name}, the last three minutes. ${text.join('; ')}.`);
  }

  function rows() {
    const fresh = known.samples.filter(s => !s.gap && s.at > rowed);
    body.prepend(...fresh.map(s => make('tr', {}, ...[clock(s.at), ...drawn.map(d => or(d.of(s), words))].map(text => make('td', {}, text)))).reverse());
    while (body.rows.length > WINDOW / EVERY) body.lastElementChild.remove();
    rowed = known.samples.at(-1)?.at ?? rowed;
  }

  function point(sample, aloud) {
    known.cursor = sample ? sample.at : null;
    for (const chart of charts) chart.draw();
    const said = sample && `${clock(sample.at)}: ${drawn.map(d => `${or(d.of(sample), words)} ${d.word}`).join(', ')}`;
    put(byId('spoken'), aloud && said || '');
  }

  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const solid = known.samples.filter(s => !s.gap);
    const at = known.samples.length && known.samples.at(-1).at - (box.right - event.clientX) / box.width * WINDOW;
    point(solid.toSorted((a, b) => Math.abs(a.at - at) - Math.abs(b.at - at))[0]);
  });
  svg.addEventListener('pointerleave', () => point(null));
  svg.addEventListener('blur', () => point(null));
  svg.addEventListener('keydown', event => {
    const solid = known.samples.filter(s => !s.gap);
    const at = solid.findIndex(s => s.at === known.cursor);
    const to = { ArrowLeft: at < 0 ? -1 : Math.max(at - 1, 0), ArrowRight: at < 0 ? -1 : Math.min(at + 1, solid.length - 1), Home: 0, End: -1 }[event.key];
    if (event.key === 'Escape') point(null);
    else if (to !== undefined) { point(solid.at(to), true); event.preventDefault(); }
  });
  figure.querySelector('details').addEventListener('toggle', draw);
  return { draw };
}

/** The least of 2, 4, 6, 8, 10, 20, … that is no less: the middle has a short name too. */
function nice(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 6, 8, 10].map(step => step * ten).find(top => top >= value);
}

/** A line with a break wherever there is no figure. */
function path(samples, of, x, y) {
  let d = '', pen = 'M';
  for (const sample of samples) {
    const value = of(sample);
    if (typeof value !== 'number') { pen = 'M'; continue; }
    d += `${pen}${x(sample.at).toFixed(1)} ${y(value).toFixed(2)}${pen === 'M' ? 'h0' : ''}`;
    pen = 'L';
  }
  return d;
}

/** The surface below a line, piece by piece. */
function shade(line) {
  return line.split('M').slice(1).map(piece => {
    const xs = piece.split('L').map(pair => pair.split(' ')[0]);
    return `M${xs[0]} 100L${piece.replace('h0', '')}L${xs.at(-1)} 100Z`;
  }).join('');
}

// 6. What one can do

byId('pause').addEventListener('click', () => {
  known.paused = !known.paused;
  show();
  tick();
});
byId('ask-key').addEventListener('submit', event => {
  event.preventDefault();
  known.key = byId('key').value;
  byId('key').value = '';
  tick();
});
document.addEventListener('visibilitychange', tick);
show();
tick();
