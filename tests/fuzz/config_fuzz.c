/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: any bytes as a config. A config is refused with a reason, or its canonical form
 * parses to the same; and any bytes can be compared with a config of ours.
 *
 * Called by fuzz_main.c, or by libFuzzer: clang -fsanitize=fuzzer.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config.h"
#include "tests/fuzz/fuzz.h"

/* libconfig 1.5 loses the text it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static void check_accepted(struct config *config, const char *text)
{
	struct config_report report = {0};
	struct config *again = NULL;
	char *print = config_print(config), *reprint, words[CORE_TEXT_SIZE];

	assert(print);
	if (config_parse("print", print, &again, &report) < 0) {
		fprintf(stderr, "canonical form refused: %s\n%s", report.text, print);
		abort();
	}
	reprint = config_print(again);
	assert(reprint && strcmp(print, reprint) == 0);
	assert(config->core.digest == again->core.digest);
	config_difference(config->core.text, again->core.text, words, sizeof(words));
	assert(words[0] == '\0');
	config_difference(text, config->core.text, words, sizeof(words));
	config_difference(config->core.text, text, words, sizeof(words));
	free(print);
	free(reprint);
	config_free(config);
	config_free(again);
	config_report_fini(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_report report = {0};
	struct config *config;
	char *text = malloc(size + 1), words[CORE_TEXT_SIZE];

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (config_parse("fuzz", text, &config, &report) == 0) {
		assert(report.n_errors == 0);
		check_accepted(config, text);
	} else {
		assert(report.n_errors > 0 && report.len == strlen(report.text));
		assert(strncmp(report.text, "fuzz:", 5) == 0);
		config_difference(text, report.text, words, sizeof(words));
		assert(strlen(words) < sizeof(words));
	}
	config_report_fini(&report);
	free(text);
	return 0;
}
