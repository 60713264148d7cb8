/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold after every event, and what must be reached in the end.
 *
 * Nothing of a group is started while anything of it may run elsewhere, with these exceptions,
 * which stand as long as that copy does: the other machine is not in the ring that the start is
 * decided in, whether the view says so (a delivered ring change is the proof, as long as there are
 * no leases) or has not come yet; the copy was left by a daemon that was killed or frozen, and its
 * hold-off has passed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"
#include "tests/sim/inside.h"

static bool ring_equal(struct ring_id a, struct ring_id b)
{
	return a.nodeid == b.nodeid && a.seq == b.seq;
}

static bool is_in_ring_of(const struct machine *machine, int node)
{
	for (uint32_t i = 0; i < machine->view.n_ring; i++) {
		if (machine->view.ring_nodes[i] == (uint32_t)node + 1)
			return true;
	}
	return false;
}

static bool may_be_excused(const struct world *world, int node, int other, const struct truth *copy)
{
	const struct machine *machine = &world->machines[other];

	if (copy->is_excused || !is_in_ring_of(&world->machines[node], other) ||
		machine->ring_seq != world->machines[node].view.ring.seq)
		return true;
	return copy->is_left && world->now_us >= copy->left_us + (int64_t)world->holdoff_ms * 1000;
}

void check_start(struct world *world, int node, const char *group)
{
	const struct machine *machine = &world->machines[node];

	if (!machine->quorum || !ring_equal(machine->view.ring, machine->quorum_ring)) {
		world_violated(world, "%s starts %s without a quorate ring that matches its view",
			machine->name, group);
		return;
	}
	for (int other = 0; other < (int)world->n_machines; other++) {
		for (uint32_t i = 0; other != node && i < world->machines[other].n_truths; i++) {
			struct truth *copy = &world->machines[other].truths[i];

			if (!copy->is_serving || strcmp(copy->group, group) != 0)
				continue;
			if (!may_be_excused(world, node, other, copy)) {
				world_violated(world, "%s starts %s while %s may run on %s",
					machine->name, group, copy->resource,
					world->machines[other].name);
				return;
			}
			copy->is_excused = true;
		}
	}
}

/* A history begins anew where the first of a ring becomes a member: versions may come again. */
static void see_membership(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	bool is_member = core_phase(machine->core) == CORE_MEMBER, is_first = true;

	for (unsigned i = 0; i < world->n_machines; i++) {
		const struct machine *other = &world->machines[i];

		if (other != machine && other->core && !other->is_frozen &&
			other->ring_seq == machine->ring_seq)
			is_first = is_first && core_phase(other->core) != CORE_MEMBER;
	}
	if (is_member && !machine->was_member) {
		world->history += is_first;
		machine->history = world->history;
	}
	machine->was_member = is_member;
}

/* Whoever has just come may bring a history of its own; they settle that among themselves. */
static bool knows_all(const struct machine *machine)
{
	const struct core_state *state = core_state(machine->core);

	for (uint32_t i = 0; i < machine->view.n_members; i++) {
		if (state->nodes[machine->view.members[i].nodeid - 1].state == NODE_JOINING)
			return false;
	}
	return true;
}

/* Equal histories give equal states. */
static void check_digest(struct world *world, int node)
{
	const struct machine *machine = &world->machines[node];
	const struct core *core = machine->core;
	const struct core_state *state = core_state(core);
	uint64_t digest, ring_seq = core_ring(core).seq;
	struct digest_seen *seen;

	if (world->had_two_quorate || core_phase(core) != CORE_MEMBER || core_is_frozen(core))
		return;
	if (machine->ring_seq != ring_seq || !bus_is_whole(world, node) || !knows_all(machine))
		return; /* each side may be left with messages that the other never got */
	digest = state_digest(state);
	seen = &world->digests[(ring_seq * 31 + state->version) % WORLD_DIGESTS];
	if (seen->history == machine->history && seen->ring_seq == ring_seq &&
		seen->version == state->version && seen->digest != digest)
		world_violated(world, "%s and %s differ in state, in ring %llu at version %llu",
			machine->name, world->machines[seen->node].name,
			(unsigned long long)ring_seq, (unsigned long long)state->version);
	*seen = (struct digest_seen){machine->history, ring_seq, state->version, digest, node};
}

void check_all(struct world *world, int node)
{
	const struct machine *machine = &world->machines[node];
	const struct core *core = machine->core;

	if (core->queue_bytes > CORE_FROZEN_MAX || core->n_waiters > CORE_REQUESTS_MAX ||
		core->n_snapshots > CORE_MAX_NODES || machine->n_outbox > WORLD_MAX_ITEMS)
		world_violated(
			world, "%s: a queue of the core has grown out of bounds", machine->name);
	see_membership(world, node);
	check_digest(world, node);
}

