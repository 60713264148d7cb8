/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives a fuzz target without libFuzzer: runs every file of a corpus as it is, then mutations of
 * them for a bounded time.
 *
 * Input i of a seed is always the same, so what a child died of is replayed with
 * `PROGRAM --seed S --only I FILE...`. A child does the work: whatever ends it early, or hangs it,
 * is a failure, exit(0) in a library included.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX 65536
#define CORPUS_MAX 1024
#define MUTATIONS_MAX 12
#define HANG_S 30 /* without a new input */

struct input {
	uint8_t *data;
	size_t size;
};

struct fuzz {
	struct input corpus[CORPUS_MAX];
	size_t n;
	uint64_t seed, random;
	long only; /* this input alone, -1: all */
	int seconds;
	uint8_t work[INPUT_MAX];
};

struct progress {
	volatile long input;
	volatile bool is_done;
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(struct fuzz *fuzz)
{
	uint64_t z = fuzz->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static size_t below(struct fuzz *fuzz, size_t n)
{
	return n ? (size_t)(next(fuzz) % n) : 0;
}

/* Replaces work[at..at+cut) by len bytes; the size after, unchanged if it would not fit. */
static size_t splice(
	struct fuzz *fuzz, size_t size, size_t at, size_t cut, const uint8_t *with, size_t len)
{
	if (size - cut + len > INPUT_MAX)
		return size;
	memmove(fuzz->work + at + len, fuzz->work + at + cut, size - at - cut);
	memcpy(fuzz->work + at, with, len);
	return size - cut + len;
}

static size_t mutate(struct fuzz *fuzz, size_t size)
{
	static const char *const words[] = {"{", "}", "(", ")", "[", "]", "\"", ";", ",", "=", ":",
		"\n", "\\", "\\x00", "\\x80", "/*", "*/", "//", "#", "true", "false", "0", "-1",
		"4294967296", "9223372036854775807L", "1e9", "name = ", "type = ", "\"n1\"",
		"\"n2\"", "\"vip\"", "\"exec\"", "@include \"x\"\n", "\xff", "\t", "0x"};
	const struct input *other = &fuzz->corpus[below(fuzz, fuzz->n)];
	size_t at = below(fuzz, size + 1), rest = size - at, from, len;
	const char *word;

	switch (below(fuzz, 6)) {
	case 0: /* a bit */
		if (rest > 0)
			fuzz->work[at] ^= (uint8_t)(1u << below(fuzz, 8));
		return size;
	case 1: /* cut */
		return splice(
			fuzz, size, at, below(fuzz, rest < 40 ? rest + 1 : 40), fuzz->work, 0);
	case 2: /* a word */
		word = words[below(fuzz, sizeof(words) / sizeof(words[0]))];
		return splice(fuzz, size, at, 0, (const uint8_t *)word, strlen(word));
	case 3: /* a piece of another file in place of some */
		from = below(fuzz, other->size);
		len = below(fuzz, other->size - from);
		len = len < 200 ? len : 200;
		return splice(fuzz, size, at, below(fuzz, rest < 200 ? rest + 1 : 200),
			other->data + from, len);
	case 4: /* a word in place of a word */
		from = 0;
		while (at + from < size && fuzz->work[at + from] > ' ')
			from++; /* bytes of the word */
		word = words[below(fuzz, sizeof(words) / sizeof(words[0]))];
		return splice(fuzz, size, at, from, (const uint8_t *)word, strlen(word));
	default: /* a byte */
		if (rest > 0)
			fuzz->work[at] = (uint8_t)below(fuzz, 256);
		return size;
	}
}

static void run_input(struct fuzz *fuzz, long input)
{
	const struct input *base;
	size_t size;

	fuzz->random = fuzz->seed + (uint64_t)input * 0x2545f4914f6cdd1du;
	base = (size_t)input < fuzz->n ? &fuzz->corpus[input] : &fuzz->corpus[below(fuzz, fuzz->n)];
	size = base->size < INPUT_MAX ? base->size : INPUT_MAX;
	if (size > 0)
		memcpy(fuzz->work, base->data, size);
	if ((size_t)input >= fuzz->n) {
		for (size_t n = 1 + below(fuzz, MUTATIONS_MAX); n > 0; n--)
			size = mutate(fuzz, size);
	}
	LLVMFuzzerTestOneInput(fuzz->work, size);
}

static int run_child(struct fuzz *fuzz, struct progress *progress)
{
	time_t end = time(NULL) + fuzz->seconds;

	if (fuzz->only >= 0) {
		progress->input = fuzz->only;
		run_input(fuzz, fuzz->only);
	} else {
		do {
			run_input(fuzz, progress->input);
			progress->input++;
		} while (progress->input < (long)fuzz->n || time(NULL) < end);
	}
	progress->is_done = true;
	return 0;
}

/* The child's status, or -1: it hung, and was killed. */
static int wait_child(pid_t child, const struct progress *progress)
{
	const struct timespec step = {.tv_nsec = 50000000};
	long last = -1;
	int status, idle = 0;

	for (;;) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
		idle = progress->input == last ? idle + 1 : 0;
		last = progress->input;
		if (idle > HANG_S * 20) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			return -1;
		}
		nanosleep(&step, NULL);
	}
}

