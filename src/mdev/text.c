/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/text.h"

#include <stdio.h>
#include <string.h>

struct text_quote text_quote(const char *word)
{
    struct text_quote quote = {""};
    size_t length = word ? strnlen(word, TEXT_QUOTE_MAX) : 0;

    for (size_t i = 0; i < length; i++)
        quote.text[i] = (char)(word[i] < ' ' || word[i] > '~' ? '?' : word[i]);
    if (word && word[length])
        memcpy(quote.text + length, "…", sizeof("…"));
    return quote;
}

void text_list_add(struct text_list *list, const char *name)
{
    const size_t room_for_dots = sizeof(", …") - 1;
    const char *comma = list->used ? ", " : "";
    size_t need = strlen(comma) + strlen(name);

    if (list->full)
        return;
    if (need + room_for_dots >= sizeof(list->text) - list->used) {
        list->full = true;
        name = "…";
    }
    list->used += (size_t)snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s",
                                   comma, name);
}

/* Not isalnum(): what a name may hold does not depend on the locale. */
static bool is_ascii_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool text_is_name(const char *name, const char *others, size_t max)
{
    size_t length = 0;

    if (!name)
        return false;
    for (; name[length]; length++) {
        if (length == max || !(is_ascii_alnum(name[length]) || strchr(others, name[length])))
            return false;
    }
    return length > 0;
}
