// The document

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
  open: ['Open', 'The last calls failed in a row: calls wait for a probe, and fail with it.', 'M14 17L31 3'],
  half_open: ['Half open', 'A probe is on its way, and decides.', 'M14 17L33 9'],
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

/** Of what was refused, failed or stale, no call was saved. */
function showSaved({ answered_names, answered_calls: calls, stale }) {
  const checks = answered_names - stale;
  const saved = Math.max(0, checks - calls);
  put(byId('saved'), whole(saved));
  put(byId('saved-why'), checks > 0 ? `${whole(calls)} calls were enough for ${whole(checks)} answered checks since the start: ${percent(saved / checks)} fewer than one each.` : 'Nothing has been answered yet.');
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
