/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge of "never served twice": asks on the wire who holds an address, round after round.
 *
 * Every interval it broadcasts one ARP request (or multicasts one neighbour solicitation) for each
 * address. The question's sender carries the round's number, and an answer repeats it, so answers
 * of different rounds can't be mixed up: two answers to one question from two MAC addresses are two
 * holders at one time. ARP questions have the form of an address probe (sender 0.0.0.0), so they
 * teach nobody anything; solicitations come from a pool of addresses that nobody has. It must run
 * in a namespace of its own (labnet.py: "judge"), so that answers do not refresh a client's cache.
 * Output: JSON lines; the last is the summary.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TARGETS_MAX 64
#define ROUNDS 64 /* remembered; an answer to an older one is late and only counted */
#define HOLDERS_MAX 8
#define DOUBLES_MAX 64
#define STRAGGLERS_NS 50000000

struct arp_frame {
	struct ether_header eth;
	struct arphdr arp;
	uint8_t sha[6], spa[4], tha[6], tpa[4];
} __attribute__((packed));

struct nd_frame {
	struct ether_header eth;
	struct ip6_hdr ip;
	uint8_t type, code;
	uint16_t checksum;
	uint32_t flags;
	struct in6_addr target;
	uint8_t option_type, option_len;
	uint8_t mac[6];
} __attribute__((packed));

/* The first answer to a round's question. */
struct round {
	uint64_t number;
	bool is_answered;
	uint8_t mac[6];
	int64_t at_ns;
};

/* A time in which two machines answered, over consecutive rounds. */
struct twice {
	uint64_t last_round;
	int64_t start_ns, end_ns;
	uint8_t first[6], second[6];
};

struct target {
	const char *text;
	bool is_ipv6;
	struct in_addr v4;
	struct in6_addr v6;
	uint64_t answers, late, announcements, n_doubles;
	unsigned n_holders;
	uint8_t holders[HOLDERS_MAX][6]; /* every MAC that ever answered */
	uint8_t holder[6];               /* of the latest answer */
	struct round rounds[ROUNDS];
	struct twice doubles[DOUBLES_MAX];
};

struct watch {
	int fd, ifindex;
	uint8_t mac[6];
	struct in6_addr pool; /* its last 16 bits are the round's */
	int64_t interval_ns, duration_ns;
	bool all, announce;
	uint64_t round; /* of the latest question */
	unsigned n_targets;
	struct target targets[TARGETS_MAX];
};

static int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *mac_text(const uint8_t mac[static 6], char text[static 18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		mac[5]);
	return text;
}

static void line(
	const char *kind, const struct target *target, const uint8_t mac[static 6], int64_t at_ns)
{
	char text[18];

	printf("{\"kind\":\"%s\",\"address\":\"%s\",\"mac\":\"%s\",\"boottime_ns\":%lld}\n", kind,
		target->text, mac_text(mac, text), (long long)at_ns);
}

/* The sender hardware address of a round's question. */
static void round_mac(uint64_t round, uint8_t mac[static 6])
{
	const uint8_t base[4] = {0x02, 0xa4, 0x00, 0x00};

	memcpy(mac, base, 4);
	mac[4] = (uint8_t)(round >> 8);
	mac[5] = (uint8_t)round;
}

static void transmit(const struct watch *watch, const void *frame, size_t len)
{
	if (send(watch->fd, frame, len, 0) < 0)
		perror("arpwatch: send");
}

static void ask_v4(const struct watch *watch, const struct target *target)
{
	struct arp_frame frame = {
		.eth.ether_type = htons(ETHERTYPE_ARP),
		.arp = {htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REQUEST)},
	};

	memset(frame.eth.ether_dhost, 0xff, 6);
	memcpy(frame.eth.ether_shost, watch->mac, 6);
	round_mac(watch->round, frame.sha);
	memcpy(frame.tpa, &target->v4, 4);
	transmit(watch, &frame, sizeof(frame));
}

