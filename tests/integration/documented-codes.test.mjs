// Every error code that the source and replication can give is explained in docs/postgres.md.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const top = fileURLToPath(new URL('../../', import.meta.url));
const codes = (text) => text.match(/PSYNC_[A-Z]\d{4}/g) ?? [];

test('docs/postgres.md explains every code of the source and of replication', () => {
  const given = new Set();
  for (const folder of ['src/source', 'src/replicate'])
    for (const name of fs.readdirSync(top + folder, { recursive: true }))
      if (/\.[ch]$/.test(name)) for (const c of codes(fs.readFileSync(`${top}${folder}/${name}`, 'utf8'))) given.add(c);
  assert.ok(given.size > 5, [...given].join(' '));
  const rows = fs.readFileSync(`${top}docs/postgres.md`, 'utf8').split('\n').filter((l) => l.startsWith('|'));
  const explained = new Set(rows.flatMap(codes));
  assert.deepEqual([...given].filter((c) => !explained.has(c)), [], 'not explained');
});
