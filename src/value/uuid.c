/* uuid.c: see uuid.h. */
#include "value/uuid.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

/* The digest is fetched once and a context kept for each thread: OpenSSL 3 looks both up anew in every simpler call. */
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *digest_sha1;

static void free_context(void *context)
{
	EVP_MD_CTX_free(context);
}

static void fetch_digest(void)
{
	digest_sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	if (!digest_sha1 || pthread_key_create(&digest_key, free_context) != 0)
		abort(); /* a libcrypto without SHA-1 */
}

static EVP_MD_CTX *thread_context(void)
{
	pthread_once(&digest_once, fetch_digest);
	EVP_MD_CTX *context = pthread_getspecific(digest_key);
	if (!context) {
		context = EVP_MD_CTX_new();
		if (!context)
			abort();
		pthread_setspecific(digest_key, context);
	}
	return context;
}

void uuid_of_identity(const struct slice *parts, size_t count, uint8_t uuid[16])
{
	/* a396dd91-09fc-4017-a28d-3df722f651e9 */
	static const unsigned char space[16] = {0xa3, 0x96, 0xdd, 0x91, 0x09, 0xfc, 0x40, 0x17,
	                                        0xa2, 0x8d, 0x3d, 0xf7, 0x22, 0xf6, 0x51, 0xe9};
	EVP_MD_CTX *context = thread_context();
	unsigned char digest[EVP_MAX_MD_SIZE];
	bool ok = EVP_DigestInit_ex(context, digest_sha1, NULL) && EVP_DigestUpdate(context, space, sizeof(space));
	for (size_t i = 0; i < count; i++)
		ok = ok && EVP_DigestUpdate(context, parts[i].p, parts[i].n);
	if (!ok || !EVP_DigestFinal_ex(context, digest, NULL))
		abort();
	memcpy(uuid, digest, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x50);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}
