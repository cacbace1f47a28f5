/* SPDX-License-Identifier: BSD-3-Clause */
#include "tinyvm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Args: v a value or a cell's, c a cell; those after '?' can be left out. */
static const struct verb {
    const char *name;
    enum guest_code code;
    const char *args;
} verbs[] = {
    {"read", OP_READ, "v?c"},
    {"write", OP_WRITE, "vv"},
    {"expect", OP_EXPECT, "vv"},
    {"until", OP_UNTIL, "vvv"},
    {"watch", OP_WATCH, "vcccv"},
    {"mem-read", OP_MEM_READ, "v?c"},
    {"mem-write", OP_MEM_WRITE, "vv"},
    {"mem-expect", OP_MEM_EXPECT, "vv"},
    {"mem-fill", OP_MEM_FILL, "vvv"},
    {"mem-same", OP_MEM_SAME, "vvv"},
    {"reg-read", OP_REG_READ, "v?c"},
    {"reg-write", OP_REG_WRITE, "vv"},
    {"reg-expect", OP_REG_EXPECT, "vv"},
    {"reg-until", OP_REG_UNTIL, "vvv"},
    {"set", OP_SET, "cv"},
    {"add", OP_ADD, "cv"},
    {"wait", OP_WAIT, "cv"},
    {"repeat", OP_REPEAT, "v"},
    {"end", OP_END, ""},
    {"report", OP_REPORT, "v"},
    {"sleep", OP_SLEEP, "v"},
    {"prefault", OP_PREFAULT, "vv"},
    {"stats", OP_STATS, ""},
    {"pause", OP_PAUSE, ""},
    {"stop", OP_STOP, ""},
};
#define NUM_VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* A script while it is read. */
struct reader {
    struct script *script;
    uint32_t line;
    unsigned loops; /* open */
};

static int complain(const struct reader *reader, const char *what, const char *word)
{
    fprintf(stderr, "tinyvm: %s:%u: %s '%s'\n", reader->script->name, reader->line, what, word);
    return -EINVAL;
}

static int parse_number(const char *word, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(word, &end, 0);
    return errno || end == word || *end || *word == '-' ? -EINVAL : 0;
}

static int parse_cell(const char *word, uint64_t *value)
{
    if (strcmp(word, "@irq") == 0) {
        *value = GUEST_CELL_IRQ;
        return 0;
    }
    return *word == '@' && parse_number(word + 1, value) == 0 && *value < GUEST_CELLS ? 0 : -EINVAL;
}

static int parse_arg(const struct reader *reader, char kind, const char *word, struct guest_op *op)
{
    uint64_t *arg = &op->arg[op->given];

    if (parse_cell(word, arg) == 0)
        op->cells |= kind == 'v' ? 1u << op->given : 0;
    else if (kind == 'c')
        return complain(reader, "no cell (@0 to @30, @irq):", word);
    else if (parse_number(word, arg))
        return complain(reader, "neither a number nor a cell:", word);
    op->given++;
    return 0;
}

static int parse_args(const struct reader *reader, const struct verb *verb, char **rest,
                      struct guest_op *op)
{
    bool optional = false;
    const char *word;

    for (const char *kind = verb->args; *kind; kind++) {
        if (*kind == '?') {
            optional = true;
            continue;
        }
        word = strtok_r(NULL, " \t", rest);
        if (!word)
            return optional ? 0 : complain(reader, "too little after", verb->name);
        if (parse_arg(reader, *kind, word, op))
            return -EINVAL;
    }
    word = strtok_r(NULL, " \t", rest);
    return word ? complain(reader, "too much:", word) : 0;
}

static int nest(struct reader *reader, const struct guest_op *op)
{
    if (op->code == OP_REPEAT && reader->loops++ == GUEST_LOOPS)
        return complain(reader, "too many of these in one another:", "repeat");
    if (op->code == OP_REPEAT && !(op->cells & 1) && op->arg[0] == 0)
        return complain(reader, "once at least:", "repeat");
    if (op->code == OP_END && reader->loops-- == 0)
        return complain(reader, "nothing is open:", "end");
    return 0;
}

static int append(const struct reader *reader, const struct guest_op *op)
{
    struct script *script = reader->script;

    if ((script->nops + 1) * sizeof(*op) > GUEST_SCRIPT_MAX)
        return complain(reader, "the script is too long at", verbs[op->code].name);
    script->ops[script->nops++] = *op;
    return 0;
}

static int parse_line(struct reader *reader, char *line)
{
    struct guest_op op = {.line = reader->line};
    char *rest;
    const char *word;
    int ret;

    line[strcspn(line, "#\n")] = '\0';
    word = strtok_r(line, " \t", &rest);
    if (!word)
        return 0;
    for (size_t i = 0; i < NUM_VERBS; i++) {
        if (strcmp(word, verbs[i].name) != 0)
            continue;
        op.code = verbs[i].code;
        ret = parse_args(reader, &verbs[i], &rest, &op);
        if (!ret)
            ret = nest(reader, &op);
        return ret ? ret : append(reader, &op);
    }
    return complain(reader, "unknown:", word);
}

const char *script_verb(uint32_t code)
{
    return code < NUM_VERBS ? verbs[code].name : "?";
}

int script_load(struct script *script, const char *path)
{
    struct reader reader = {.script = script};
    struct guest_op stop = {.code = OP_STOP};
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int ret = 0;

    if (!file) {
        ret = -errno;
        fprintf(stderr, "tinyvm: %s: %s\n", path, strerrordesc_np(-ret));
        return ret;
    }
    script->ops = malloc(GUEST_SCRIPT_MAX);
    if (!script->ops)
        ret = -ENOMEM;
    script->name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    while (!ret && getline(&line, &size, file) >= 0) {
        reader.line++;
        ret = parse_line(&reader, line);
    }
    if (!ret && reader.loops)
        ret = complain(&reader, "no end of", "repeat");
    stop.line = reader.line;
    if (!ret)
        ret = append(&reader, &stop);
    free(line);
    fclose(file);
    return ret;
}

void script_free(struct script *script)
{
    free(script->ops);
    script->ops = NULL;
}
