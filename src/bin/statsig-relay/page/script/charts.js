// Charts

const charts = [
  chart('Checks and calls a second', rate, [
    { word: 'checks', of: s => s.checks, style: 'first' },
    { word: 'calls', of: s => s.calls, style: 'second' },
  ]),
  chart('Answered from the cache', percent, [
    { word: 'of the checks', of: s => s.hits, style: 'first', now: hitsOfLastMinute, nowWord: () => 'of the last minute’s checks' },
  ], 1),
  chart('Waiting', whole, [
    { word: 'names buffered', of: s => s.buffered, style: 'first' },
    { word: 'calls in flight', of: s => s.inFlight, style: 'second', nowWord: () => known.data && `calls in flight, for ${known.data.max_in_flight} places` },
  ]),
  chart('Errors a second', rate, [{ word: 'requests', of: s => s.errors, style: 'failed' }]),
];

/** Creates a chart of one or two lines. `words` formats their figures. */
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

/** Rounds up to 2, 4, 6, 8, 10, 20, …, so that the middle of the axis has a short label too. */
function nice(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 6, 8, 10].map(step => step * ten).find(top => top >= value);
}

/** Returns the path of a line, broken where a figure is missing. */
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

/** Returns the path of the area below a line, piece by piece. */
function shade(line) {
  return line.split('M').slice(1).map(piece => {
    const xs = piece.split('L').map(pair => pair.split(' ')[0]);
    return `M${xs[0]} 100L${piece.replace('h0', '')}L${xs.at(-1)} 100Z`;
  }).join('');
}
