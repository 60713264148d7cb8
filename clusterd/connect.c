/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's tie to corosync: connects, passes views, quorum and messages to the core, and
 * connects again when corosync comes back. A connect may wait for corosync's first answer, so it
 * begins only when what ran here is stopped (of services that stop slowly: is being stopped).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

#define CONNECT_AGAIN_NS 250000000
#define STOPPING_MAX_NS 2000000000 /* how long what ran here may keep us from connecting again */
#define HOLDOFF_TOKENS_X10 26      /* as long as a ring change by somebody else's death can take */
#define EXIT_CONFIG 2              /* a restart cannot help: RestartPreventExitStatus */

static void on_view(void *ctx, const struct membership_view *view)
{
	struct core_event event = {.type = CORE_EV_VIEW};

	event.view.ring = view->ring;
	event.view.self_left = view->self_left;
	event.view.n_members = view->n_members;
	for (uint32_t i = 0; i < view->n_members; i++) {
		event.view.members[i].nodeid = view->members[i].nodeid;
		event.view.members[i].fresh = view->members[i].fresh;
	}
	event.view.n_ring = view->n_ring;
	memcpy(event.view.ring_nodes, view->ring_nodes, sizeof(view->ring_nodes));
	log_notice("ring %u.%llx: %u node%s, %u with clusterd", view->ring.nodeid,
		(unsigned long long)view->ring.seq, view->n_ring, view->n_ring == 1 ? "" : "s",
		view->n_members);
	daemon_step(ctx, &event);
}

static void on_quorum(void *ctx, struct ring_id ring, bool quorate)
{
	struct core_event event = {.type = CORE_EV_QUORUM};

	event.quorum.ring = ring;
	event.quorum.quorate = quorate;
	log_notice("ring %u.%llx: %s", ring.nodeid, (unsigned long long)ring.seq,
		quorate ? "has quorum" : "has no quorum");
	daemon_step(ctx, &event);
}

static void on_message(void *ctx, uint32_t nodeid, const void *data, size_t len)
{
	struct core_event event = {.type = CORE_EV_MESSAGE};

	event.message.nodeid = nodeid;
	event.message.data = data;
	event.message.len = len;
	daemon_step(ctx, &event);
}

static void on_lost(void *ctx, const char *why)
{
	daemon_rejoin(ctx, why);
}

static void on_shutdown(void *ctx)
{
	struct daemon *daemon = ctx;

	log_notice("corosync is asked to stop: handing over what runs here first");
	daemon->corosync_stops = true;
	daemon->shutdown_ns = clock_boottime_ns();
	daemon_stop(daemon, 0);
}

static const struct membership_ops ops = {
	.view = on_view,
	.quorum = on_quorum,
	.message = on_message,
	.lost = on_lost,
	.shutdown = on_shutdown,
};

/* corosync numbers the nodes, the config names them. */
bool connect_name_nodes(struct daemon *daemon, struct config *config)
{
	const struct membership_facts *facts;
	bool has_self = false;

	if (!daemon->membership)
		return false; /* the next connect names them */
	facts = membership_facts(daemon->membership);
	for (uint32_t i = 0; i < config->core.n_nodes; i++) {
		struct core_node *node = &config->core.nodes[i];

		node->nodeid = 0;
		for (uint32_t j = 0; j < facts->n_nodes; j++) {
			if (strcmp(facts->nodes[j].name, node->name) == 0)
				node->nodeid = facts->nodes[j].nodeid;
		}
		if (node->nodeid == 0)
			log_warning(
				"node %s was not in corosync's nodelist when clusterd connected "
				"to it, so it can't take part; add it there and restart "
				"clusterd on this node, or remove it from %s",
				node->name, daemon->config_file);
		has_self = has_self || (node->nodeid && node->nodeid == facts->own_nodeid);
	}
	return has_self;
}

/* 0, or the status to exit with. */
static int check_cluster(struct daemon *daemon)
{
	const struct membership_facts *facts = membership_facts(daemon->membership);
	const char *name = daemon->config->core.cluster_name;
	const struct core_node *self;

	if (strcmp(facts->cluster_name, name) != 0) {
		log_error(
			"%s: cluster.name is \"%s\", but corosync's totem.cluster_name is \"%s\"; "
			"make them equal",
			daemon->config_file, name, facts->cluster_name);
		return EXIT_CONFIG;
	}
	if (daemon->loaded)
		connect_name_nodes(daemon, daemon->loaded);
	if (!connect_name_nodes(daemon, daemon->config)) {
		log_error("%s: this machine (corosync node id %u) is none of the nodes; name the "
			  "nodes as corosync's nodelist does",
			daemon->config_file, facts->own_nodeid);
		return EXIT_CONFIG;
	}
	if (!daemon->core)
		return 0;
	self = &daemon->config->core.nodes[core_own_node(daemon->core)];
	if (self->nodeid != facts->own_nodeid) {
		log_error("this machine was node %s and is another one now (corosync node id %u): "
			  "clusterd begins anew",
			self->name, facts->own_nodeid);
		return EXIT_FAILURE;
	}
	return 0;
}

