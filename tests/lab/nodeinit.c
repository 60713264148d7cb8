/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * First process of a lab machine: makes its namespaces and mounts, then reaps, until it is killed.
 *
 *   nodeinit boot NAME DIR          a machine named NAME whose files live below DIR
 *   nodeinit enter PID CMD [ARG…]   CMD inside the machine whose first process is PID
 *   nodeinit spawn LOG CMD [ARG…]   inside a machine: CMD as a daemon, its pid on stdout
 *
 * Invariant: the machine's PID namespace dies with this process, so one SIGKILL is a power cut, and
 * DIR/init ("PID STARTTIME") is written before anything else happens: nothing runs unrecorded.
 * Called by labnet.py only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_SIZE 512

/* The machine's own, persistent view of these; the host's files shine through. */
static const char *const overlays[] = {"etc", "var", "usr/local", NULL};

static const char *const folders[] = {"/run/lock", "/etc/corosync", "/etc/clusterd",
	"/var/lib/corosync", "/var/lib/clusterd", "/var/log/corosync", "/var/log/lab", NULL};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "nodeinit: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "%s%s\n", saved ? ": " : "", saved ? strerror(saved) : "");
	va_end(ap);
	_exit(1);
}

static void mkdir_all(const char *path)
{
	char part[TEXT_SIZE];
	size_t len = strlen(path);

	if (len >= sizeof(part)) {
		errno = ENAMETOOLONG;
		die("%s", path);
	}
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			die("cannot make the folder %s", part);
	}
}

static void mount_overlay(const char *dir, const char *name)
{
	char upper[TEXT_SIZE], work[TEXT_SIZE], target[TEXT_SIZE], options[4 * TEXT_SIZE];

	snprintf(upper, sizeof(upper), "%s/root/%s", dir, name);
	snprintf(work, sizeof(work), "%s/work/%s", dir, name);
	snprintf(target, sizeof(target), "/%s", name);
	mkdir_all(upper);
	mkdir_all(work);
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", target, upper,
		work);
	if (mount("overlay", target, "overlay", 0, options) < 0)
		die("cannot lay a private layer over %s (upper folder %s); choose a folder "
		    "on a plain file system with --dir",
			target, upper);
}

static void mount_new(const char *type, const char *target, const char *options)
{
	if (mount(type, target, type, MS_NOSUID | MS_NODEV, options) < 0)
		die("cannot mount %s on %s", type, target);
}

static void mount_all(const char *dir)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("cannot make mounts private");
	for (unsigned i = 0; overlays[i]; i++)
		mount_overlay(dir, overlays[i]);
	mount_new("proc", "/proc", NULL);
	mount_new("sysfs", "/sys", NULL);
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=700") < 0 && errno != ENODEV &&
		errno != ENOENT) /* a kernel without BPF */
		die("cannot mount bpf on /sys/fs/bpf");
	mount_new("tmpfs", "/dev/shm", "mode=1777");
	mount_new("tmpfs", "/run", "mode=755"); /* last: it may hide dir */
	for (unsigned i = 0; folders[i]; i++)
		mkdir_all(folders[i]);
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		die("cannot look at lo");
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		die("cannot bring lo up");
	close(fd);
}

/* Orphans of the machine come here. */
__attribute__((noreturn)) static void reap(void)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		sigwaitinfo(&chld, NULL);
	}
}

/* The machine's first process. go: one byte once we are recorded; ready: one byte once we are up.
 */
__attribute__((noreturn)) static void machine(const char *name, const char *dir, int go, int ready)
{
	sigset_t all;
	char byte;
	int null;

	if (read(go, &byte, 1) != 1)
		_exit(1);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	umask(022);
	if (sethostname(name, strlen(name)) < 0)
		die("cannot set the host name %s", name);
	mount_all(dir);
	loopback_up();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (chdir("/") < 0 || null < 0)
		die("cannot open /dev/null");
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	close_range(3, ~0u, 0);
	reap();
}

/* starttime: field 22 of /proc/PID/stat, what tells this process from a later one of its pid. */
static unsigned long long start_time(pid_t pid)
{
	char path[64], text[1024], *at;
	unsigned long long ticks = 0;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die("%s", path);
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	at = strrchr(text, ')'); /* the name may hold blanks; fields count from behind it */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%llu", &ticks) != 1) {
		errno = 0;
		die("%s: cannot find the start time", path);
	}
	return ticks;
}

