/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The writer thread of the state folder. Called by saved.c and history.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clusterd/log.h"
#include "clusterd/statefile.h"

struct job {
	struct job *next;
	const char *name; /* a literal */
	bool is_append;
	char text[];
};

struct statefile {
	int dir_fd;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t more, done;
	struct job *first, **last;
	unsigned n_jobs;
	bool is_closing, has_ended, has_complained;
};

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int do_replace(int dir_fd, const char *name, const char *text)
{
	char temporary[64];
	int fd, rc;

	snprintf(temporary, sizeof(temporary), "%s.new", name);
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, text, strlen(text));
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	if (rc == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
		rc = -errno;
	if (rc == 0 && fsync(dir_fd) < 0) /* the rename, too, is to outlive a power cut */
		return -errno;
	if (rc < 0)
		unlinkat(dir_fd, temporary, 0);
	return rc;
}

static bool is_torn(int fd)
{
	struct stat st;
	char last;

	return fstat(fd, &st) == 0 && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
	       last != '\n';
}

static int do_append(int dir_fd, const char *name, const char *text)
{
	struct stat st;
	int fd, rc;

	if (fstatat(dir_fd, name, &st, 0) == 0 && st.st_size > STATEFILE_APPEND_MAX) {
		char old[64];

		snprintf(old, sizeof(old), "%s" STATEFILE_OLD_SUFFIX, name);
		renameat(dir_fd, name, dir_fd, old);
	}
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = is_torn(fd) ? write_all(fd, "\n", 1) : 0;
	if (rc == 0)
		rc = write_all(fd, text, strlen(text));
	close(fd);
	return rc;
}

static struct job *take_job(struct statefile *statefile)
{
	struct job *job;

	pthread_mutex_lock(&statefile->mutex);
	while (!statefile->first && !statefile->is_closing)
		pthread_cond_wait(&statefile->more, &statefile->mutex);
	job = statefile->first;
	if (job) {
		statefile->first = job->next;
		if (!statefile->first)
			statefile->last = &statefile->first;
		statefile->n_jobs--;
	} else {
		statefile->has_ended = true;
		pthread_cond_signal(&statefile->done);
	}
	pthread_mutex_unlock(&statefile->mutex);
	return job;
}

static void *write_jobs(void *arg)
{
	struct statefile *statefile = arg;
	struct job *job;

	while ((job = take_job(statefile))) {
		int rc = job->is_append ? do_append(statefile->dir_fd, job->name, job->text)
					: do_replace(statefile->dir_fd, job->name, job->text);

		if (rc < 0 && !statefile->has_complained)
			log_error(
				"state folder: %s cannot be written: %s; the cluster goes on, but "
				"forgets orders and history at a restart of all nodes; free some "
				"space or make it writable",
				job->name, strerror(-rc));
		statefile->has_complained = rc < 0;
		free(job);
	}
	return NULL;
}

/* The writer is an ordinary thread, the loop may run in real time: it must not wait for a writer
 * that holds the mutex and gets no processor. */
static void locks_init(struct statefile *statefile)
{
	pthread_mutexattr_t mutex_attr;
	pthread_condattr_t attr;

	pthread_mutexattr_init(&mutex_attr);
	pthread_mutexattr_setprotocol(&mutex_attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&statefile->mutex, &mutex_attr);
	pthread_mutexattr_destroy(&mutex_attr);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&statefile->more, &attr);
	pthread_cond_init(&statefile->done, &attr);
	pthread_condattr_destroy(&attr);
}

int statefile_new(const char *dir, struct statefile **ret_statefile)
{
	struct statefile *statefile = calloc(1, sizeof(*statefile));
	pthread_attr_t attr;
	int rc;

	if (!statefile)
		return -ENOMEM;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		log_warning("state folder %s cannot be made: %s", dir, strerror(errno));
	statefile->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (statefile->dir_fd < 0)
		log_warning("state folder %s cannot be opened: %s; orders and history are not "
			    "kept; make it and restart clusterd",
			dir, strerror(errno));
	statefile->last = &statefile->first;
	locks_init(statefile);
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED); /* SCHED_OTHER, unlike ours */
	rc = -pthread_create(&statefile->thread, &attr, write_jobs, statefile);
	pthread_attr_destroy(&attr);
	if (rc < 0) {
		if (statefile->dir_fd >= 0)
			close(statefile->dir_fd);
		free(statefile);
		return rc;
	}
	*ret_statefile = statefile;
	return 0;
}

void statefile_free(struct statefile *statefile)
{
	struct timespec until;

	if (!statefile)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 2;
	pthread_mutex_lock(&statefile->mutex);
	statefile->is_closing = true;
	pthread_cond_signal(&statefile->more);
	while (!statefile->has_ended) {
		if (pthread_cond_timedwait(&statefile->done, &statefile->mutex, &until) != 0)
			break;
	}
	pthread_mutex_unlock(&statefile->mutex);
	if (!statefile->has_ended)
		return; /* it hangs in the disk: the process ends without it */
	pthread_join(statefile->thread, NULL);
	if (statefile->dir_fd >= 0)
		close(statefile->dir_fd);
	free(statefile);
}

static void drop_replace(struct statefile *statefile, const char *name)
{
	for (struct job **at = &statefile->first; *at; at = &(*at)->next) {
		struct job *job = *at;

		if (job->is_append || strcmp(job->name, name) != 0)
			continue;
		*at = job->next;
		if (!job->next)
			statefile->last = at;
		statefile->n_jobs--;
		free(job);
		return; /* there is never a second one */
	}
}

static void add_job(struct statefile *statefile, const char *name, const char *text, bool is_append)
{
	size_t len = strlen(text);
	struct job *job = malloc(sizeof(*job) + len + 2);

	if (!job)
		return;
	*job = (struct job){.name = name, .is_append = is_append};
	memcpy(job->text, text, len);
	/* In one piece with its line: less is left of it at a crash. */
	memcpy(job->text + len, is_append ? "\n" : "", is_append ? 2 : 1);
	pthread_mutex_lock(&statefile->mutex);
	if (!is_append)
		drop_replace(statefile, name);
	if (is_append && statefile->n_jobs >= STATEFILE_JOBS_MAX) {
		free(job);
	} else {
		*statefile->last = job;
		statefile->last = &job->next;
		statefile->n_jobs++;
		pthread_cond_signal(&statefile->more);
	}
	pthread_mutex_unlock(&statefile->mutex);
}

void statefile_replace(struct statefile *statefile, const char *name, const char *text)
{
	add_job(statefile, name, text, false);
}

void statefile_append(struct statefile *statefile, const char *name, const char *text)
{
	add_job(statefile, name, text, true);
}

/* malloc'd, or NULL with errno. */
static char *read_all(int fd)
{
	struct stat st;
	size_t len = 0;
	ssize_t n = 1;
	char *text;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (!S_ISREG(st.st_mode) || st.st_size > STATEFILE_READ_MAX) {
		errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	while (text && n != 0 && len < (size_t)st.st_size) {
		n = read(fd, text + len, (size_t)st.st_size - len);
		if (n < 0 && errno != EINTR) {
			free(text);
			return NULL;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	if (text)
		text[len] = '\0';
	return text;
}

char *statefile_read(const struct statefile *statefile, const char *name)
{
	/* Not waiting for the other end, should it be a pipe. */
	int fd = openat(statefile->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;
	int error;

	if (fd < 0)
		return NULL;
	text = read_all(fd);
	error = errno;
	close(fd);
	errno = error;
	return text;
}
