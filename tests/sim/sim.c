/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator: from a seed, breaks and mends a cluster at random, with the invariants of check.c
 * looked at after every event; then mends everything and demands that all comes to run.
 *
 *   sim --seed S [--nodes N] [--steps K]   one run with its trace
 *   sim --seeds A..B [--nodes N] [--steps K]
 *
 * Without --nodes the seed chooses 2 to 5 (two only with a tie-breaker's majority of 2 of 2). Equal
 * arguments give equal runs; a failure prints the arguments that repeat it, and the end of its
 * trace.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

#define TRACE_LINES 120
#define MEND_US 900000000 /* a failed group is tried again after 5, 10, ... 320 s */
#define REST_US 10000000

struct sim {
	uint64_t rng;
	struct world world;
	struct core_config config;
	bool is_mended, prints;
	uint32_t n_requests;
	char unfit[CORE_MAX_NODES][4]; /* machines and the groups whose start said so */
	char *trace[TRACE_LINES];
	unsigned n_trace;
};

/* splitmix64 */
static uint64_t rng_next(struct sim *sim)
{
	uint64_t z = sim->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned below(struct sim *sim, unsigned n)
{
	return (unsigned)(rng_next(sim) % n);
}

static bool chance(struct sim *sim, unsigned percent)
{
	return below(sim, 100) < percent;
}

/* ---- trace ---- */

static void trace(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void trace(struct sim *sim, const char *fmt, ...)
{
	char text[1024];
	int len = snprintf(text, sizeof(text), "[%9.3f] ", (double)sim->world.now_us / 1e6);
	unsigned slot = sim->n_trace++ % TRACE_LINES;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text + len, sizeof(text) - (size_t)len, fmt, args);
	va_end(args);
	if (sim->prints) {
		puts(text);
		return;
	}
	free(sim->trace[slot]);
	sim->trace[slot] = strdup(text);
}

static void trace_print(const struct sim *sim)
{
	for (unsigned i = 0; i < TRACE_LINES; i++) {
		const char *line = sim->trace[(sim->n_trace + i) % TRACE_LINES];

		if (line)
			puts(line);
	}
}

/* ---- what the world asks ---- */

static void on_log(void *ctx, int node, bool is_replicated, const char *text)
{
	struct sim *sim = ctx;

	trace(sim, "%s%s %s", sim->world.machines[node].name, is_replicated ? ":" : ".", text);
}

static int64_t on_jitter(void *ctx, int64_t max_us)
{
	return (int64_t)below(ctx, (unsigned)max_us);
}

static bool on_is_recovered(void *ctx, int node)
{
	(void)node;
	return chance(ctx, 50);
}

static struct world_op_result on_op(
	void *ctx, int node, const char *group, const char *resource, enum core_op op)
{
	struct sim *sim = ctx;
	struct world_op_result result = {.took_us = 1000 + below(sim, 200000)};

	(void)resource;
	if (sim->is_mended)
		return result;
	if (chance(sim, 3))
		result.took_us = 1000 + below(sim, 6000000);
	if (op == CORE_OP_START && chance(sim, 6)) {
		result.rc = chance(sim, 30) ? -ENETDOWN : -EIO;
		result.text = "exit 1";
		if (result.rc == -ENETDOWN)
			sim->unfit[node][group[0] - 'a'] = 1;
	} else if (op == CORE_OP_STOP && chance(sim, 4)) {
		result.rc = -EIO;
		result.text = "exit 1";
	}
	return result;
}

static const struct world_ops world_ops = {
	.log = on_log,
	.op = on_op,
	.jitter = on_jitter,
	.is_recovered = on_is_recovered,
};

/* ---- the cluster ---- */

static void resource_set(
	struct core_group *group, uint32_t index, const char *suffix, bool pipelined)
{
	struct core_resource *resource = &group->resources[index];

	snprintf(resource->name, sizeof(resource->name), "%.40s-%s", group->name, suffix);
	resource->pipelined = pipelined;
	resource->stateless = true;
}

static void config_make(struct sim *sim, unsigned n_nodes)
{
	static const char *const names[] = {"a", "b", "c"};
	struct core_config *config = &sim->config;

	snprintf(config->cluster_name, sizeof(config->cluster_name), "sim");
	config->n_nodes = n_nodes;
	for (unsigned i = 0; i < n_nodes; i++) {
		snprintf(config->nodes[i].name, sizeof(config->nodes[i].name), "n%u", i + 1);
		config->nodes[i].nodeid = i + 1;
	}
	config->n_groups = 3;
	config->groups = calloc(3, sizeof(*config->groups));
	for (unsigned i = 0; i < 3; i++) {
		struct core_group *group = &config->groups[i];

		snprintf(group->name, sizeof(group->name), "%s", names[i]);
		group->n_preferred = (uint8_t)(2 - i);
		group->preferred[0] = (uint8_t)((i + 1) % n_nodes);
		group->preferred[1] = 0;
		group->failback = i == 1;
		group->digest = i + 1;
		group->n_resources = 3 - i;
		group->resources = calloc(group->n_resources, sizeof(*group->resources));
		for (uint32_t j = 0; j < group->n_resources; j++)
			resource_set(group, j, j == 0 ? "ip" : j == 1 ? "ip6" : "srv", j < 2);
	}
	config->text = strdup("sim");
	config->text_len = 3;
	config->digest = core_digest("sim", 3);
}

static void config_free(struct core_config *config)
{
	for (uint32_t i = 0; i < config->n_groups; i++)
		free(config->groups[i].resources);
	free(config->groups);
	free(config->text);
}

/* ---- breaking ---- */

static void split(struct sim *sim)
{
	int side[CORE_MAX_NODES];

	for (unsigned i = 0; i < sim->world.n_machines; i++)
		side[i] = (int)below(sim, 2);
	if (chance(sim, 30)) {
		for (unsigned i = 0; i < sim->world.n_machines; i++)
			side[i] = (int)i;
	}
	trace(sim, "-- split %d%d%d%d%d", side[0], side[1], side[2], side[3], side[4]);
	world_connect(&sim->world, side);
}

static void heal(struct sim *sim)
{
	static const int side[CORE_MAX_NODES] = {0};

	trace(sim, "-- heal");
	world_connect(&sim->world, side);
}

static void order(struct sim *sim, int node)
{
	static const char *const verbs[] = {"failover", "online", "offline"};
	enum core_verb verb = chance(sim, 60) ? CORE_FAILOVER : below(sim, CORE_VERBS);
	const char *group = sim->config.groups[below(sim, 3)].name;
	const char *to =
		chance(sim, 50) ? sim->config.nodes[below(sim, sim->config.n_nodes)].name : NULL;

	trace(sim, "-- %s %s %s on n%d", verbs[verb], group, to ? to : "", node + 1);
	world_admin(&sim->world, node, ++sim->n_requests, verb, group, to, chance(sim, 50));
}

static void resource_event(struct sim *sim, int node)
{
	const struct core_group *group = &sim->config.groups[below(sim, 3)];
	const char *name = group->resources[below(sim, group->n_resources)].name;
	bool unfit = chance(sim, 40);

	if (chance(sim, 30)) {
		trace(sim, "-- fit n%d %s", node + 1, name);
		world_resource(&sim->world, node, name, CORE_EV_RESOURCE_FIT, false, NULL);
		return;
	}
	trace(sim, "-- fail n%d %s%s", node + 1, name, unfit ? " unfit" : "");
	world_resource(&sim->world, node, name, CORE_EV_RESOURCE_FAILED, unfit, "gone");
}

static void settings(struct sim *sim)
{
	struct world *world = &sim->world;

	world->latency_us = 200 + below(sim, chance(sim, 20) ? 200000 : 2000);
	world->jitter_us = chance(sim, 50) ? 0 : 1 + below(sim, 50000);
	world->quorum_delay_us = (int64_t)below(sim, chance(sim, 20) ? 3000000 : 20000);
	if (chance(sim, 30))
		world->quorum_delay_us = -(int64_t)below(sim, 200000);
	world->loss_delay_us = 100000 + below(sim, 2500000);
	world->join_delay_us = 1000 + below(sim, 500000);
	trace(sim, "-- latency %lld jitter %lld quorum %lld", (long long)world->latency_us,
		(long long)world->jitter_us, (long long)world->quorum_delay_us);
}

static void fault(struct sim *sim)
{
	struct world *world = &sim->world;
	int node = (int)below(sim, world->n_machines);
	unsigned what = below(sim, 100);

	if (what < 8) {
		trace(sim, "-- power off n%d", node + 1);
		world_power_off(world, node);
	} else if (what < 24) {
		trace(sim, "-- power on n%d", node + 1);
		world_power_on(world, node);
		world_daemon_start(world, node);
	} else if (what < 34) {
		trace(sim, "-- kill daemon n%d", node + 1);
		world_daemon_kill(world, node);
	} else if (what < 50) {
		trace(sim, "-- start daemon n%d", node + 1);
		world_daemon_start(world, node);
	} else if (what < 54) {
		trace(sim, "-- stop daemon n%d", node + 1);
		world_daemon_leave(world, node);
	} else if (what < 58) {
		trace(sim, "-- freeze n%d", node + 1);
		world_daemon_freeze(world, node);
	} else if (what < 66) {
		trace(sim, "-- thaw n%d", node + 1);
		world_daemon_thaw(world, node);
	} else if (what < 70) {
		split(sim);
	} else if (what < 78) {
		heal(sim);
	} else if (what < 88) {
		order(sim, node);
	} else if (what < 96) {
		resource_event(sim, node);
	} else {
		settings(sim);
	}
}

/* ---- mending ---- */

static void mend(struct sim *sim)
{
	struct world *world = &sim->world;

	trace(sim, "-- everything is mended");
	sim->is_mended = true;
	world->latency_us = 1000;
	world->jitter_us = 0;
	world->quorum_delay_us = 1000;
	heal(sim);
	for (int i = 0; i < (int)world->n_machines; i++) {
		world_daemon_thaw(world, i);
		world_power_on(world, i);
		world_daemon_start(world, i);
	}
}

static void all_fit(struct sim *sim)
{
	for (int i = 0; i < (int)sim->world.n_machines; i++) {
		for (unsigned j = 0; j < sim->config.n_groups; j++) {
			const struct core_group *group = &sim->config.groups[j];

			for (uint32_t k = 0; k < group->n_resources; k++)
				world_resource(&sim->world, i, group->resources[k].name,
					CORE_EV_RESOURCE_FIT, false, NULL);
		}
	}
}

static bool comes_to_rest(struct sim *sim, char *ret_text, size_t size)
{
	struct world *world = &sim->world;
	int64_t end_us = world->now_us + MEND_US;

	while (world->now_us < end_us) {
		if (!world_run_until(world, world->now_us + REST_US))
			return false;
		/* A daemon that was being stopped has gone meanwhile. */
		for (int i = 0; i < (int)world->n_machines; i++)
			world_daemon_start(world, i);
		all_fit(sim);
		if (world_is_settled(world, true, ret_text, size) &&
			world_run_until(world, world->now_us + 100000) &&
			world_is_settled(world, true, ret_text, size))
			return true;
	}
	return false;
}

static void sim_fini(struct sim *sim)
{
	world_fini(&sim->world);
	config_free(&sim->config);
	for (unsigned i = 0; i < TRACE_LINES; i++)
		free(sim->trace[i]);
}

static bool sim_run(struct sim *sim, uint64_t seed, unsigned n_nodes, unsigned n_steps)
{
	char text[512] = "";
	bool is_good = true;

	sim->rng = seed;
	config_make(sim, n_nodes ? n_nodes : 2 + below(sim, 4));
	world_init(&sim->world, &sim->config, &world_ops, sim);
	sim->world.is_verbose = true;
	for (int i = 0; i < (int)sim->world.n_machines; i++) {
		world_power_on(&sim->world, i);
		if (chance(sim, 90))
			world_daemon_start(&sim->world, i);
	}
	for (unsigned step = 0; step < n_steps && is_good; step++) {
		int64_t us = chance(sim, 40) ? 1 + below(sim, 30000) : 1 + below(sim, 4000000);

		is_good = world_run_until(&sim->world, sim->world.now_us + us);
		if (is_good)
			fault(sim);
	}
	if (is_good) {
		mend(sim);
		is_good = comes_to_rest(sim, text, sizeof(text));
	}
	if (!is_good)
		printf("FAILED: seed %llu: %s\n", (unsigned long long)seed,
			sim->world.violation[0] ? sim->world.violation : text);
	return is_good;
}

static int usage(void)
{
	fputs("usage: sim --seed S | --seeds A..B [--nodes N] [--steps K]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	unsigned long long from = 1, to = 1;
	unsigned nodes = 0, steps = 60, failed = 0;
	bool is_single = false, has_seeds = false;
	uint64_t n_events = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0) {
			is_single = has_seeds = sscanf(argv[i + 1], "%llu", &from) == 1;
			to = from;
		} else if (strcmp(argv[i], "--seeds") == 0) {
			has_seeds = sscanf(argv[i + 1], "%llu..%llu", &from, &to) == 2;
		} else if (strcmp(argv[i], "--nodes") == 0) {
			nodes = (unsigned)atoi(argv[i + 1]);
		} else if (strcmp(argv[i], "--steps") == 0) {
			steps = (unsigned)atoi(argv[i + 1]);
		} else {
			return usage();
		}
	}
	if (!has_seeds || argc % 2 == 0 || nodes > CORE_MAX_NODES)
		return usage();
	for (unsigned long long seed = from; seed <= to && failed < 5; seed++) {
		struct sim *sim = calloc(1, sizeof(*sim));

		sim->prints = is_single;
		if (!sim_run(sim, seed, nodes, steps)) {
			failed++;
			trace_print(sim);
			printf("repeat with: sim --seed %llu --steps %u", seed, steps);
			printf(nodes ? " --nodes %u\n" : "\n", nodes);
		}
		n_events += sim->world.n_events;
		sim_fini(sim);
		free(sim);
	}
	printf("%llu seeds, %llu events, %u failed\n", to - from + 1, (unsigned long long)n_events,
		failed);
	return failed ? 1 : 0;
}
