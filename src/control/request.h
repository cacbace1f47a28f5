/* SPDX-License-Identifier: BSD-3-Clause */
/* A request to the control socket under way; for the files of src/control only. */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

#include "control/control.h"

struct control_request {
    const struct source *source;
    /* What was asked, as far as it was said: NULL, 0, false otherwise. */
    const char *device; /* a UUID */
    struct source_create create;
    struct source_owner owner; /* of an attribute; its UUID is `device` */
    const char *attribute, *value;
    /* What is answered: a reference, and an fd that goes with it or −1. */
    json_t *result;
    int fd;
    struct umdev_error error;
};

/* Each returns 0 with `result`, or −errno with `error`. */
int control_types(struct control_request *request);
int control_list(struct control_request *request);
int control_show(struct control_request *request);
int control_screenshot(struct control_request *request);
int control_create(struct control_request *request);
int control_remove(struct control_request *request);
int control_attributes(struct control_request *request);
int control_attribute(struct control_request *request);

#endif
