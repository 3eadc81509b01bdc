'use strict';
const $ = (id) => document.getElementById(id);
const { subscribers, secure } = document.body.dataset;
const number = new Intl.NumberFormat('en'), fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const total = (n) => (n < 1e6 ? number : compact).format(n);
const count = (n, one, many) => `${total(n)} ${n === 1 ? one : many}`;
const rate = (n) => `${(n < 1000 ? fine : compact).format(n)}/s`;
const clock = (at) => new Date(at).toTimeString().slice(0, 8);

function bytes(n) {
  const step = n < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(n) / 10));
  return `${(step ? compact : number).format(n / 1024 ** step)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][step]}`;
}

function seconds(s) {
  const [unit, scale] = s < 1e-3 ? ['µs', 1e6] : s < 1 ? ['ms', 1e3] : ['s', 1];
  return `${compact.format(s * scale)} ${unit}`;
}

/* An element with these attributes and children. Texts stay texts. */
function make(kind, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(kind), attributes);
  element.append(...children);
  return element;
}

const say = (id, kind, text) => { $(id).className = kind; $(id).textContent = text; };

/* Asks the control listener, with the key if one was given. A 401 asks for another, and while one is asked for nothing else is. */
const KEY = 'stentor-key';
let keyed = () => {};

async function api(path, options = {}) {
  const key = sessionStorage.getItem(KEY), headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  const answer = await fetch(path, { signal: AbortSignal.timeout(15000), ...options, headers });
  if (answer.status === 401) wantKey(key ? 'The server does not take this key. Another?' : '');
  return answer;
}

async function told(path) {
  const answer = await api(path);
  if (answer.ok) return answer.json();
  const why = (await answer.text()).trim();
  throw Object.assign(new Error(answer.status === 401 ? 'it wants a key' : `${answer.status}: ${why}`), { status: answer.status });
}

function wantKey(why) {
  if (why) say('refused', 'bad', why);
  if (!$('key').hidden) return;
  $('key').hidden = false;
  $('secret').focus();
}

$('key').querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $('secret').value.trim());
  $('secret').value = '';
  $('key').hidden = true;
  $('forget').hidden = false;
  say('refused', '', 'It is kept in this tab until that is closed.');
  keyed();
});

$('forget').hidden = !sessionStorage.getItem(KEY);
$('forget').addEventListener('click', () => {
  sessionStorage.removeItem(KEY);
  $('forget').hidden = true;
  wantKey('');
});