static int read_input(struct fuzz *fuzz, const char *path)
{
	struct input *input = &fuzz->corpus[fuzz->n];
	FILE *file = fopen(path, "r");

	if (!file || fuzz->n == CORPUS_MAX) {
		fprintf(stderr, "%s: %s\n", path, file ? "too many files" : strerror(errno));
		return -1;
	}
	input->data = malloc(INPUT_MAX);
	if (input->data)
		input->size = fread(input->data, 1, INPUT_MAX, file);
	fclose(file);
	fuzz->n++;
	return input->data ? 0 : -1;
}

static int parse_args(struct fuzz *fuzz, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		bool has_value = i + 1 < argc;

		if (strcmp(argv[i], "--seconds") == 0 && has_value)
			fuzz->seconds = atoi(argv[++i]);
		else if (strcmp(argv[i], "--seed") == 0 && has_value)
			fuzz->seed = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--only") == 0 && has_value)
			fuzz->only = atol(argv[++i]);
		else if (read_input(fuzz, argv[i]) < 0)
			return -1;
	}
	if (fuzz->n == 0)
		fprintf(stderr, "usage: %s [--seconds S] [--seed N] [--only I] FILE...\n", argv[0]);
	return fuzz->n == 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct fuzz *fuzz = calloc(1, sizeof(*fuzz));
	struct progress *progress = mmap(
		NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t child;
	long n;

	if (!fuzz || progress == MAP_FAILED)
		return 1;
	fuzz->seed = 1;
	fuzz->only = -1;
	fuzz->seconds = 5;
	if (parse_args(fuzz, argc, argv) < 0)
		return 2;
	fflush(NULL);
	child = fork();
	if (child == 0)
		status = run_child(fuzz, progress);
	else if (child > 0)
		status = wait_child(child, progress);
	for (size_t i = 0; i < fuzz->n; i++)
		free(fuzz->corpus[i].data);
	n = progress->input;
	if (child != 0 && status == 0 && progress->is_done)
		printf("%ld inputs from %zu files, seed %llu: all well\n", n, fuzz->n,
			(unsigned long long)fuzz->seed);
	else if (child != 0)
		fprintf(stderr, "%s (status 0x%x); replay it with --seed %llu --only %ld\n",
			status == -1 ? "HUNG" : "DIED", (unsigned)status,
			(unsigned long long)fuzz->seed, n);
	status = status != 0 || !progress->is_done;
	free(fuzz);
	munmap(progress, sizeof(*progress));
	return status;
}
