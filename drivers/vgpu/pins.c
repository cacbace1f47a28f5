/* SPDX-License-Identifier: BSD-3-Clause */
/* Pinning guest memory, and finding what is pinned. */
#include "pins.h"

#include <errno.h>

static uint64_t pages_of(uint64_t address, uint64_t bytes)
{
    return (address % VGPU_PAGE + bytes - 1) / VGPU_PAGE + 1;
}

static bool hold_covers(const struct vgpu_hold *hold, uint64_t page, uint64_t pages, unsigned prot)
{
    uint64_t skip = page - hold->page; /* wraps where the hold begins later */

    return skip < hold->pages && hold->pages - skip >= pages && (prot & ~hold->prot) == 0;
}

static struct vgpu_hold *find(struct vgpu_pins *pins, uint64_t page, uint64_t pages, unsigned prot)
{
    for (unsigned i = 0; i < VGPU_HOLDS; i++) {
        if (hold_covers(&pins->holds[i], page, pages, prot))
            return &pins->holds[i];
    }
    return NULL;
}

static void unpin(struct vgpu_pins *pins, struct vgpu_hold *hold)
{
    uint64_t pages = hold->pages;

    hold->pages = 0;
    hold->used = 0;
    if (pages)
        umdev_dma_unpin(pins->dev, umdev_iova(hold->page * VGPU_PAGE), pages);
}

/* A free hold: the one that was not used for the longest time. */
static struct vgpu_hold *evict(struct vgpu_pins *pins)
{
    struct vgpu_hold *oldest = NULL;

    for (unsigned i = 0; i < VGPU_HOLDS; i++) {
        struct vgpu_hold *hold = &pins->holds[i];

        if (!hold->users && (!oldest || hold->used < oldest->used))
            oldest = hold;
    }
    if (oldest)
        unpin(pins, oldest);
    return oldest;
}

static bool in_order(const umdev_bus_t *bus, uint64_t pages)
{
    uint64_t wrong = 0;

    for (uint64_t i = 1; i < pages; i++)
        wrong |= bus[i].value ^ (bus[0].value + i * VGPU_PAGE);
    return !wrong;
}

/* As many of `most` pages as can be had, at least `least`. */
static int pin(struct vgpu_pins *pins, struct vgpu_hold *hold, uint64_t page, uint64_t least,
               uint64_t most, unsigned prot)
{
    for (;;) {
        int ret = umdev_dma_pin(pins->dev, umdev_iova(page * VGPU_PAGE), most, prot, hold->bus);

        if (!ret) {
            hold->page = page;
            hold->pages = most;
            hold->prot = prot;
            hold->in_order = in_order(hold->bus, most);
        }
        if (!ret || most == least || ret == -ENODEV || ret == -EIO)
            return ret;
        most = most / 2 > least ? most / 2 : least;
    }
}

/* ENODEV: bus mastering is off. EIO: the device has failed. */
static int check_access(const struct vgpu_pins *pins)
{
    uint8_t none;

    return umdev_dma_read(pins->dev, umdev_iova(0), &none, 0);
}

int vgpu_pins_take(struct vgpu_pins *pins, uint64_t address, uint64_t need, uint64_t want,
                   unsigned prot, struct vgpu_hold **taken)
{
    uint64_t page = address / VGPU_PAGE;
    uint64_t least = pages_of(address, need), most = pages_of(address, want);
    struct vgpu_hold *hold = find(pins, page, least, prot);
    int ret;

    if (hold) {
        ret = check_access(pins);
    } else {
        hold = evict(pins);
        if (!hold)
            return -ENOMEM;
        ret = pin(pins, hold, page, least, most < UMDEV_PIN_MAX ? most : UMDEV_PIN_MAX, prot);
    }
    if (ret)
        return ret;
    hold->used = ++pins->clock;
    hold->users++;
    *taken = hold;
    return 0;
}

void vgpu_pins_put(struct vgpu_hold *hold)
{
    hold->users--;
}

/* Pages from `index` on whose bus addresses follow each other: all that `most` bytes need, or less.
 */
static uint64_t run_at(const struct vgpu_hold *hold, uint64_t index, uint64_t most)
{
    uint64_t pages = hold->pages - index, run = 1;

    if (hold->in_order)
        return pages;
    while (run < pages && run * VGPU_PAGE < most &&
           hold->bus[index + run].value == hold->bus[index].value + run * VGPU_PAGE)
        run++;
    return run;
}

size_t vgpu_pins_reach(const struct vgpu_pins *pins, const struct vgpu_hold *hold, uint64_t address,
                       size_t len, uint8_t **ptr)
{
    uint64_t index = address / VGPU_PAGE - hold->page, offset = address % VGPU_PAGE;
    size_t got = 0;

    /* Run by run of bus addresses: the mmu sees to the memory in each. */
    while (got < len && index < hold->pages) {
        uint64_t run = run_at(hold, index, offset + (len - got));
        size_t piece = run * VGPU_PAGE - offset, walked;
        uint8_t *at;

        piece = piece < len - got ? piece : len - got;
        walked = vgpu_mmu_walk(pins->mmu, hold->bus[index].value + offset, piece, hold->prot, &at);
        if (walked == 0 || (got > 0 && at != *ptr + got))
            break;
        if (got == 0)
            *ptr = at;
        got += walked;
        if (walked < piece)
            break;
        index += run;
        offset = 0;
    }
    return got;
}

void vgpu_pins_drop(struct vgpu_pins *pins)
{
    for (unsigned i = 0; i < VGPU_HOLDS; i++)
        unpin(pins, &pins->holds[i]);
}
