// The document

const byId = id => document.getElementById(id);

/** Changes a text only if it differs, so that screen readers do not announce it again. */
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
    showLatency(known.data);
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
  const goesOn = known.paused ? 'The page asks again when you resume.' : 'The page asks again every second.';
  if (now === 'lost') return `${known.problem.words} from the relay ${then} ${goesOn}`;
  if (now === 'refused' && known.key) return 'The relay does not know this key. Enter one of the keys in its configuration.';
  if (now === 'refused') return 'The relay shows its figures only to callers with a key. Enter one of the keys in its configuration.';
  if (known.data && known.data.version !== known.version) return `The relay now has version ${known.data.version}: reload this page.`;
  if (known.at - known.restarted < 60000) return `The relay was restarted shortly before ${clock(known.restarted)}, and counts from zero.`;
  return '';
}

const breakers = {
  closed: ['Closed', 'Calls go to Statsig.', 'M14 17H34'],
  open: ['Open', 'The last calls failed in a row. Calls wait for the next probe, and fail if it fails.', 'M14 17L31 3'],
  half_open: ['Half open', 'A probe is in flight. Its outcome closes or opens the breaker.', 'M14 17L33 9'],
  off: ['Off', 'Calls always go to Statsig.', ''],
};

function showBreaker({ stats, has_breaker }) {
  const is = has_breaker ? stats.breaker : 'off';
  const [word, why, lever] = breakers[is];
  const last = stats.last_call_failed ? 'The last call failed.' : stats.call.count ? 'The last call was answered.' : '';
  byId('breaker').dataset.is = is;
  byId('lever').setAttribute('d', lever);
  put(byId('breaker-word'), word);
  put(byId('breaker-why'), is === 'open' ? why : `${why} ${last}`);
}

/** Counts no check that was refused, failed or stale: such a check saved no call. */
function showSaved({ answered_names, answered_calls: calls, stale }) {
  const checks = answered_names - stale;
  const saved = Math.max(0, checks - calls);
  put(byId('saved'), whole(saved));
  put(byId('saved-why'), checks > 0 ? `${whole(calls)} calls were enough for ${whole(checks)} answered checks since the start: ${percent(saved / checks)} fewer than one call for each check.` : 'No check has been answered yet.');
}

function showLatency({ waits, stats: { call, queueing } }) {
  const rows = { p50: 'p50_us', p90: 'p90_us', p99: 'p99_us', longest: 'max_us' };
  fill(byId('latency'), Object.entries(rows).map(([name, field]) => [name, waits, queueing, call].map(of =>
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

function showCounts({ stats, refused_bodies }) {
  const kinds = counts => Object.entries(counts).map(([kind, count]) => ['– ' + kind.replaceAll('_', ' '), count]);
  const rows = [
    ['Requests', stats.requests], ['Checks in them', stats.names],
    ['Checks answered from the cache', stats.cached], ['– stale answers, because Statsig failed', stats.stale],
    ['Checks that joined a call in flight', stats.joined],
    ['Calls', callsOf(stats)], ['Retries', stats.retries],
    ['Calls refused before an attempt', stats.refused_calls],
    ['Requests answered', stats.answered], ['Requests whose callers left', stats.abandoned],
    ['Requests refused for their bodies', sum(refused_bodies)], ...kinds(refused_bodies),
    ['Requests that got an error', sum(stats.errors)], ...kinds(stats.errors),
    ['Restarts after a fault in the relay', stats.restarts],
  ];
  if (stats.hooks_missed) rows.push(['Errors missing in the list', stats.hooks_missed]);
  const list = byId('counts');
  while (list.children.length > 2 * rows.length) list.lastChild.remove();
  while (list.children.length < 2 * rows.length) list.append(make('dt'), make('dd'));
  rows.forEach(([name, count], row) => {
    put(list.children[2 * row], name);
    put(list.children[2 * row + 1], whole(count));
  });
}

/** Puts rows of texts into a list, and reuses the list's items. */
function fill(list, rows, item) {
  while (list.children.length > rows.length) list.lastElementChild.remove();
  while (list.children.length < rows.length) list.append(item(rows[list.children.length]));
  rows.forEach((texts, row) => texts.forEach((text, at) => put(list.children[row].children[at], text)));
}
