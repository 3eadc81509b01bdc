/* The console: one subscription, and publishing. */
const LOG_MAX = 200, SHOWN_MAX = 4000, RETRY_MAX_S = 30;
const channel = () => $('channel').value.trim();
const transport = () => document.querySelector('[name=transport]:checked').value;

/* The log: batched to one change per frame, and bounded. Payloads are text, never markup. */
let arrived = 0, queued = [];

function show(position, payload, kind = '') {
  arrived += 1;
  queued.push({ at: new Date(), position, payload, kind });
  if (queued.length > LOG_MAX) queued.shift();
  if (queued.length === 1) requestAnimationFrame(flush);
}

function flush() {
  const rows = document.createDocumentFragment();
  for (const entry of queued.splice(0).reverse()) rows.append(row(entry));
  const added = [...rows.children];
  $('log').prepend(rows);
  while ($('log').childElementCount > LOG_MAX) $('log').lastElementChild.remove();
  $('log').hidden = $('clear').hidden = arrived === 0;
  $('empty').hidden = arrived > 0;
  /* All are measured before any is changed: one layout per frame. */
  const isCut = (item) => { const pre = item.querySelector('pre'); return pre.scrollHeight > pre.clientHeight + 1; };
  added.filter(isCut).forEach(unfoldable);
  $('count').textContent = arrived > LOG_MAX ? `newest ${LOG_MAX} of ${number.format(arrived)}`
    : arrived ? number.format(arrived) : '';
}

function row({ at, position, payload, kind }) {
  const more = payload.length - SHOWN_MAX, time = `${clock(at)}.${String(at.getMilliseconds()).padStart(3, '0')}`;
  const text = more > 0 ? `${payload.slice(0, SHOWN_MAX)}… and ${number.format(more)} more` : payload;
  const item = make('li', { className: kind }, make('time', { textContent: time }), make('pre', { textContent: text }));
  if (position) {
    const link = make('button', { className: 'link', type: 'button', textContent: position, title: 'Begin behind this position' });
    link.addEventListener('click', () => { beginAt('since', position); $('begin').focus(); });
    item.append(make('code', {}, link));
  }
  return item;
}

/* Adds the button that shows what does not fit into a few lines. */
function unfoldable(item) {
  const button = make('button', { className: 'plain', type: 'button' }), pre = item.querySelector('pre');
  const label = (isWhole) => {
    button.textContent = isWhole ? 'Show less' : pre.textContent.length > SHOWN_MAX ? `Show first ${number.format(SHOWN_MAX)}` : 'Show all';
    button.setAttribute('aria-expanded', isWhole);
  };
  button.addEventListener('click', () => label(pre.classList.toggle('whole')));
  label(false);
  item.append(button);
}

function binary(bytes) {
  const head = Array.from(bytes.slice(0, 32), (b) => b.toString(16).padStart(2, '0')).join(' ');
  return `${count(bytes.length, 'byte', 'bytes')}, binary: ${head}${bytes.length > 32 ? ' …' : ''}`;
}

