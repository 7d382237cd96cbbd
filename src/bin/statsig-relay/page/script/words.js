// Figures as text

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
