/* digest.c: SHA-256 with a context per thread. */
#include "storage/digest.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/storage.h"

/* Fetching the algorithm costs more than hashing a short row, so a thread does it once (notes on OpenSSL 3: 0.25 us a call). */
struct thread_digest {
	EVP_MD *md;
	EVP_MD_CTX *ctx;
};

static pthread_key_t digest_key;
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static _Thread_local struct thread_digest *digest_of_thread;

static void digest_free(void *p)
{
	struct thread_digest *d = p;
	EVP_MD_CTX_free(d->ctx);
	EVP_MD_free(d->md);
	free(d);
}

static void digest_make_key(void)
{
	pthread_key_create(&digest_key, digest_free);
}

static struct thread_digest *thread_digest_get(void)
{
	if (digest_of_thread)
		return digest_of_thread;
	pthread_once(&digest_once, digest_make_key);
	struct thread_digest *d = calloc(1, sizeof(*d));
	if (d) {
		d->md = EVP_MD_fetch(NULL, "SHA256", NULL);
		d->ctx = EVP_MD_CTX_new();
	}
	if (!d || !d->md || !d->ctx) {
		fputs("syncline: SHA-256 is not available\n", stderr);
		abort();
	}
	pthread_setspecific(digest_key, d);
	digest_of_thread = d;
	return d;
}

void sha256_slices(const struct slice *parts, size_t count, uint8_t out[32])
{
	struct thread_digest *d = thread_digest_get();
	EVP_DigestInit_ex2(d->ctx, d->md, NULL);
	for (size_t i = 0; i < count; i++)
		EVP_DigestUpdate(d->ctx, parts[i].p, parts[i].n);
	EVP_DigestFinal_ex(d->ctx, out, NULL);
}

static char *add(char *p, struct slice s)
{
	if (s.n)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

void put_entry_digest(struct put_entry *e)
{
	uint8_t full[32];
	char head[256];
	size_t n = 4 + e->object_type.n + 1 + e->object_id.n + 1;
	if (n <= sizeof(head)) { /* one update for the short parts: each call has a price */
		char *p = head;
		p = add(p, SLICE("put."));
		p = add(p, e->object_type);
		*p++ = '.';
		p = add(p, e->object_id);
		*p = '.';
		sha256_slices((struct slice[]){{head, n}, e->data}, 2, full);
	} else {
		sha256_slices((struct slice[]){SLICE("put."), e->object_type, SLICE("."), e->object_id, SLICE("."), e->data}, 6,
		              full);
	}
	memcpy(e->digest, full, sizeof(e->digest));
}

void uuid_text(const uint8_t uuid[16], char out[UUID_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	for (int i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = hex[uuid[i] >> 4];
		out[at++] = hex[uuid[i] & 15];
	}
}

void uuid_random_text(char out[UUID_TEXT + 1])
{
	uint8_t uuid[16];
	if (RAND_bytes(uuid, sizeof(uuid)) != 1) {
		fputs("syncline: no random numbers\n", stderr);
		abort();
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	uuid_text(uuid, out);
	out[UUID_TEXT] = '\0';
}

uint32_t remove_checksum(const char *subkey_table, const uint8_t uuid[16])
{
	char text[UUID_TEXT];
	uint8_t full[32];
	uuid_text(uuid, text);
	sha256_slices(
	        (struct slice[]){
	                SLICE("delete."), slice_cstr(subkey_table), *subkey_table ? SLICE("/") : SLICE(""), {text, UUID_TEXT}},
	        4, full);
	return (uint32_t)full[0] | (uint32_t)full[1] << 8 | (uint32_t)full[2] << 16 | (uint32_t)full[3] << 24;
}

/* Only has to spread: two lookups with one hash wake a session once too often. */
uint64_t lookup_hash(uint32_t definition_number, struct slice key)
{
	uint64_t h = 0xcbf29ce484222325u ^ definition_number;
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ (uint8_t)key.p[i]) * 0x100000001b3u;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}
