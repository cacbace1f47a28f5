/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/parse.h"

#include "base/range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The value of a digit in any base up to 16; 16 for a character that is none. Knows no locale. */
static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10;
    return 16;
}

/*
 * Read a number and leave *end after its last digit. A number too large is read to its end before
 * it is an ERANGE, so that the caller can still tell a malformed text by what follows.
 */
static int read_number(const char *text, const char **end, uint64_t *value)
{
    unsigned base = 10;
    uint64_t result = 0;
    bool too_large = false;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    if (digit_value(*text) >= base)
        return -EINVAL;
    for (; digit_value(*text) < base; text++) {
        too_large |= MUL_OVERFLOW(result, base, &result);
        too_large |= ADD_OVERFLOW(result, digit_value(*text), &result);
    }
    *end = text;
    *value = result;
    return too_large ? -ERANGE : 0;
}

int parse_number(const char *text, uint64_t *value)
{
    uint64_t number;
    const char *end;
    int ret = read_number(text, &end, &number);

    if (ret == -EINVAL || *end)
        return -EINVAL;
    if (!ret)
        *value = number;
    return ret;
}

static const char size_units[] = "KMGT";

/* The power of two a unit stands for; −EINVAL for a letter that is no unit. */
static int size_unit_shift(char unit)
{
    const char *found = strchr(size_units, unit >= 'a' && unit <= 'z' ? unit - 'a' + 'A' : unit);

    return found ? (int)(found - size_units + 1) * 10 : -EINVAL;
}

int parse_size(const char *text, uint64_t *value)
{
    uint64_t number;
    const char *end;
    int ret = read_number(text, &end, &number);
    int shift = 0;

    if (ret == -EINVAL)
        return ret;
    if (*end) {
        shift = size_unit_shift(*end);
        if (shift < 0 || end[1])
            return -EINVAL;
    }
    if (ret || MUL_OVERFLOW(number, UINT64_C(1) << shift, &number))
        return -ERANGE;
    *value = number;
    return 0;
}

int parse_bool(const char *text, bool *value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {
        {"yes", true},  {"no", false},    {"on", true}, {"off", false},
        {"true", true}, {"false", false}, {"1", true},  {"0", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strcasecmp(text, words[i].word)) {
            *value = words[i].value;
            return 0;
        }
    }
    return -EINVAL;
}

void parse_size_format(uint64_t size, char text[PARSE_SIZE_TEXT_MAX])
{
    unsigned unit = 0; /* 0: bytes; n: size_units[n − 1] */

    while (size && !(size & 1023) && size_units[unit]) {
        size >>= 10;
        unit++;
    }
    snprintf(text, PARSE_SIZE_TEXT_MAX, "%" PRIu64 "%.*s", size, unit ? 1 : 0,
             unit ? &size_units[unit - 1] : "");
}