const base64 = (text) => binary(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
const missing = ({ from, to }) => show(to, `What was published behind ${from} up to ${to} is missing.`, 'gap');

/* The subscription. `wanted` is what the user asked for, with the last position that is known; whatever else happens is tried again. */
let wanted = null, source = null, timer = 0, tries = 0, resumable = null;

function connect() {
  const me = wanted, mine = (act) => (event) => { if (wanted === me) act(event); };
  const live = () => { tries = 0; say('state', 'good', `Subscribed to ${me.name}.`); };
  if (location.protocol === 'https:' && !secure) {
    return say('state', 'bad', 'This page came by https, and a browser lets it connect by TLS alone: give the server listen-tls and tls-cert.');
  }
  say('state', '', `Connecting to ${subscribers}…`);
  ({ ws: plain, sse: events, v1: commands })[me.transport](me, mine, live);
}

/* Where a subscription begins: where it was, if it was anywhere. */
function start(me) {
  const begin = me.position ? { since: me.position } : me.begin;
  return new URLSearchParams({ ...begin, ...me.token && { token: me.token } });
}

const place = (scheme, path, me) => { const query = start(me).toString(); return `${scheme}${secure}://${subscribers}${path}${query && '?'}${query}`; };

function plain(me, mine, live) {
  source = new WebSocket(place('ws', `/ws/${me.name}`, me));
  source.binaryType = 'arraybuffer';
  source.onopen = mine(() => { if (me.was) show('', 'Connected again. Over a plain WebSocket nothing tells what came in between.', 'gap'); me.was = true; live(); });
  source.onmessage = mine((e) => show('', typeof e.data === 'string' ? e.data : binary(new Uint8Array(e.data))));
  source.onclose = mine(closed);
}

function events(me, mine, live) {
  source = new EventSource(place('http', `/sse/${me.name}`, me));
  const at = (act) => mine((e) => { me.position = e.lastEventId || me.position; act(e); });
  source.onopen = mine(live);
  source.onmessage = at((e) => show(e.lastEventId, e.data));
  /* What is not UTF-8 comes as base64, in events of this type. */
  source.addEventListener('base64', at((e) => show(e.lastEventId, base64(e.data))));
  source.addEventListener('gap', at((e) => missing(JSON.parse(e.data))));
  source.onerror = mine(() => {
    /* The browser tries again by itself, unless it was refused, from the last position it had. */
    if (source.readyState === EventSource.CLOSED) retry(`Refused by ${subscribers}: does the channel want a token?`);
    else say('state', 'warn', 'Connection lost. Trying again, from where it broke off.');
  });
}

function commands(me, mine, live) {
  const { token, ...begin } = Object.fromEntries(start(me));
  if (begin.last) begin.last = Number(begin.last);
  source = new WebSocket(`ws${secure}://${subscribers}/ws${token ? `?${new URLSearchParams({ token })}` : ''}`, 'stentor.v1');
  source.onopen = mine(() => source.send(JSON.stringify({ id: 1, type: 'subscribe', channel: me.name, ...begin })));
  source.onmessage = mine((e) => {
    const it = JSON.parse(e.data);
    if (it.type === 'subscribed') {
      live();
      if (it.gap) missing(it.gap);
      me.position = it.position;
    } else if (it.type === 'gap') {
      missing(it);
      me.position = it.to;
    } else if (it.type === 'error') {
      refused(`${it.code}: ${it.message}`);
    } else if (!it.type) {
      me.position = it.id;
      const data = it.encoding ? base64(it.data) : typeof it.data === 'string' ? it.data : JSON.stringify(it.data);
      show(it.id, it.key ? `${it.key} = ${data}` : data);
    }
  });
  source.onclose = mine(closed);
}

function closed(event) {
  retry(event.code === 1006 && !event.reason ? `No connection to ${subscribers}: is it reachable from here, and does the channel want a token?`
    : `Closed with code ${event.code}${event.reason ? `, “${event.reason}”` : ''}`);
}

function retry(why) {
  const wait = Math.min(RETRY_MAX_S, 2 ** tries++) * (0.75 + Math.random() / 2);
  say('state', 'bad', `${why}. Trying again in ${Math.ceil(wait)} s.`);
  timer = setTimeout(connect, wait * 1000);
}

function refused(why) {
  leave();
  say('state', 'bad', why);
}

/* Ends the subscription; where it was can be resumed. */
function leave() {
  if (wanted?.position) resumable = { name: wanted.name, position: wanted.position };
  wanted = null;
  clearTimeout(timer);
  if (source) source.close();
  source = null;
  tries = 0;
  buttons();
}

function join(begin) {
  wanted = { name: channel(), transport: transport(), token: $('token').value.trim(), begin };
  connect();
  buttons();
}

function begin() {
  const how = $('begin').value;
  return how === 'last' ? { last: $('last').value } : how === 'since' ? { since: $('since').value } : {};
}

function beginAt(how, position) {
  $('begin').value = how;
  if (position) $('since').value = position;
  begun();
}

/* Only what is shown is asked for. */
function begun() {
  for (const how of ['last', 'since']) {
    $(`${how}-of`).hidden = $('begin').value !== how;
    $(how).required = !$(`${how}-of`).hidden;
    $(how).disabled = $(`${how}-of`).hidden;
  }
}

function buttons() {
  $('toggle').textContent = wanted ? 'Unsubscribe' : 'Subscribe';
  $('resume').hidden = Boolean(wanted) || resumable?.name !== channel() || transport() === 'ws';
  if (resumable) $('resume').textContent = `Resume behind ${resumable.position}`;
}

function toggle(event) {
  event.preventDefault();
  if (wanted) {
    leave();
    say('state', '', 'Not subscribed.');
  } else join(begin());
  remember();
}

/* The address keeps the subscription, so that reloading or sharing it comes back to the same. */
function remember() {
  history.replaceState(null, '', wanted ? `#${wanted.transport}/${wanted.name}` : location.pathname);
}

function restore() {
  const [, by, name] = location.hash.match(/^#(ws|sse|v1)\/([A-Za-z0-9._:\/-]{1,255})$/) || [];
  if (!name) return;
  $('channel').value = name;
  document.querySelector(`[name=transport][value=${by}]`).checked = true;
  if (!wanted) toggle(new Event('restore'));
}

function rejoin() {
  buttons();
  if (!wanted || !$('subscribe').checkValidity()) return;
  leave();
  join(begin());
  remember();
}

function openChannel(name) {
  $('channel').value = name;
  rename();
  rejoin();
  $('console').scrollIntoView();
  $('channel').focus();
}

async function publish(event) {
  event.preventDefault();
  if (!$('channel').reportValidity()) return;
  const button = $('publish').querySelector('button'), key = $('publish-key').value;
  button.disabled = true;
  try {
    const headers = { 'Content-Type': $('json').checked ? 'application/json' : 'text/plain;charset=UTF-8' };
    const path = `/publish/${channel()}${key ? `?${new URLSearchParams({ key })}` : ''}`;
    const answer = await api(path, { method: 'POST', body: $('payload').value, headers });
    if (answer.ok) {
      const { position, subscribers, forwarded } = await answer.json();
      say('published', 'good', forwarded ? `Taken to the bus of ${forwarded}${position ? `, at ${position}` : ''}.`
        : `Published at ${position}, to ${count(subscribers, 'subscriber', 'subscribers')}.`);
    } else {
      const wait = answer.headers.get('retry-after');
      say('published', 'bad', `${answer.status}: ${(await answer.text()).trim()}${wait ? ` (in ${wait} s)` : ''}`);
    }
  } catch (error) {
    say('published', 'bad', `Not published, as far as is known: ${error.message}.`);
  }
  button.disabled = false;
}

function rename() {
  $('target').textContent = channel() || '…';
  $('curl-publish').textContent = `curl -d 'Hello, everybody' ${location.origin}/publish/${channel()}`;
  $('curl-subscribe').textContent = `curl -N http${secure}://${subscribers}/sse/${channel()}`;
  buttons();
}

async function copy(event) {
  const button = event.currentTarget, text = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

$('subscribe').addEventListener('submit', toggle);
$('resume').addEventListener('click', () => { join({ since: resumable.position }); remember(); });
$('publish').addEventListener('submit', publish);
$('channel').addEventListener('input', rename);
$('channel').addEventListener('change', rejoin);
$('begin').addEventListener('change', begun);
for (const choice of document.querySelectorAll('[name=transport]')) choice.addEventListener('change', rejoin);
for (const button of document.querySelectorAll('[data-copy]')) button.addEventListener('click', copy);
$('payload').addEventListener('keydown', (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) publish(e); });
$('clear').addEventListener('click', () => { arrived = 0; queued = []; $('log').replaceChildren(); flush(); $('payload').focus(); });
begun();
restore();
rename();
turn();
