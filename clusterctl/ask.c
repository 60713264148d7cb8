/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking clusterd, and telling the user why there is no answer. Called by every verb but
 * corosync-conf.
 */
#include "clusterctl/clusterctl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clusterctl/client.h"

static void tell_unreachable(int rc, pid_t pid, int timeout_ms)
{
	switch (-rc) {
	case ECONNREFUSED:
	case ENOENT:
		ctl_error("clusterd does not run on this machine: start it with 'systemctl start "
			  "clusterd'; 'journalctl -u clusterd' tells why it stopped");
		break;
	case ETIMEDOUT:
		ctl_error(
			"clusterd (process %d) has not answered for %d s: it hangs or is stopped; "
			"look at 'journalctl -u clusterd', then 'systemctl restart clusterd'",
			(int)pid, timeout_ms / 1000);
		break;
	case EPERM:
		ctl_error(
			"the control socket is held by a program that does not belong to root, "
			"not by clusterd: 'ss -xlp | grep @clusterd' names it; end it, then start "
			"clusterd");
		break;
	case EAGAIN:
		ctl_error("clusterd has too many clients at once: end some of them, or try again");
		break;
	case ENOTCONN:
	case ECONNRESET:
	case EPIPE:
		ctl_error("clusterd closed the connection: it stopped meanwhile; 'systemctl status "
			  "clusterd' tells more");
		break;
	case EPROTO:
	case EMSGSIZE:
		ctl_error(
			"clusterd (process %d) gave an answer that makes no sense: are clusterctl "
			"and the running clusterd of the same version? 'systemctl restart "
			"clusterd' "
			"runs the installed one",
			(int)pid);
		break;
	default: ctl_error("clusterd can't be reached: %s", strerror(-rc));
	}
}

static enum ctl_exit exit_of_code(const char *code)
{
	if (code && strcmp(code, "no-quorum") == 0)
		return CTL_NO_QUORUM;
	if (code && strcmp(code, "timeout") == 0)
		return CTL_TIMEOUT;
	return CTL_REFUSED;
}

static enum ctl_exit answer_check(json_t *reply, json_t **ret_reply)
{
	const char *text = json_string_value(json_object_get(reply, "error"));
	enum ctl_exit status;

	if (json_is_true(json_object_get(reply, "ok"))) {
		*ret_reply = reply;
		return CTL_DONE;
	}
	ctl_error("%s", text ? text : "clusterd refused, and did not say why: look at its log");
	status = exit_of_code(json_string_value(json_object_get(reply, "code")));
	json_decref(reply);
	return status;
}

enum ctl_exit client_ask(json_t *request, int timeout_ms, json_t **ret_reply)
{
	struct client *client = NULL;
	json_t *reply = NULL;
	pid_t pid = 0;
	int connect_ms = timeout_ms < CLIENT_TIMEOUT_MS ? timeout_ms : CLIENT_TIMEOUT_MS;
	int rc;

	if (geteuid() != 0) {
		json_decref(request);
		ctl_error("only root may talk to clusterd: run clusterctl as root (sudo clusterctl "
			  "…)");
		return CTL_UNREACHABLE;
	}
	if (!request) {
		ctl_error("the request can't be written: a name on the command line is not UTF-8");
		return CTL_USAGE;
	}
	rc = client_connect(connect_ms, &client, &pid);
	if (rc < 0)
		timeout_ms = connect_ms;
	else
		rc = client_call(client, request, timeout_ms, &reply);
	client_free(client);
	json_decref(request);
	if (rc < 0) {
		tell_unreachable(rc, pid, timeout_ms);
		return CTL_UNREACHABLE;
	}
	return answer_check(reply, ret_reply);
}