/* Of the ICMPv6 part with its pseudo header (RFC 8200, 8.1). */
static uint16_t nd_checksum(const struct nd_frame *frame)
{
	const size_t len = sizeof(*frame) - offsetof(struct nd_frame, type);
	const uint8_t *icmp = &frame->type;
	const uint8_t *addresses = (const uint8_t *)&frame->ip.ip6_src;
	uint32_t sum = (uint32_t)len + IPPROTO_ICMPV6;

	for (size_t i = 0; i < 32; i += 2)
		sum += (uint32_t)addresses[i] << 8 | addresses[i + 1];
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)icmp[i] << 8 | icmp[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void ask_v6(const struct watch *watch, const struct target *target)
{
	const uint8_t *last = &target->v6.s6_addr[13];
	struct nd_frame frame = {
		.eth.ether_type = htons(ETHERTYPE_IPV6),
		.eth.ether_dhost = {0x33, 0x33, 0xff, last[0], last[1], last[2]},
		.type = ND_NEIGHBOR_SOLICIT,
		.target = target->v6,
		.option_type = ND_OPT_SOURCE_LINKADDR,
		.option_len = 1,
	};

	memcpy(frame.eth.ether_shost, watch->mac, 6);
	memcpy(frame.mac, watch->mac, 6);
	frame.ip.ip6_flow = htonl(6u << 28);
	frame.ip.ip6_plen = htons(sizeof(frame) - offsetof(struct nd_frame, type));
	frame.ip.ip6_nxt = IPPROTO_ICMPV6;
	frame.ip.ip6_hlim = 255;
	frame.ip.ip6_src = watch->pool;
	frame.ip.ip6_src.s6_addr[15] = (uint8_t)(watch->round % ROUNDS);
	inet_pton(AF_INET6, "ff02::1:ff00:0", &frame.ip.ip6_dst);
	memcpy(&frame.ip.ip6_dst.s6_addr[13], last, 3);
	frame.checksum = nd_checksum(&frame);
	transmit(watch, &frame, sizeof(frame));
}

static void ask(struct watch *watch)
{
	if (watch->round++ == 0 && watch->announce)
		printf("started\n");
	for (unsigned i = 0; i < watch->n_targets; i++) {
		struct target *target = &watch->targets[i];

		target->rounds[watch->round % ROUNDS] = (struct round){.number = watch->round};
		if (target->is_ipv6)
			ask_v6(watch, target);
		else
			ask_v4(watch, target);
	}
}

static void note_twice(struct target *target, const struct round *round,
	const uint8_t mac[static 6], int64_t at_ns)
{
	uint64_t index = target->n_doubles ? target->n_doubles - 1 : 0;
	struct twice *twice = &target->doubles[index % DOUBLES_MAX];

	if (target->n_doubles && round->number <= twice->last_round + 1) {
		twice->last_round = round->number;
		twice->end_ns = at_ns;
		return;
	}
	twice = &target->doubles[target->n_doubles++ % DOUBLES_MAX];
	*twice = (struct twice){round->number, round->at_ns, at_ns, {0}, {0}};
	memcpy(twice->first, round->mac, 6);
	memcpy(twice->second, mac, 6);
	line("two-holders", target, mac, at_ns);
}

static void note_answer(struct watch *watch, struct target *target, uint64_t number,
	const uint8_t mac[static 6], int64_t at_ns)
{
	struct round *round = &target->rounds[number % ROUNDS];
	bool is_known = false;

	target->answers++;
	for (unsigned i = 0; i < target->n_holders; i++)
		is_known = is_known || memcmp(target->holders[i], mac, 6) == 0;
	if (!is_known && target->n_holders < HOLDERS_MAX)
		memcpy(target->holders[target->n_holders++], mac, 6);
	if (watch->all)
		line("answer", target, mac, at_ns);
	if (memcmp(target->holder, mac, 6) != 0) {
		memcpy(target->holder, mac, 6);
		line("holder", target, mac, at_ns);
	}
	if (round->number != number) {
		target->late++;
	} else if (!round->is_answered) {
		round->is_answered = true;
		round->at_ns = at_ns;
		memcpy(round->mac, mac, 6);
	} else if (memcmp(round->mac, mac, 6) != 0) {
		note_twice(target, round, mac, at_ns);
	}
}

static void note_announcement(struct target *target, const uint8_t mac[static 6], int64_t at_ns)
{
	target->announcements++;
	line("announcement", target, mac, at_ns);
}

/* The full number of a round of which only the low bits came back. */
static uint64_t full_round(const struct watch *watch, uint64_t low, uint64_t modulus)
{
	return watch->round - (watch->round - low) % modulus;
}

static void see_arp(struct watch *watch, const struct arp_frame *frame, int64_t at_ns)
{
	uint8_t base[6];

	round_mac(0, base);
	for (unsigned i = 0; i < watch->n_targets; i++) {
		struct target *target = &watch->targets[i];

		if (target->is_ipv6 || memcmp(frame->spa, &target->v4, 4) != 0)
			continue;
		if (memcmp(frame->spa, frame->tpa, 4) == 0)
			note_announcement(target, frame->sha, at_ns);
		else if (ntohs(frame->arp.ar_op) == ARPOP_REPLY && memcmp(frame->tha, base, 4) == 0)
			note_answer(watch, target,
				full_round(
					watch, (uint64_t)frame->tha[4] << 8 | frame->tha[5], 65536),
				frame->sha, at_ns);
	}
}

static void see_nd(struct watch *watch, const struct nd_frame *frame, int64_t at_ns)
{
	const uint8_t *to = frame->ip.ip6_dst.s6_addr;
	/* A solicited answer may leave the option out; then the frame's source tells. */
	const uint8_t *mac =
		frame->option_type == ND_OPT_TARGET_LINKADDR ? frame->mac : frame->eth.ether_shost;

	if (frame->ip.ip6_nxt != IPPROTO_ICMPV6 || frame->type != ND_NEIGHBOR_ADVERT)
		return;
	for (unsigned i = 0; i < watch->n_targets; i++) {
		struct target *target = &watch->targets[i];

		if (!target->is_ipv6 || memcmp(&frame->target, &target->v6, 16) != 0)
			continue;
		if (IN6_IS_ADDR_MULTICAST(&frame->ip.ip6_dst))
			note_announcement(target, mac, at_ns);
		else if (memcmp(to, &watch->pool, 15) == 0)
			note_answer(watch, target, full_round(watch, to[15], ROUNDS), mac, at_ns);
	}
}

/* The kernel's time stamp, as CLOCK_BOOTTIME. */
static int64_t arrival_ns(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct timespec stamp;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
		return stamp.tv_sec * 1000000000 + stamp.tv_nsec - now_ns(CLOCK_REALTIME) +
		       now_ns(CLOCK_BOOTTIME);
	}
	return now_ns(CLOCK_BOOTTIME);
}

