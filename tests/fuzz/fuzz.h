/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzz target: one function, called by libFuzzer or by fuzz_main.c.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* 0; anything that is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