static int core_begin(struct daemon *daemon)
{
	const struct membership_facts *facts = membership_facts(daemon->membership);
	const struct core_config *config = &daemon->config->core;
	bool *offline = calloc(config->n_groups ? config->n_groups : 1, sizeof(*offline));
	struct core_setup setup = {
		.config = config,
		.own_nodeid = facts->own_nodeid,
		.incarnation = (uint64_t)clock_realtime_ms(),
		.holdoff_ms = facts->token_ms * HOLDOFF_TOKENS_X10 / 10,
		.offline = offline,
	};
	struct core_event no_view = {.type = CORE_EV_LOST};
	struct core_event reloaded = {.type = CORE_EV_CONFIG};
	int rc;

	if (!offline)
		return -ENOMEM;
	saved_load(daemon, &setup.saved_version, offline);
	rc = core_new(&setup, &daemon->core);
	free(offline);
	for (uint32_t i = 0; rc == 0 && i < config->n_groups; i++)
		core_found(daemon->core, i, resource_set_found(daemon->resources, i));
	/* Sets the core's clock going: unless a view comes within a second, what was found running
	 * is stopped. */
	if (rc == 0)
		daemon_step(daemon, &no_view);
	if (rc == 0 && daemon->loaded) {
		reloaded.config = &daemon->loaded->core;
		daemon_step(daemon, &reloaded);
	}
	return rc;
}

/* Without corosync nobody knows us, and others take over what ran here: stop it. */
static void stop_found(struct daemon *daemon)
{
	const struct resource_set *set = daemon->resources;

	for (uint32_t i = 0; i < daemon->config->core.n_groups; i++) {
		for (uint32_t j = daemon->config->core.groups[i].n_resources; j-- > 0;) {
			if (resource_set_found(set, i)[j])
				resource_set_op(daemon->resources, CORE_OP_STOP, i, j);
		}
	}
}

static void try_connect(void *ctx);

static void connect_later(struct daemon *daemon, int64_t delay_ns)
{
	loop_timer_del(daemon->loop, &daemon->connect_timer);
	if (loop_timer_add(daemon->loop, delay_ns, try_connect, daemon, "connect",
		    &daemon->connect_timer) < 0)
		daemon_fail(daemon, 1);
}

static void connect_failed(struct daemon *daemon, const char *why)
{
	membership_close(daemon->membership);
	daemon->membership = NULL;
	if (!daemon->connect_noted) {
		log_warning("not in the cluster yet: %s; trying again until it is", why);
		if (!daemon->core)
			stop_found(daemon);
	}
	daemon->connect_noted = true;
	connect_later(daemon, CONNECT_AGAIN_NS);
}

/* There is no core that would hand anything over. */
static void end_without_core(struct daemon *daemon)
{
	if (!resource_set_is_busy(daemon->resources) && !daemon->found_stopped) {
		daemon->found_stopped = true;
		stop_found(daemon);
	}
	if (resource_set_is_busy(daemon->resources))
		connect_later(daemon, CONNECT_AGAIN_NS);
	else
		daemon_fail(daemon, daemon->exit_code);
}

/* 1: there is more to do, in another turn of the loop. */
static int connect_step(struct daemon *daemon, char *reterr)
{
	int rc;

	if (!daemon->opening) {
		rc = membership_open(daemon->loop, &ops, daemon, &daemon->opening, reterr);
		return rc < 0 ? rc : 1;
	}
	rc = membership_connect(daemon->opening, reterr);
	if (rc > 0)
		return rc;
	if (rc < 0)
		membership_close(daemon->opening);
	else
		daemon->membership = daemon->opening;
	daemon->opening = NULL;
	return rc;
}

static void try_connect(void *ctx)
{
	struct daemon *daemon = ctx;
	char why[CORE_TEXT_SIZE] = "";
	int rc;

	if (daemon->is_stopping) {
		if (!daemon->core)
			end_without_core(daemon);
		return;
	}
	if (!daemon->opening && resource_set_is_busy(daemon->resources) &&
		(!daemon->core || clock_boottime_ns() - daemon->lost_ns < STOPPING_MAX_NS)) {
		connect_later(daemon, CONNECT_AGAIN_NS);
		return;
	}
	rc = connect_step(daemon, why);
	if (rc > 0) {
		connect_later(daemon, 0);
		return;
	}
	if (rc < 0) {
		connect_failed(daemon, why);
		return;
	}
	rc = check_cluster(daemon);
	if (rc != 0) {
		membership_close(daemon->membership);
		daemon->membership = NULL;
		daemon_stop(daemon, rc);
		return;
	}
	rc = daemon->core ? 0 : core_begin(daemon);
	if (rc < 0) {
		log_error("cannot join the cluster: %s", strerror(-rc));
		daemon_fail(daemon, 1);
		return;
	}
	/* Such as: corosync has not yet noticed that our last connection is gone. */
	rc = membership_join(daemon->membership, why);
	if (rc < 0) {
		connect_failed(daemon, why);
		return;
	}
	daemon->connect_noted = false;
	log_notice("connected to corosync, node %s (id %u), token %u ms",
		daemon->config->core.nodes[core_own_node(daemon->core)].name,
		membership_facts(daemon->membership)->own_nodeid,
		membership_facts(daemon->membership)->token_ms);
}

/* At once at the start only: what has just broken a tie, such as another clusterd on this machine,
 * may well break the next one too. */
void connect_start(struct daemon *daemon)
{
	connect_later(daemon, daemon->core ? CONNECT_AGAIN_NS : 0);
}
