/* DPDK's librte_acl on a ClassBench rule set: the peer of `cargo bench -p sluice-core`, which compiles and runs this
 * where libdpdk-dev is installed.
 *
 *     rte_acl RULES TRACE
 *
 * RULES has a line for each rule: source, source length, destination, destination length, first and last source port,
 * first and last destination port, protocol, protocol mask; TRACE one for each packet: source, destination, source
 * port, destination port, protocol; all decimal. Prints nanoseconds a lookup (the fastest round) for one packet a call
 * and for 32 with SSE, bytes of the tables, milliseconds of the build, and the sum of the rules found, by which the
 * answers are compared. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_malloc.h>

struct key {
	uint8_t protocol;
	uint8_t pad[3];
	uint32_t source, destination;
	uint16_t source_port, destination_port;
};

static struct rte_acl_field_def fields[5] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, 0, offsetof(struct key, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 1, 1, offsetof(struct key, source) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 2, 2, offsetof(struct key, destination) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 3, 3, offsetof(struct key, source_port) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 4, 3, offsetof(struct key, destination_port) },
};
RTE_ACL_RULE_DEF(rule5, 5);

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double measure(struct rte_acl_ctx *context, const uint8_t **keys, uint32_t count, uint32_t batch, uint64_t *sum)
{
	static uint32_t results[32];
	double times[61];
	for (int round = 0; round < 61; round++) {
		uint64_t found = 0;
		double start = now();
		for (uint32_t at = 0; at < count; at += batch) {
			uint32_t n = count - at < batch ? count - at : batch;
			rte_acl_classify(context, keys + at, results, n, 1);
			for (uint32_t i = 0; i < n; i++)
				found += results[i];
		}
		times[round] = (now() - start) / count;
		*sum = found;
	}
	qsort(times, 61, sizeof *times, compare);
	return times[0];
}

int main(int argc, char **argv)
{
	char *eal[] = { "rte_acl", "--no-huge", "--no-shconf", "--no-pci", "-m", "2048", "--log-level", "1" };
	if (argc != 3 || rte_eal_init(sizeof eal / sizeof *eal, eal) < 0)
		return 1;
	struct rte_acl_param param = { "bench", SOCKET_ID_ANY, RTE_ACL_RULE_SZ(5), 1 << 20 };
	struct rte_acl_ctx *context = rte_acl_create(&param);
	FILE *file = fopen(argv[1], "r");
	if (context == NULL || file == NULL)
		return 1;
	unsigned v[10];
	int32_t index = 0;
	while (fscanf(file, "%u %u %u %u %u %u %u %u %u %u", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8,
		      v + 9) == 10) {
		struct rule5 rule = { .data = { .category_mask = 1, .priority = RTE_ACL_MAX_PRIORITY - index,
						.userdata = index + 1 } };
		rule.field[0].value.u8 = v[8];
		rule.field[0].mask_range.u8 = v[9];
		rule.field[1].value.u32 = v[0];
		rule.field[1].mask_range.u32 = v[1];
		rule.field[2].value.u32 = v[2];
		rule.field[2].mask_range.u32 = v[3];
		rule.field[3].value.u16 = v[4];
		rule.field[3].mask_range.u16 = v[5];
		rule.field[4].value.u16 = v[6];
		rule.field[4].mask_range.u16 = v[7];
		if (rte_acl_add_rules(context, (struct rte_acl_rule *)&rule, 1) != 0)
			return 1;
		index++;
	}
	fclose(file);
	struct rte_acl_config config = { .num_categories = 1, .num_fields = 5 };
	for (int i = 0; i < 5; i++)
		config.defs[i] = fields[i];
	struct rte_malloc_socket_stats before, after;
	rte_malloc_get_socket_stats(0, &before);
	double start = now();
	if (rte_acl_build(context, &config) != 0)
		return 1;
	double build = now() - start;
	rte_malloc_get_socket_stats(0, &after);

	file = fopen(argv[2], "r");
	if (file == NULL)
		return 1;
	uint32_t count = 0, room = 1 << 20;
	struct key *keys = calloc(room, sizeof *keys);
	const uint8_t **pointers = calloc(room, sizeof *pointers);
	while (count < room && fscanf(file, "%u %u %u %u %u", v, v + 1, v + 2, v + 3, v + 4) == 5) {
		keys[count] = (struct key){ v[4], { 0 }, rte_cpu_to_be_32(v[0]), rte_cpu_to_be_32(v[1]),
					    rte_cpu_to_be_16(v[2]), rte_cpu_to_be_16(v[3]) };
		pointers[count] = (const uint8_t *)&keys[count];
		count++;
	}
	fclose(file);
	uint64_t sum;
	rte_acl_set_ctx_classify(context, RTE_ACL_CLASSIFY_SSE);
	double one = measure(context, pointers, count, 1, &sum);
	double many = measure(context, pointers, count, 32, &sum);
	size_t bytes = after.heap_allocsz_bytes - before.heap_allocsz_bytes;
	printf("%.1f %.1f %zu %.1f %" PRIu64 "\n", one, many, bytes, build / 1e6, sum);
	return 0;
}
