/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `umdev probe` found out about a server.
 *
 * Data model. Everything is asked first, by reading alone, and kept in a struct probe; then it is
 * printed as text or as JSON from there, so that both tell the same. What could not be asked has
 * its errno beside it and does not stop the rest.
 */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include "cli/pci_decode.h"

#include <stdio.h>
#include <umdev/client.h>

/* More regions or interrupt types than this are counted, not shown. */
#define PROBE_MAX_REGIONS 256
#define PROBE_MAX_IRQS    256

struct probe_region {
    int error; /* errno of the question; 0: the rest is valid */
    struct umdev_region_info info;
    bool tried_map;
    int map_error;       /* errno of mapping the first area; 0: it can be mapped */
    int doorbells_error; /* errno of asking; 0: the rest is valid */
    const struct umdev_io_fd *doorbells;
    size_t ndoorbells;
};

struct probe_irq {
    int error;
    struct umdev_irq_info info;
};

struct probe {
    const char *path;
    struct umdev_client_limits limits;
    struct umdev_device_info device;
    size_t nregions, nirqs; /* that were asked */
    struct probe_region regions[PROBE_MAX_REGIONS];
    struct probe_irq irqs[PROBE_MAX_IRQS];
    bool has_config;
    int config_error; /* errno of reading it; EMSGSIZE: smaller than a header */
    uint8_t config[PCI_SPACE_MAX];
    struct pci_function pci; /* of `config`, where it was read */
};

/*
 * Ask everything. The probe refers to the client's memory: keep it open while printing. −errno:
 * the connection broke, or the device's own description was refused.
 */
int probe_collect(struct umdev_client *client, struct probe *probe);

void probe_print_text(const struct probe *probe, FILE *out);
void probe_print_pci(const struct pci_function *pci, FILE *out);
/* 0 or −ENOMEM. */
int probe_print_json(const struct probe *probe, FILE *out);

struct json_t;
/* A new reference, or NULL: out of memory. */
struct json_t *probe_pci_json(const struct pci_function *pci);
/* A number beyond JSON's integers becomes a real. */
struct json_t *probe_json_number(uint64_t value);

/* "BAR0", "config", "region 9"; "INTx"; what errno says. The text may be put into `buf`. */
#define PROBE_NAME_MAX 24
const char *probe_region_name(uint32_t index, char buf[PROBE_NAME_MAX]);
const char *probe_irq_name(uint32_t index, char buf[PROBE_NAME_MAX]);
const char *probe_error_text(int error, char buf[PROBE_NAME_MAX]);

#endif
