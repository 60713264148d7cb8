/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the verbs that change something share. Called by failover.c and online.c.
 */
#include "clusterctl/order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "clusterctl/print.h"

int order_parse_wait(const char *text, int *ret_wait_s)
{
	char *end;
	long seconds;

	if (!text) {
		*ret_wait_s = ORDER_WAIT_DEFAULT_S;
		return 0;
	}
	errno = 0;
	seconds = strtol(text, &end, 10);
	if (errno || end == text || *end || seconds < 1 || seconds > ORDER_WAIT_MAX_S)
		return -EINVAL;
	*ret_wait_s = (int)seconds;
	return 0;
}

static void print_result(const json_t *reply, int has_waited)
{
	const char *owner = text_of(reply, "owner"), *state = text_of(reply, "state");
	const json_t *took = json_object_get(reply, "took_ms");

	printf("group %s: %s%s%s%s", text_of(reply, "group"), has_waited ? "" : "decided; now ",
		state, *owner ? " on " : "", owner);
	if (json_is_number(took))
		printf(" after %.1f ms", json_number_value(took));
	putchar('\n');
}

enum ctl_exit order_send(const struct order *order)
{
	json_t *request = json_pack("{s:s, s:s, s:s*, s:b}", "verb", order->verb, "name",
		order->name, "to", order->to, "wait", order->wait_s > 0);
	json_t *reply = NULL;
	enum ctl_exit status;

	if (request && order->wait_s > 0 &&
		json_object_set_new(request, "timeout_ms", json_integer(order->wait_s * 1000)) <
			0) {
		json_decref(request);
		request = NULL;
	}
	status = client_ask(request, order->wait_s * 1000 + ORDER_MARGIN_MS, &reply);
	if (status != CTL_DONE)
		return status;
	print_result(reply, order->wait_s > 0);
	json_decref(reply);
	return CTL_DONE;
}