/* ---- at rest ---- */

bool truth_serves(const struct world *world, int node, const char *group)
{
	const struct machine *machine = &world->machines[node];

	for (uint32_t i = 0; i < machine->n_truths; i++) {
		if (machine->truths[i].is_serving && strcmp(machine->truths[i].group, group) == 0)
			return true;
	}
	return false;
}

static bool is_all_up(const struct world *world, int node, const struct core_group *group)
{
	const struct machine *machine = &world->machines[node];
	uint32_t n_up = 0;

	for (uint32_t i = 0; i < machine->n_truths; i++) {
		n_up += machine->truths[i].state == TRUTH_RUNNING &&
			machine->truths[i].is_serving &&
			strcmp(machine->truths[i].group, group->name) == 0;
	}
	return n_up == group->n_resources;
}

int world_runs_on(const struct world *world, const char *group)
{
	int found = -1;

	for (int i = 0; i < (int)world->n_machines; i++) {
		const struct core_config *config = world->machines[i].config;

		for (uint32_t j = 0; j < config->n_groups; j++) {
			if (strcmp(config->groups[j].name, group) == 0 &&
				is_all_up(world, i, &config->groups[j]))
				found = found == -1 ? i : -2;
		}
	}
	return found;
}

/* A word for what is wrong with the group, or NULL. */
static const char *group_trouble(
	const struct world *world, const struct core *core, uint32_t index, bool must_run)
{
	const struct core_group *group = &core_config(core)->groups[index];
	const struct group_rec *rec = &core_state(core)->groups[index];
	bool is_visible = rec->state == GROUP_FAILED || rec->state == GROUP_BLOCKED;

	for (int i = 0; i < (int)world->n_machines; i++) {
		const struct machine *machine = &world->machines[i];
		bool is_owner = rec->state == GROUP_ONLINE && rec->owner == i;

		if (is_owner && !is_all_up(world, i, group))
			return "is said to be online, and is not";
		if (!is_owner && rec->state != GROUP_BLOCKED && machine->has_daemon &&
			!machine->is_frozen && truth_serves(world, i, group->name))
			return "runs where it should not";
	}
	if (rec->enabled ? rec->state != GROUP_ONLINE && (must_run || !is_visible)
			 : rec->state != GROUP_OFFLINE && rec->state != GROUP_BLOCKED)
		return "has not come to rest";
	return NULL;
}

static bool machine_is_settled(
	const struct world *world, int node, bool must_run, char *ret_text, size_t size)
{
	const struct machine *machine = &world->machines[node];
	const struct core *core = machine->core;
	enum core_phase phase;

	if (!machine->has_daemon || machine->is_frozen || machine->ring_seq == 0)
		return true;
	phase = core_phase(core);
	if (phase == CORE_DIFFERS || phase == CORE_OUT)
		return true;
	if (!machine->quorum) {
		snprintf(ret_text, size, "%s is without quorum and %s", machine->name,
			core_phase_name(phase));
		return phase == CORE_NO_QUORUM;
	}
	if (phase != CORE_MEMBER || core_is_frozen(core)) {
		snprintf(ret_text, size, "%s is no member but %s", machine->name,
			core_phase_name(phase));
		return false;
	}
	for (uint32_t i = 0; i < core_config(core)->n_groups; i++) {
		const char *trouble = group_trouble(world, core, i, must_run);

		if (!trouble)
			continue;
		snprintf(ret_text, size, "seen from %s, group %s (%s) %s", machine->name,
			core_config(core)->groups[i].name,
			group_state_name(core_state(core)->groups[i].state), trouble);
		return false;
	}
	return true;
}

bool world_is_settled(const struct world *world, bool must_run, char *ret_text, size_t size)
{
	const struct machine *first = NULL; /* of the latest ring looked at */

	for (int i = 0; i < (int)world->n_machines; i++) {
		const struct machine *machine = &world->machines[i];

		if (!machine_is_settled(world, i, must_run, ret_text, size))
			return false;
		if (!machine->has_daemon || machine->is_frozen || !machine->quorum ||
			core_phase(machine->core) != CORE_MEMBER)
			continue;
		if (first && first->ring_seq == machine->ring_seq &&
			(core_state(machine->core)->version != core_state(first->core)->version ||
				state_digest(core_state(machine->core)) !=
					state_digest(core_state(first->core)))) {
			snprintf(ret_text, size, "%s and %s do not hold the same state",
				first->name, machine->name);
			return false;
		}
		first = machine;
	}
	return true;
}
