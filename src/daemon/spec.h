/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What --parent says: DRIVER[,name=NAME][,isolate=yes][,KEY=VALUE]…; two commas are one in a value.
 */
#ifndef DAEMON_SPEC_H
#define DAEMON_SPEC_H

#include <umdev/types.h>

struct parent_spec {
    const char *driver;
    char *name; /* NULL until spec_name() */
    bool isolate;
    const char **params;
    size_t nparams;
    char *text; /* that the others point into */
};

/* EINVAL, ENOMEM; then there is nothing to free. */
int spec_parse(struct parent_spec *spec, const char *text, struct umdev_error *error);
void spec_free(struct parent_spec *spec);

/* The driver's name, as a parent's name begins: "vgpu" of "vgpu" and of "./umdev-vgpu.so". */
void spec_stem(const struct parent_spec *spec, char *stem, size_t size);

#endif
