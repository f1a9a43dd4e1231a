// HS256 tokens, signed with a key that the test configurations carry as a static JWKS.
import crypto from 'node:crypto';

const KEY = crypto.createHash('sha256').update('syncline tests').digest();
export const AUDIENCE = 'syncline-tests';

const b64 = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');

/** `lifetime` in seconds; `claims` are added to, or override, the usual ones. */
export function sign(sub = 'user1', { claims = {}, lifetime = 3600, key = KEY } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const head = b64({ alg: 'HS256', typ: 'JWT', kid: 'test' });
  const body = b64({ sub, aud: AUDIENCE, iat: now, exp: now + lifetime, ...claims });
  return `${head}.${body}.${crypto.createHmac('sha256', key).update(`${head}.${body}`).digest('base64url')}`;
}

export const keys = () => ({ keys: [{ kty: 'oct', alg: 'HS256', kid: 'test', k: KEY.toString('base64url') }] });
