/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers, sizes and switches as a user writes them. The whole string must be one value: no leading
 * or trailing characters, no sign, no overflow. −EINVAL for a malformed one, −ERANGE for one that
 * does not fit; *value is untouched then.
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal, or hexadecimal with 0x. */
int parse_number(const char *text, uint64_t *value);
/* A number with an optional K, M, G or T (either case; powers of 1024). */
int parse_size(const char *text, uint64_t *value);
/* yes no on off true false 1 0, in either case */
int parse_bool(const char *text, bool *value);
/* A size as short as it is exact: "64M", "1536K", "100". */
#define PARSE_SIZE_TEXT_MAX 24
void parse_size_format(uint64_t size, char text[PARSE_SIZE_TEXT_MAX]);

#endif
