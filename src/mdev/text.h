/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pieces of error messages: foreign words made safe to print, and lists of known names.
 */
#ifndef MDEV_TEXT_H
#define MDEV_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a foreign word that a message repeats, so that the rest of the message still fits. */
#define TEXT_QUOTE_MAX 80

struct text_quote {
    char text[TEXT_QUOTE_MAX + sizeof("…")];
};

/* `word` with '?' for what is not printable ASCII, cut to TEXT_QUOTE_MAX. NULL gives "". */
struct text_quote text_quote(const char *word);

/* "a, b, c": cut with "…" when full. Starts empty: struct text_list list = {0}; */
struct text_list {
    size_t used;
    bool full;
    char text[300];
};
void text_list_add(struct text_list *list, const char *name);

/* Whether `name` has 1 to `max` characters, all ASCII letters, digits or one of `others`. */
bool text_is_name(const char *name, const char *others, size_t max);

#endif