static void record(const char *dir, pid_t pid)
{
	char path[TEXT_SIZE], temp[TEXT_SIZE + 8];
	FILE *f;

	snprintf(path, sizeof(path), "%s/init", dir);
	snprintf(temp, sizeof(temp), "%s.new", path);
	f = fopen(temp, "we");
	if (!f || fprintf(f, "%d %llu\n", (int)pid, start_time(pid)) < 0 || fclose(f) != 0 ||
		rename(temp, path) < 0)
		die("cannot write %s", path);
}

static int boot(const char *name, const char *dir)
{
	int go[2], ready[2];
	char byte;
	pid_t pid;

	mkdir_all(dir);
	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		die("cannot make a pipe");
	if (unshare(CLONE_NEWPID) < 0)
		die("cannot make a PID namespace (are you root?)");
	pid = fork();
	if (pid < 0)
		die("cannot fork");
	if (pid == 0) {
		close(go[1]);
		close(ready[0]);
		if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
			die("cannot make namespaces (are you root?)");
		machine(name, dir, go[0], ready[1]);
	}
	close(go[0]);
	close(ready[1]);
	record(dir, pid);
	if (write(go[1], "g", 1) != 1 || read(ready[0], &byte, 1) != 1) {
		waitpid(pid, NULL, 0);
		return 1; /* it has said why */
	}
	return 0;
}

/* A signal sent to us is meant for the command; one from the terminal has reached it already. */
static int pass_on(pid_t pid, const sigset_t *set)
{
	for (;;) {
		siginfo_t info;
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (sigwaitinfo(set, &info) > 0 && info.si_signo != SIGCHLD &&
			info.si_code != SI_KERNEL)
			kill(pid, info.si_signo);
	}
}

static int enter(const char *text, char *argv[])
{
	const int signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
	sigset_t set, old;
	pid_t pid = (pid_t)strtol(text, NULL, 10);
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0 || setns(fd, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET |
					CLONE_NEWIPC) < 0)
		die("cannot enter the machine of process %s", text);
	close(fd);
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, &old);
	pid = fork();
	if (pid < 0)
		die("cannot fork");
	if (pid == 0) {
		/* Whoever asked for the command must be able to end it for sure. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &old, NULL);
		execvp(argv[0], argv);
		fprintf(stderr, "nodeinit: %s: %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	return pass_on(pid, &set);
}

static int spawn(const char *log, char *argv[])
{
	int failed[2], code = 0;
	pid_t pid;

	if (pipe2(failed, O_CLOEXEC) < 0)
		die("cannot make a pipe");
	pid = fork();
	if (pid < 0)
		die("cannot fork");
	if (pid == 0) {
		int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		setsid();
		if (out >= 0 && null >= 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 &&
			dup2(out, 2) == 2) {
			close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
			execvp(argv[0], argv);
		}
		code = errno;
		if (write(failed[1], &code, sizeof(code)) < 0)
			_exit(2);
		_exit(1);
	}
	close(failed[1]);
	if (read(failed[0], &code, sizeof(code)) == sizeof(code)) {
		errno = code;
		die("cannot run %s (log %s)", argv[0], log);
	}
	printf("%d\n", (int)pid);
	return 0;
}

/* No exit handlers: between two PID namespaces what they start (a leak checker) would hang. */
__attribute__((noreturn)) static void finish(int code)
{
	fflush(stdout);
	_exit(code);
}

int main(int argc, char *argv[])
{
	if (argc == 4 && strcmp(argv[1], "boot") == 0)
		finish(boot(argv[2], argv[3]));
	if (argc >= 4 && strcmp(argv[1], "spawn") == 0)
		finish(spawn(argv[2], argv + 3));
	if (argc >= 4 && strcmp(argv[1], "enter") == 0)
		finish(enter(argv[2], argv + 3));
	fprintf(stderr, "usage: nodeinit boot NAME DIR | enter PID CMD [ARG...] | "
			"spawn LOG CMD [ARG...]\n");
	return 2;
}
