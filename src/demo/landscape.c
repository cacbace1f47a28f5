/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo/landscape.h"

/* A repeatable height for a mountain line: sums of triangle waves. */
static uint32_t ridge(uint32_t x, uint32_t seed, uint32_t amplitude)
{
    uint32_t height = 0;

    for (uint32_t octave = 0; octave < 5; octave++) {
        uint32_t period = (257 + seed * 61) >> octave;
        uint32_t phase = (x + seed * 97 + octave * 31) % period;
        uint32_t wave = phase < period / 2 ? phase : period - phase;

        height += wave * amplitude / period >> octave;
    }
    return height;
}

static uint32_t rgb(uint32_t r, uint32_t g, uint32_t b)
{
    return 0xff000000u | r << 16 | g << 8 | b;
}

static uint32_t sky(uint32_t x, uint32_t y, const struct picture *picture)
{
    int32_t dx = (int32_t)x - (int32_t)(picture->width * 3 / 4);
    int32_t dy = (int32_t)y - (int32_t)(picture->height / 4);
    uint32_t radius = picture->height / 10;
    uint32_t distance2 = (uint32_t)(dx * dx + dy * dy);
    uint32_t hash = (x * 73856093u ^ y * 19349663u) * 2654435761u;
    uint32_t glow = y * 110 / picture->height;

    if (distance2 < radius * radius)
        return rgb(250, 246 - y % 3, 214);
    if (hash >> 20 == 0x5a5)
        return rgb(230, 235, 255);
    return rgb(18 + glow, 22 + glow * 2 / 3, 60 + glow / 2);
}

int landscape_make(uint32_t width, uint32_t height, struct picture *picture)
{
    int ret = picture_new(width, height, picture);

    for (uint32_t y = 0; !ret && y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint32_t pixel = sky(x, y, picture);

            for (uint32_t layer = 0; layer < 3; layer++) {
                uint32_t top = height / 2 + layer * height / 8 -
                               ridge(x * 640 / width, layer + 1, height / 3) / (layer + 1);

                if (y >= top)
                    pixel = rgb(52 - layer * 14, 64 - layer * 14 + (y - top) / 12,
                                96 - layer * 26 + (y - top) / 16);
            }
            picture->pixels[(size_t)y * width + x] = pixel;
        }
    }
    return ret;
}
