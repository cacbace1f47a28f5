/* SPDX-License-Identifier: BSD-3-Clause */
#include "mdev/uuid.h"

#include <errno.h>
#include <uuid/uuid.h>

int mdev_uuid_parse(const char *text, char out[UMDEV_UUID_STR_SIZE])
{
    uuid_t uuid;

    if (!text || uuid_parse(text, uuid))
        return -EINVAL;
    uuid_unparse_lower(uuid, out);
    return 0;
}

void mdev_uuid_generate(char out[UMDEV_UUID_STR_SIZE])
{
    uuid_t uuid;

    uuid_generate_random(uuid);
    uuid_unparse_lower(uuid, out);
}