static void receive(struct watch *watch)
{
	for (;;) {
		union {
			uint8_t bytes[512];
			struct arp_frame arp;
			struct nd_frame nd;
		} frame;
		uint8_t control[256];
		struct sockaddr_ll from = {0};
		struct iovec iov = {&frame, sizeof(frame)};
		struct msghdr msg = {.msg_name = &from,
			.msg_namelen = sizeof(from),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};
		size_t len;
		ssize_t got;

		memset(&frame, 0, sizeof(frame)); /* a short frame has no option: zeros */
		got = recvmsg(watch->fd, &msg, 0);
		if (got < 0)
			return;
		len = (size_t)got;
		if (from.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (ntohs(from.sll_protocol) == ETHERTYPE_ARP && len >= sizeof(frame.arp))
			see_arp(watch, &frame.arp, arrival_ns(&msg));
		else if (ntohs(from.sll_protocol) == ETHERTYPE_IPV6 &&
			 len >= offsetof(struct nd_frame, option_type))
			see_nd(watch, &frame.nd, arrival_ns(&msg));
	}
}

/* ARP, and ICMPv6 neighbour advertisements; nothing else wakes us. */
static int attach_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct ether_header, ether_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 0, 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct nd_frame, ip.ip6_nxt)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct nd_frame, type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_ADVERT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static int open_wire(struct watch *watch, const char *interface)
{
	struct sockaddr_ll local = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq promiscuous = {.mr_type = PACKET_MR_PROMISC};
	struct ifreq request = {0};
	int on = 1, size = 1 << 20;

	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	watch->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (watch->fd < 0 || ioctl(watch->fd, SIOCGIFHWADDR, &request) < 0)
		return -errno;
	memcpy(watch->mac, request.ifr_hwaddr.sa_data, 6);
	if (ioctl(watch->fd, SIOCGIFINDEX, &request) < 0)
		return -errno;
	watch->ifindex = local.sll_ifindex = promiscuous.mr_ifindex = request.ifr_ifindex;
	if (attach_filter(watch->fd) < 0 ||
		setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
		setsockopt(watch->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
		setsockopt(watch->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous,
			sizeof(promiscuous)) < 0 ||
		bind(watch->fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -errno;
	return 0;
}

static void print_summary(const struct watch *watch)
{
	char text[18], other[18];

	printf("{\"kind\":\"summary\",\"rounds\":%llu,\"addresses\":{",
		(unsigned long long)watch->round);
	for (unsigned i = 0; i < watch->n_targets; i++) {
		const struct target *target = &watch->targets[i];
		uint64_t listed = target->n_doubles < DOUBLES_MAX ? target->n_doubles : DOUBLES_MAX;

		printf("%s\"%s\":{\"answers\":%llu,\"late\":%llu,\"announcements\":%llu,"
		       "\"holders\":[",
			i ? "," : "", target->text, (unsigned long long)target->answers,
			(unsigned long long)target->late,
			(unsigned long long)target->announcements);
		for (unsigned k = 0; k < target->n_holders; k++)
			printf("%s\"%s\"", k ? "," : "", mac_text(target->holders[k], text));
		printf("],\"two_holders_total\":%llu,\"two_holders\":[",
			(unsigned long long)target->n_doubles);
		for (uint64_t k = 0; k < listed; k++)
			printf("%s{\"start_boottime_ns\":%lld,\"end_boottime_ns\":%lld,"
			       "\"macs\":[\"%s\",\"%s\"]}",
				k ? "," : "", (long long)target->doubles[k].start_ns,
				(long long)target->doubles[k].end_ns,
				mac_text(target->doubles[k].first, text),
				mac_text(target->doubles[k].second, other));
		printf("]}");
	}
	printf("}}\n");
}

static int run(struct watch *watch)
{
	struct itimerspec spec = {
		.it_interval = {watch->interval_ns / 1000000000, watch->interval_ns % 1000000000},
		.it_value = {0, 1},
	};
	int64_t start_ns = now_ns(CLOCK_BOOTTIME), ended_ns = 0;
	struct pollfd fds[3] = {
		{.fd = watch->fd, .events = POLLIN}, {.events = POLLIN}, {.events = POLLIN}};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fds[1].fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	fds[2].fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fds[1].fd < 0 || fds[2].fd < 0 || timerfd_settime(fds[2].fd, 0, &spec, NULL) < 0)
		return -errno;
	for (;;) {
		uint64_t ticks;
		int64_t now;

		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return -errno;
		receive(watch);
		now = now_ns(CLOCK_BOOTTIME);
		if (!ended_ns && (fds[1].revents || (watch->duration_ns &&
							    now - start_ns > watch->duration_ns))) {
			ended_ns = now;
			fds[1].fd = -1;
		}
		if (ended_ns && now - ended_ns > STRAGGLERS_NS)
			return 0;
		/* However many ticks have passed, one round: a late burst proves nothing. */
		if (read(fds[2].fd, &ticks, sizeof(ticks)) == sizeof(ticks) && !ended_ns)
			ask(watch);
	}
}

/* True if the whole text is a number within the bounds. */
static bool number(const char *text, double min, double max, double *ret)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		return false;
	*ret = value;
	return true;
}

static int usage(void)
{
	fprintf(stderr, "usage: arpwatch --interface IF [--interval-us N] [--for SECONDS] [--all]\n"
			"                [--announce] [--pool fd77::ffff:0] ADDRESS...\n"
			"  --announce: a line \"started\" once questions are on their way\n");
	return 2;
}

static int add_target(struct watch *watch, const char *text)
{
	struct target *target = &watch->targets[watch->n_targets];

	if (watch->n_targets == TARGETS_MAX) {
		fprintf(stderr, "arpwatch: more than %d addresses\n", TARGETS_MAX);
		return 2;
	}
	target->text = text;
	target->is_ipv6 = inet_pton(AF_INET6, text, &target->v6) == 1;
	if (!target->is_ipv6 && inet_pton(AF_INET, text, &target->v4) != 1) {
		fprintf(stderr, "arpwatch: %s: not an IPv4 or IPv6 address\n", text);
		return 2;
	}
	watch->n_targets++;
	return 0;
}

static int parse_args(int argc, char *argv[], struct watch *watch, const char **ret_interface)
{
	static const struct option longs[] = {{"interface", required_argument, NULL, 'I'},
		{"interval-us", required_argument, NULL, 'i'},
		{"for", required_argument, NULL, 'f'}, {"all", no_argument, NULL, 'a'},
		{"announce", no_argument, NULL, 'A'}, {"pool", required_argument, NULL, 'p'}, {0}};
	const char *pool = "fd77::ffff:0";
	double interval_us = 5000, seconds = 0;
	bool good = true;
	int c, rc = 0;

	*ret_interface = NULL;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'I': *ret_interface = optarg; break;
		case 'i': good = good && number(optarg, 500, 1e6, &interval_us); break;
		case 'f': good = good && number(optarg, 0.001, 1e6, &seconds); break;
		case 'a': watch->all = true; break;
		case 'A': watch->announce = true; break;
		case 'p': pool = optarg; break;
		default: return usage();
		}
	}
	if (!good || !*ret_interface || optind == argc ||
		inet_pton(AF_INET6, pool, &watch->pool) != 1)
		return usage();
	watch->interval_ns = (int64_t)(interval_us * 1e3);
	watch->duration_ns = (int64_t)(seconds * 1e9);
	for (int i = optind; i < argc && rc == 0; i++)
		rc = add_target(watch, argv[i]);
	return rc;
}

int main(int argc, char *argv[])
{
	struct watch *watch = calloc(1, sizeof(*watch));
	const char *interface;
	int rc;

	if (!watch)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	rc = parse_args(argc, argv, watch, &interface);
	if (rc == 0) {
		rc = open_wire(watch, interface);
		if (rc == 0)
			rc = run(watch);
		if (rc < 0)
			fprintf(stderr, "arpwatch: %s: %s\n", interface, strerror(-rc));
		else
			print_summary(watch);
		rc = rc < 0 ? 1 : 0;
	}
	free(watch);
	return rc;
}
