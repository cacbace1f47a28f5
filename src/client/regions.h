/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region as the server described it. Complete and constant once it is in client->regions.
 */
#ifndef CLIENT_REGIONS_H
#define CLIENT_REGIONS_H

#include "client/client.h"

struct client_region {
    struct umdev_region_info info;
    struct umdev_area *areas; /* info.areas */
    bool identity;            /* faults can be served the short way */
};

/* The region, asked for at first use; it lives as long as the client. Errnos as
 * umdev_client_get_region(). */
int client_region_get(struct umdev_client *client, unsigned index,
                      const struct client_region **region);

#endif
