/*
 * encode.c: operations encoded per second on one core, in the three forms, beside a memcpy of the bytes that come out.
 *
 * Rows as in the comparison benchmark: JSON text of about 560 bytes. Usage: bench_encode [seconds per form]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sync/encode.h"

#define ROWS 1000

static const uint8_t uuid[16] = {0x3b, 0xbb, 0x51, 0x12, 0xc4, 0x96, 0x51, 0xfb, 0xbc, 0xdc, 0x6f, 0x41, 0xc0, 0x54, 0xbc, 0x14};

static struct slice make_row(size_t i)
{
	struct buf b = {0};
	buf_printf(&b,
	           "{\"id\":\"%08zx-0000-4000-8000-%012zx\",\"owner_id\":\"user-%zu\",\"title\":\"Item number %zu of the "
	           "list\",\"body\":\"",
	           i, i * 7919, i % 100, i);
	for (int k = 0; k < 6; k++)
		buf_printf(&b, "Some words \\\"quoted\\\" and a line\\nbreak, %d of them. ", k * 31);
	buf_printf(&b,
	           "\",\"done\":%zu,\"rating\":%zu.5,\"tags\":\"[\\\"a\\\",\\\"b\\\"]\",\"created_at\":\"2026-08-01 "
	           "12:00:00.%06zuZ\",\"n\":null}",
	           i % 2, i % 5, i);
	return buf_slice(&b);
}

/* Of this thread: the machine may be busy with other things. */
static int64_t cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void run(const char *name, enum operations_form form, const struct op_view *ops, double seconds)
{
	struct buf out = {0};
	char *copy = NULL;
	int64_t encode_us = 0, copy_us = 0;
	size_t rounds = 0;
	while ((double)encode_us < seconds * 1e6) {
		int64_t start = cpu_us();
		buf_clear(&out);
		for (uint32_t i = 0; i < ROWS; i++)
			encode_operation(form, &out, i, &ops[i]);
		encode_us += cpu_us() - start;
		copy = realloc(copy, out.n);
		start = cpu_us();
		memcpy(copy, out.p, out.n);
		__asm__ volatile("" : : "r"(copy) : "memory");
		copy_us += cpu_us() - start;
		rounds++;
	}
	double operations = (double)rounds * ROWS;
	printf("%-12s %9.0f ops/s  %7.0f MB/s out  memcpy of it %7.0f MB/s\n", name, operations / (double)encode_us * 1e6,
	       (double)out.n * (double)rounds / (double)encode_us,
	       (double)out.n * (double)rounds / (double)(copy_us ? copy_us : 1));
	free(copy);
	buf_free(&out);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	struct op_view *ops = calloc(ROWS, sizeof(*ops));
	size_t bytes = 0;
	if (!ops)
		return 1;
	for (size_t i = 0; i < ROWS; i++) {
		ops[i] = (struct op_view){
		        .op_id = 1000000 + i,
		        .kind = OP_PUT,
		        .checksum = (uint32_t)(i * 2654435761u),
		        .object_type = SLICE("items"),
		        .object_id = SLICE("0000002a-0000-4000-8000-000000001234"),
		        .data = make_row(i),
		        .subkey_table = "96416615-53c7-4088-bca6-5d1abe04b93a",
		        .subkey_uuid = uuid,
		};
		bytes += ops[i].data.n;
	}
	printf("rows of %zu bytes on average\n", bytes / ROWS);
	run("json text", FORM_JSON_TEXT, ops, seconds);
	run("json nested", FORM_JSON_NESTED, ops, seconds);
	run("bson", FORM_BSON, ops, seconds);
	for (size_t i = 0; i < ROWS; i++)
		free((char *)ops[i].data.p);
	free(ops);
	return 0;
}
