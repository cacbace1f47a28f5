/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEMO_LANDSCAPE_H
#define DEMO_LANDSCAPE_H

#include "picture/picture.h"

/* The picture that the demo composes when it is given none: a landscape at night. −ENOMEM. */
int landscape_make(uint32_t width, uint32_t height, struct picture *picture);

#endif
