/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sysctls and multicast memberships of links. Called by vip_engine.c.
 *
 * Invariant: a setting that an admin has made stricter is left as it is.
 */
#include "resources/link_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOLICITED_SOCKETS_MAX 1024

static int setting_raise(const char *name, const char *key, char wanted)
{
	char path[96], value[16] = "";
	ssize_t len;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", name, key);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = pread(fd, value, sizeof(value) - 1, 0);
	if (len < 0)
		rc = -errno;
	else if (value[0] < wanted && pwrite(fd, &wanted, 1, 0) != 1)
		rc = -errno;
	close(fd);
	return rc;
}

int link_setup_ipv4(const char *name, char *reterr, size_t size)
{
	static const struct {
		const char *key;
		char value;
	} settings[] = {{"promote_secondaries", '1'}, {"arp_ignore", '1'}, {"arp_announce", '2'}};
	int rc = 0;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		int err = setting_raise(name, settings[i].key, settings[i].value);

		if (err == 0 || rc < 0)
			continue;
		rc = err;
		snprintf(reterr, size,
			"net.ipv4.conf.%s.%s could not be set to %c (%s); set it with sysctl", name,
			settings[i].key, settings[i].value, strerror(-err));
	}
	return rc;
}

/* One socket holds as many memberships as net.core.optmem_max allows: some 200 to 2,000. */
struct solicited {
	int sockets[SOLICITED_SOCKETS_MAX];
	unsigned n_sockets;
};

int solicited_new(struct solicited **ret_solicited)
{
	*ret_solicited = calloc(1, sizeof(**ret_solicited));
	return *ret_solicited ? 0 : -ENOMEM;
}

void solicited_free(struct solicited *solicited)
{
	if (!solicited)
		return;
	for (unsigned i = 0; i < solicited->n_sockets; i++)
		close(solicited->sockets[i]);
	free(solicited);
}

static struct ipv6_mreq group_of(const struct ip_address *address, int ifindex)
{
	struct ipv6_mreq mreq = {.ipv6mr_interface = (unsigned)ifindex};
	uint8_t *group = mreq.ipv6mr_multiaddr.s6_addr;

	group[0] = 0xff;
	group[1] = 0x02;
	group[11] = 0x01;
	group[12] = 0xff;
	memcpy(group + 13, address->bytes + 13, 3);
	return mreq;
}

bool solicited_is_same_group(const struct ip_address *a, const struct ip_address *b)
{
	return a->family == AF_INET6 && b->family == AF_INET6 &&
	       memcmp(a->bytes + 13, b->bytes + 13, 3) == 0;
}

static int join_on(int fd, const struct ipv6_mreq *mreq)
{
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, mreq, sizeof(*mreq)) == 0 ||
		errno == EADDRINUSE)
		return 0;
	return -errno;
}

int solicited_join(
	struct solicited *solicited, int ifindex, const struct ip_address *address, int *ret_socket)
{
	struct ipv6_mreq mreq = group_of(address, ifindex);
	int fd, rc;

	if (solicited->n_sockets > 0) {
		fd = solicited->sockets[solicited->n_sockets - 1];
		rc = join_on(fd, &mreq);
		if (rc == 0)
			*ret_socket = fd;
		if (rc != -ENOBUFS && rc != -ENOMEM)
			return rc;
	}
	if (solicited->n_sockets == SOLICITED_SOCKETS_MAX)
		return -ENOBUFS;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = join_on(fd, &mreq);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	solicited->sockets[solicited->n_sockets++] = fd;
	*ret_socket = fd;
	return 0;
}

void solicited_leave(int socket, int ifindex, const struct ip_address *address)
{
	struct ipv6_mreq mreq = group_of(address, ifindex);

	/* Fails when the link has gone, and its memberships with it. */
	(void)setsockopt(socket, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &mreq, sizeof(mreq));
}
