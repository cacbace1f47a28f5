/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holddev: holds windows into client memory, for tests of what an unmap waits for.
 *
 * BAR0 has the registers below. A write to HOLD acquires a window of LEN bytes at ADDR, which a
 * thread releases after HOLD milliseconds, or, with EAGER set, as soon as the client wants the
 * memory back. With WRITES set the window is for writing, and its bytes become 0x5a before it is
 * released. RELEASED counts the windows given back. One window at a time: EBUSY in RESULT.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum holddev_reg {
    REG_ADDR = 0x00,     /* 8 bytes: an IOVA */
    REG_LEN = 0x08,      /* 4 bytes */
    REG_HOLD = 0x0c,     /* milliseconds */
    REG_EAGER = 0x10,    /* 0 or 1 */
    REG_RESULT = 0x14,   /* the errno of the last HOLD */
    REG_RELEASED = 0x18, /* windows given back */
    REG_WRITES = 0x1c,   /* 0 or 1 */
};

struct holddev {
    struct umdev_regs regs;
    struct umdev_device *dev;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct umdev_dma_window window;
    struct timespec until;
    bool holding, writes;
    bool let_go;   /* release the window now */
    bool joinable; /* a thread was started and not joined */
    pthread_t thread;
};

static void *holddev_thread(void *opaque)
{
    struct holddev *h = opaque;

    pthread_mutex_lock(&h->lock);
    while (!h->let_go && pthread_cond_timedwait(&h->wake, &h->lock, &h->until) == 0)
        continue;
    if (h->writes)
        memset(h->window.ptr, 0x5a, h->window.len);
    umdev_dma_release(h->dev, &h->window);
    umdev_regs_set32(&h->regs, REG_RELEASED, umdev_regs_get32(&h->regs, REG_RELEASED) + 1);
    h->holding = false;
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static int holddev_acquire(struct umdev_device *dev, unsigned ms)
{
    struct holddev *h = umdev_device_priv(dev);
    umdev_iova_t addr = umdev_iova(umdev_regs_get64(&h->regs, REG_ADDR));
    int ret;

    if (h->holding)
        return -EBUSY;
    if (h->joinable)
        pthread_join(h->thread, NULL);
    h->joinable = false;
    h->writes = umdev_regs_get32(&h->regs, REG_WRITES);
    ret = umdev_dma_acquire(dev, addr, umdev_regs_get32(&h->regs, REG_LEN),
                            h->writes ? UMDEV_WRITE : UMDEV_READ, &h->window);
    if (ret)
        return ret;
    clock_gettime(CLOCK_REALTIME, &h->until);
    h->until.tv_sec += ms / 1000;
    h->until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (h->until.tv_nsec >= 1000000000) {
        h->until.tv_nsec -= 1000000000;
        h->until.tv_sec++;
    }
    h->let_go = false;
    ret = -pthread_create(&h->thread, NULL, holddev_thread, h);
    if (ret)
        umdev_dma_release(dev, &h->window);
    h->holding = h->joinable = ret == 0;
    return ret;
}

static void holddev_hold(struct umdev_device *dev, uint64_t ms)
{
    struct holddev *h = umdev_device_priv(dev);
    int ret;

    pthread_mutex_lock(&h->lock);
    ret = holddev_acquire(dev, (unsigned)ms);
    pthread_mutex_unlock(&h->lock);
    umdev_regs_set32(&h->regs, REG_RESULT, (uint32_t)-ret);
}

static void holddev_let_go(struct holddev *h)
{
    pthread_mutex_lock(&h->lock);
    h->let_go = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

static void holddev_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct holddev *h = umdev_device_priv(dev);

    (void)first;
    (void)last;
    if (umdev_regs_get32(&h->regs, REG_EAGER))
        holddev_let_go(h);
}

static int holddev_create(struct umdev_device *dev)
{
    struct holddev *h = umdev_device_priv(dev);

    h->dev = dev;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    return 0;
}

static void holddev_remove(struct umdev_device *dev)
{
    struct holddev *h = umdev_device_priv(dev);

    holddev_let_go(h);
    if (h->joinable)
        pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
}

static const struct umdev_reg_hook holddev_hooks[] = {
    {.offset = REG_HOLD, .write = holddev_hold},
    {.offset = REG_EAGER},
    {.offset = REG_WRITES},
};
static const struct umdev_type holddev_types[] = {{.name = "1", .instances = 4}};

/* clang-format off */
UMDEV_DRIVER(holddev,
    .description = "windows into client memory, held for a while",
    .types = holddev_types, .ntypes = 1,
    .priv_size = sizeof(struct holddev),
    .pci = UMDEV_PCI(.vendor = 0x1b36, .device = 0x00c2, .class_code = 0x088000,
                     .bar[0] = UMDEV_BAR(.size = 4096,
                                         .regs = UMDEV_REGS(struct holddev, regs, holddev_hooks))),
    .create = holddev_create, .remove = holddev_remove, .dma_unmap = holddev_dma_unmap);
