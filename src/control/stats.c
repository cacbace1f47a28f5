/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/stats.h"

#include "base/range.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define ERRNO_MAX 4095

static const struct member {
    const char *name;
    size_t offset;
} members[] = {
    {"sessions", offsetof(struct umdev_host_stats, sessions)},
    {"messages", offsetof(struct umdev_host_stats, messages)},
    {"errors", offsetof(struct umdev_host_stats, errors)},
    {"traps_read", offsetof(struct umdev_host_stats, traps_read)},
    {"traps_write", offsetof(struct umdev_host_stats, traps_write)},
    {"trap_bytes_read", offsetof(struct umdev_host_stats, trap_bytes_read)},
    {"trap_bytes_written", offsetof(struct umdev_host_stats, trap_bytes_written)},
    {"dma_maps", offsetof(struct umdev_host_stats, dma_maps)},
    {"dma_mapped_bytes", offsetof(struct umdev_host_stats, dma_mapped_bytes)},
    {"dma_bytes_read", offsetof(struct umdev_host_stats, dma_bytes_read)},
    {"dma_bytes_written", offsetof(struct umdev_host_stats, dma_bytes_written)},
    {"interrupts", offsetof(struct umdev_host_stats, interrupts)},
    {"resets", offsetof(struct umdev_host_stats, resets)},
    {"dma_pinned_bytes", offsetof(struct umdev_host_stats, dma_pinned_bytes)},
    {"failed", offsetof(struct umdev_host_stats, failed)},
    {"faults", offsetof(struct umdev_host_stats, faults)},
    {"refused", offsetof(struct umdev_host_stats, refused)},
    {"revoked_pages", offsetof(struct umdev_host_stats, revoked)},
    {"tracked_pages", offsetof(struct umdev_host_stats, tracked_pages)},
    {"compared_pages", offsetof(struct umdev_host_stats, compared_pages)},
    {"track_notify", offsetof(struct umdev_host_stats, track_notify)},
    {"track_method", offsetof(struct umdev_host_stats, track_method)},
};

static const char *const access_names[] = {"", "read", "write", "read and write"};

static uint64_t member_get(const struct umdev_host_stats *stats, const struct member *member)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + member->offset, sizeof(value));
    return value;
}

json_t *stats_to_json(const struct umdev_host_stats *stats)
{
    json_t *json = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (json_object_set_new(json, members[i].name,
                                json_integer((json_int_t)member_get(stats, &members[i])))) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

json_t *stats_refusal_to_json(const struct umdev_host_stats *stats)
{
    const char *name = strerrorname_np((int)stats->refusal_errno);

    if (!stats->refusal_errno)
        return json_null();
    return json_pack("{s:I, s:I, s:s, s:s, s:I}", "region", (json_int_t)stats->refusal_region,
                     "offset", (json_int_t)stats->refusal_offset, "access",
                     access_names[stats->refusal_access & UMDEV_RW], "errno", name ? name : "EIO",
                     "age_ms", (json_int_t)stats->refusal_age_ms);
}

static uint64_t number_of(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static uint64_t access_number(const char *name)
{
    for (unsigned i = 0; name && i < ARRAY_SIZE(access_names); i++)
        if (strcmp(access_names[i], name) == 0)
            return i;
    return 0;
}

int stats_errno_number(const char *name)
{
    for (int number = 1; name && number <= ERRNO_MAX; number++) {
        const char *known = strerrorname_np(number);

        if (known && strcmp(known, name) == 0)
            return number;
    }
    return EIO;
}

void stats_from_json(const json_t *numbers, const json_t *refusal, struct umdev_host_stats *stats)
{
    *stats = (struct umdev_host_stats){.struct_size = sizeof(*stats)};
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        uint64_t value = number_of(numbers, members[i].name);

        memcpy((char *)stats + members[i].offset, &value, sizeof(value));
    }
    if (!json_is_object(refusal))
        return;
    stats->refusal_errno =
        (uint64_t)stats_errno_number(json_string_value(json_object_get(refusal, "errno")));
    stats->refusal_region = number_of(refusal, "region");
    stats->refusal_offset = number_of(refusal, "offset");
    stats->refusal_access = access_number(json_string_value(json_object_get(refusal, "access")));
    stats->refusal_age_ms = number_of(refusal, "age_ms");
}
