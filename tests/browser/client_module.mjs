// The module that the server serves: node client_module.mjs [--write]
// It is what terser makes of its source, it is small, and its types are right. With --write it is
// made anew. Prints its size.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { minify } from 'terser';

const BYTES_MAX = 5_500;
const client = new URL('../../clients/js/', import.meta.url);
const source = readFileSync(new URL('src/stentor.js', client), 'utf8');
const { code } = await minify(source, {
  module: true, compress: { passes: 3 }, mangle: true,
  format: { preamble: '// Source: clients/js/src/stentor.js' },
});
const module = `${code}\n`, served = new URL('stentor.js', client);
if (process.argv[2] === '--write') writeFileSync(served, module);
if (readFileSync(served, 'utf8') !== module) {
  throw new Error('clients/js/stentor.js is not what its source makes: npm run build in clients/js');
}
if (module.length >= BYTES_MAX) throw new Error(`${module.length} bytes are not under ${BYTES_MAX}`);

const types = fileURLToPath(new URL('types.ts', import.meta.url));
const compiler = fileURLToPath(new URL('node_modules/typescript/lib/tsc.js', import.meta.url));
const flags = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--lib', 'es2022,dom'];
execFileSync(process.execPath, [compiler, ...flags, types], { stdio: ['ignore', 'inherit', 'inherit'] });
console.log(module.length);
