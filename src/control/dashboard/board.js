/* What the server counts, each second, and what it is asked less often. */
const ASK_MS = 3_500, SHARE = 50, WINDOW_S = 10, LINES = 6;
const PLOTS = [
  { id: 'connections', title: 'Connections', show: (n) => number.format(n) },
  { id: 'publications', title: 'Publications', show: rate },
  { id: 'deliveries', title: 'Deliveries', show: rate },
  { id: 'coalescing', title: 'Deliveries per send', show: (n) => `× ${fine.format(n)}`, least: 2 },
  { id: 'sweeps', title: 'Sweep of a channel', names: ['p50', 'p99'], show: seconds, least: 1e-3 },
  { id: 'blocked', title: 'Full sockets', show: (n) => number.format(n) },
  { id: 'load', title: 'Shards at work', show: (n) => `${fine.format(n)} %`, least: 100 },
  { id: 'memory', title: 'Memory', show: bytes, base: 1024, least: 1048576 },
];
const plots = Object.fromEntries(PLOTS.map((of) => [of.id, new Plot(of)]));
$('plots').append(...Object.values(plots).map((plot) => plot.root));
const rates = new Plot({ title: 'Records of the inputs', names: [], show: rate, heading: false });
$('rates').append(rates.root);

/* Answers of the last seconds, the newest last. Rates are of this machine's clock. */
let answers = [], asking = false;

/* What changed over an answer or more: null from the first, and from a server that was started again. */
function change(over, of) {
  const last = answers.at(-1), first = answers.at(-1 - Math.min(over, answers.length - 1));
  const by = answers.length > 1 ? of(last.stats) - of(first.stats) : -1;
  return by < 0 ? null : { by, seconds: (last.now - first.now) / 1000 };
}

const perSecond = (of) => { const it = change(1, of); return it && it.by / it.seconds; };
const shown = (value, by) => (value === null ? '–' : by(value));

/* The quantile of a histogram as it changed, as far as its buckets tell. */
function quantile(of, q) {
  const last = of(answers.at(-1).stats), first = of(answers.at(-1 - Math.min(WINDOW_S, answers.length - 1)).stats);
  const counts = last.counts.map((n, at) => n - first.counts[at]), all = counts.reduce((sum, n) => sum + n, 0);
  if (all <= 0 || counts.some((n) => n < 0)) return null;
  let below = 0;
  const at = counts.findIndex((n) => { below += n; return below >= q * all; });
  const from = at ? last.up_to_us[at - 1] : 0, to = last.up_to_us[at] ?? from;
  return (from + (to - from) * (q * all - below + counts[at]) / counts[at]) / 1e6;
}

function draw(stats) {
  const at = Date.now(), c = stats.connections, put = (id, value, by, detail) => plots[id].add(at, [value], shown(value, by), detail);
  const others = [[c.json, 'JSON'], [c.other, 'other']].filter(([n]) => n).map(([n, what]) => `, ${total(n)} ${what}`);
  put('connections', c.total, total, `${total(c.websocket)} WS, ${total(c.sse)} SSE${others.join('')}`);
  put('publications', perSecond((s) => s.publications), rate, `${total(stats.publications)} in all`);
  put('deliveries', perSecond((s) => s.deliveries), rate, `${total(stats.deliveries)} in all`);
  const sent = change(1, (s) => s.sends), delivered = change(1, (s) => s.deliveries);
  put('coalescing', sent && delivered && sent.by ? delivered.by / sent.by : null, (n) => `× ${fine.format(n)}`, `${total(stats.sends)} sends in all`);
  const [middle, slow] = [0.5, 0.99].map((q) => quantile((s) => s.sweeps, q));
  const late = quantile((s) => s.delivered_last, 0.99);
  plots.sweeps.add(at, [middle, slow], shown(slow, seconds), slow === null ? 'none of late'
    : `p99; p50 ${seconds(middle)}${late === null ? '' : `; last served ${seconds(late)}`}`);
  put('blocked', stats.blocked, total, `${total(stats.skipped)} skipped, ${count(stats.gaps, 'gap', 'gaps')} told`);
  const busy = perSecond((s) => s.busy_seconds), cpu = perSecond((s) => s.cpu_seconds);
  put('load', busy && 100 * busy / stats.shards, (n) => `${fine.format(n)} %`,
    `of ${count(stats.shards, 'shard', 'shards')}${cpu === null ? '' : `; process ${fine.format(cpu)} CPU`}`);
  put('memory', stats.resident_bytes, bytes, `${bytes(stats.log_bytes)} of it for readers`);
}

