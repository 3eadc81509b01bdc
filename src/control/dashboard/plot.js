/* Plots: the last five minutes of a few numbers, as lines that differ by more than their colour. */
const SPAN_MS = 300_000, GAP_MS = 3_500, SVG = 'http://www.w3.org/2000/svg';

function shape(kind, attributes, text) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/* The least round number of the unit that is not below `value`. */
function roundUp(value, base) {
  const scale = base === 10 ? 1 : base ** Math.floor(Math.log(Math.max(value, 1)) / Math.log(base));
  const of = value / scale, ten = 10 ** Math.floor(Math.log10(of));
  return scale * ten * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * ten >= of * (1 - 1e-9));
}

class Plot {
  /* `names` of the lines; what is drawn is told by `show(value)`; `least` is the lowest top of the scale. */
  constructor({ id, title, names = [''], show, least = 1, base = 10, heading = true }) {
    Object.assign(this, { title, names, show, least, base, points: [], chosen: null });
    this.value = make('b', { textContent: '–' });
    this.detail = make('p');
    this.legend = make('div', { className: 'legend' });
    this.svg = shape('svg', { 'aria-hidden': 'true' });
    this.tip = make('div', { className: 'tip', hidden: true });
    this.area = make('div', { className: 'area', tabIndex: 0 }, this.svg, this.tip);
    this.root = make('section', { className: 'card plot', id: id ?? '' });
    if (heading) this.root.append(make('h2', { textContent: title }), this.value, this.detail);
    this.root.append(this.legend, this.area);
    for (const [name, value] of Object.entries({
      role: 'slider', 'aria-label': `${title}, by the second`, 'aria-orientation': 'horizontal',
      'aria-valuemin': -SPAN_MS / 1000, 'aria-valuemax': 0, 'aria-valuenow': 0, 'aria-valuetext': 'nothing yet',
    })) this.area.setAttribute(name, value);
    this.area.addEventListener('pointermove', (event) => this.pointAt(event));
    this.area.addEventListener('pointerdown', (event) => this.pointAt(event));
    this.area.addEventListener('pointerleave', () => this.choose(null));
    this.area.addEventListener('blur', () => this.choose(null));
    this.area.addEventListener('keydown', (event) => this.step(event));
    new ResizeObserver(() => this.draw()).observe(this.area);
    this.name(names);
  }

  /* Names the lines anew. */
  name(names) {
    this.names = names;
    const sample = (n) => {
      const svg = shape('svg', { 'aria-hidden': 'true', viewBox: '0 0 26 8' });
      svg.append(shape('path', { class: `line s${n}`, d: 'M1 4H25' }));
      return make('span', {}, svg, names[n]);
    };
    this.legend.replaceChildren(...(names.length > 1 ? names.map((_, n) => sample(n)) : []));
  }

  /* Takes the numbers of a moment, null where there is none, and forgets what is too old. */
  add(at, values, value, detail = '') {
    this.value.textContent = value;
    this.detail.textContent = detail;
    this.points.push({ at, values });
    while (this.points[0].at < at - SPAN_MS) this.points.shift();
    this.draw();
  }

  draw() {
    const width = this.area.clientWidth, height = this.svg.clientHeight, last = this.points.at(-1);
    if (!width || !height || !last) return;
    const all = this.points.flatMap(({ values }) => values).filter((value) => value !== null);
    const top = roundUp(Math.max(this.least, ...all), this.base), foot = 17, head = 16;
    this.x = (at) => width - 9 - (last.at - at) / SPAN_MS * (width - 18);
    this.y = (value) => height - foot - value / top * (height - foot - head);
    const shapes = [0, 0.5, 1].map((part) =>
      shape('path', { class: 'grid', d: `M0 ${this.y(top * part)}H${width}` }));
    if (this.names.length === 1) shapes.push(shape('path', { class: 'wash', d: this.wash() }));
    this.names.forEach((_, n) => shapes.push(shape('path', { class: `line s${n}`, d: this.line(n) })));
    shapes.push(shape('text', { x: 9, y: this.y(top) - 4 }, this.show(top)));
    shapes.push(shape('text', { x: 9, y: height - 4 }, '−5 min'));
    shapes.push(shape('text', { x: width - 9, y: height - 4, 'text-anchor': 'end' }, 'now'));
    this.svg.replaceChildren(...shapes);
    this.mark(width);
  }

  /* The runs of a line: it ends where a number or an answer is missing. */
  runs(n) {
    const runs = [];
    let before = null;
    for (const { at, values } of this.points) {
      const value = values[n] ?? null;
      if (value === null) { before = null; continue; }
      if (before === null || at - before > GAP_MS) runs.push([]);
      runs.at(-1).push(`${this.x(at).toFixed(1)} ${this.y(value).toFixed(1)}`);
      before = at;
    }
    return runs;
  }

  line(n) { return this.runs(n).map((run) => `M${run[0]}${run.length > 1 ? `L${run.slice(1).join(' ')}` : 'h.1'}`).join(''); }

  wash() {
    const floor = this.y(0).toFixed(1), x = (point) => point.split(' ')[0];
    return this.runs(0).map((run) => `M${x(run[0])} ${floor}L${run.join(' ')} ${x(run.at(-1))} ${floor}Z`).join('');
  }

  /* The moment that is looked at: by a pointer, or by the keys that move a slider. */
  pointAt(event) {
    if (!this.points.length || !this.x) return;
    const x = event.clientX - this.area.getBoundingClientRect().left;
    const far = ({ at }) => Math.abs(this.x(at) - x);
    this.choose(this.points.reduce((one, other) => (far(other) < far(one) ? other : one)));
  }

  step(event) {
    const from = this.points.indexOf(this.chosen), end = this.points.length - 1, now = from < 0 ? end : from;
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageDown: now - 30, PageUp: now + 30, Home: 0, End: end }[event.key];
    if (event.key === 'Escape') return this.choose(null);
    if (to === undefined || end < 0) return;
    event.preventDefault();
    this.choose(this.points[Math.min(end, Math.max(0, from < 0 && event.key.startsWith('Arrow') ? now : to))]);
  }

  choose(point) {
    this.chosen = point;
    this.draw();
  }

  words({ at, values }, between) {
    const named = (value, n) => `${this.names[n] ? `${this.names[n]}: ` : ''}${value === null ? '–' : this.show(value)}`;
    return `${clock(at)}${between}${this.names.map((_, n) => named(values[n] ?? null, n)).join(between)}`;
  }

  mark(width) {
    const point = this.chosen;
    this.tip.hidden = !point;
    const shown = point ?? this.points.at(-1);
    this.area.setAttribute('aria-valuenow', Math.round((shown.at - this.points.at(-1).at) / 1000));
    this.area.setAttribute('aria-valuetext', this.words(shown, ', '));
    if (!point) return;
    const x = this.x(point.at);
    this.svg.append(shape('path', { class: 'at', d: `M${x} 0V${this.y(0)}` }));
    point.values.forEach((value) => {
      if (value !== null) this.svg.append(shape('circle', { class: 'dot', cx: x, cy: this.y(value), r: 3.5 }));
    });
    this.tip.textContent = this.words(point, '\n');
    const room = width - this.tip.offsetWidth, beside = x > width / 2 ? x - this.tip.offsetWidth - 10 : x + 10;
    this.tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
  }
}