function age(s) {
  const [days, hours, minutes] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.floor(s)} s`;
}

async function refresh() {
  let stats;
  try {
    stats = await told('/stats');
  } catch (error) {
    answers = [];
    document.querySelector('main').className = 'stale';
    say('server', 'pill bad', error.status === 401 ? 'Wants a key' : error.status ? 'Refuses' : 'Not answering');
    $('about').textContent = error.status === 401 ? '' : `${error.message}. Trying again each second.`;
    return false;
  }
  document.querySelector('main').className = '';
  const now = performance.now();
  if (answers.length && now - answers.at(-1).now > GAP_MS) answers = [];
  answers.push({ now, stats });
  if (answers.length > WINDOW_S + 1) answers.shift();
  draw(stats);
  if (stats.draining) say('server', 'pill warn', 'Draining');
  else say('server', 'pill good', 'Serving');
  $('about').textContent = `${stats.version} · up ${age(stats.uptime_seconds)} · ${count(stats.shards, 'shard', 'shards')} · ${count(stats.channels, 'channel', 'channels')}`
    + (stats.refused ? ` · ${total(stats.refused)} refused for want of room` : '');
  return true;
}

/* A part of the page that costs the server a walk: the longer an answer took, the later the next. */
class Part {
  constructor(id, path, row, none) { Object.assign(this, { root: $(id), path, row, none, due: 0, busy: false }); }

  async look() {
    if (this.busy || performance.now() < this.due) return;
    this.busy = true;
    const began = performance.now();
    let rows = [], why = '';
    try {
      const answer = await told(this.path);
      rows = this.row(answer);
      why = this.none(answer);
    } catch (error) {
      why = `Not known: ${error.message}`;
    }
    const wait = Math.max(ASK_MS, SHARE * (performance.now() - began));
    this.due = performance.now() + wait;
    this.busy = false;
    const table = this.root.querySelector('table'), none = this.root.querySelector('.none');
    table.hidden = !rows.length;
    table.tBodies[0].replaceChildren(...rows);
    none.hidden = !why;
    none.textContent = why;
    this.root.querySelector('.as-of').textContent = wait < 3 * ASK_MS ? '' : `as of ${clock(Date.now())}; again in ${Math.ceil(wait / 1000)} s`;
  }
}

const cells = (...texts) => make('tr', {}, ...texts.map((text) => make('td', {}, text)));

function toConsole(name, detail) {
  const link = make('button', { className: 'link', type: 'button', textContent: name, title: `${name}: to the console with it` });
  link.addEventListener('click', () => openChannel(name));
  const cell = document.createDocumentFragment();
  cell.append(link);
  if (detail) cell.append(make('small', { textContent: detail }));
  return cell;
}

const busiest = new Part('busiest', '/busiest?limit=8', ({ channels }) => channels.map((it) => cells(toConsole(it.channel),
  rate(it.deliveries_per_second), rate(it.publications_per_second), total(it.subscribers))),
({ channels }) => (channels.length ? '' : 'Nobody reads any channel, and nothing of any is kept.'));

const slowest = new Part('slowest', '/lag', ({ slowest }) => slowest.map((it) => cells(
  toConsole(it.channel, `${it.address ?? 'unknown'}, ${it.format}`), total(it.publications), bytes(it.bytes), seconds(it.ms / 1000))),
({ patterns }) => {
  const sum = (of) => patterns.reduce((all, it) => all + of(it), 0), all = sum((it) => it.subscriptions);
  const behind = sum((it) => it.subscriptions - it.publications[0]);
  return `${total(behind)} of ${count(all, 'subscription', 'subscriptions')} ${behind === 1 || all === 1 ? 'lags' : 'lag'} behind now.`;
});

/* Which inputs there are is settled at the start, so a server without any is asked once. */
let known = null, inputsAsked = false;

async function inputs() {
  if (inputsAsked && $('inputs').hidden) return;
  let answer;
  try { answer = await told('/inputs'); } catch { return; } /* The line about the server says so. */
  inputsAsked = true;
  const now = performance.now(), past = known;
  $('inputs').hidden = document.querySelector('nav [href="#inputs"]').hidden = !answer.inputs.length;
  known = { now, all: new Map(answer.inputs.map((it) => [it.name, it])) };
  if (!answer.inputs.length) return;
  const speed = (it) => {
    const last = past && past.all.get(it.name);
    return last && it.records >= last.records ? (it.records - last.records) / ((now - past.now) / 1000) : null;
  };
  const drawn = answer.inputs.slice(0, LINES), names = drawn.map((it) => it.name);
  if (names.join('\n') !== rates.names.join('\n')) { rates.name(names); rates.points = []; }
  rates.add(Date.now(), drawn.map(speed), '');
  $('inputs').querySelector('tbody').replaceChildren(...answer.inputs.map((it) => inputRow(it, speed(it))));
  $('publish-to').textContent = answer.publish_to ? `What is published here to channels of ${answer.publish_to} is taken to its bus.` : '';
}

function inputRow(it, speed) {
  const cell = (label, text, detail, kind) => {
    const td = make('td', {}, make('span', { textContent: text, className: kind ?? '' }));
    td.dataset.label = label;
    if (detail) td.append(make('small', { textContent: detail }));
    return td;
  };
  const skipped = Object.entries(it.skipped), passed = skipped.reduce((all, [, n]) => all + n, 0);
  const trouble = [it.problem, it.holes && count(it.holes, 'hole', 'holes'),
    it.reconnects && count(it.reconnects, 'reconnect', 'reconnects')].filter(Boolean).join(' · ');
  const state = !it.connected ? [it.problem ? '✕ No connection' : it.ready ? 'Ended' : 'Connecting', it.problem ? 'bad' : '']
    : it.ready ? ['● Connected', 'good'] : ['▲ Catching up', 'warn'];
  return make('tr', {},
    cell('Input', it.name, `${it.kind} ${it.place} → ${it.channel}`),
    cell('State', state[0], trouble, state[1]),
    cell('Records', shown(speed, rate)),
    cell('In all', total(it.records), bytes(it.bytes)),
    cell('Behind the bus', it.lag === null ? '–' : total(it.lag)),
    cell('Last record', it.last_record_ms === null ? '–' : clock(it.last_record_ms)),
    cell('Passed over', total(passed), skipped.map(([why, n]) => `${total(n)} ${why.replaceAll('_', ' ')}`).join(', ')));
}

/* One request a second, and now and then another. Nothing is asked while nobody looks, or a key is waited for. */
let tick = 0;

async function turn() {
  if (document.hidden || asking || !$('key').hidden) return;
  asking = true;
  const ok = await refresh();
  asking = false;
  if (!ok) { inputsAsked = false; busiest.due = slowest.due = 0; return; }
  tick += 1;
  if (tick % 2 === 1) await inputs();
  else await (tick % 4 ? busiest : slowest).look();
}

keyed = turn;
document.addEventListener('visibilitychange', turn);
setInterval(turn, 1000);
