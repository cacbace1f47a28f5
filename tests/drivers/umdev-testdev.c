/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testdev: a device with one of everything, for tests.
 *
 *   BAR0  64 KiB of memory, mapped whole; the DMA engine's buffer
 *   BAR1  registers (enum testdev_reg), the MSI-X table at 0x1000, the pending bits at 0x1800
 *   BAR2  2 MiB answered by callbacks: byte n reads as pattern(n), writes are summed up; four
 *         doorbells (bar2_doorbells)
 *   BAR3  64 KiB, of which two areas can be mapped; the rest is answered as BAR2
 *   BAR4  4 KiB read-only memory that holds the pattern
 *   BAR5  64 I/O ports that keep what is written to them; 0x10 is a doorbell
 * The DMA engine copies in the register write (DMA_READ …), in a thread of its own (… |
 * DMA_ENGINE), or asynchronously (… | DMA_ASYNC). The latter two store EINPROGRESS in RESULT at
 * once and, when they have ended, their outcome, raise MSI-X vector 7 and count in COUNT_DMA_DONE.
 *
 *   8 MSI-X vectors, 8 MSI vectors, INTx, PCI Express
 *
 * A register that does something stores its outcome, 0 or an errno, in RESULT. The COUNT registers
 * tell how often each callback ran; they outlive resets and clients.
 */
#include <umdev/driver.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum testdev_reg {
    REG_MAGIC = 0x00,       /* reads as 0x74736574 */
    REG_SCRATCH = 0x04,     /* 4 bytes that do nothing */
    REG_TRIGGER = 0x08,     /* index << 16 | vector: umdev_irq_trigger() */
    REG_LEVEL = 0x0c,       /* 0 or 1: the INTx line */
    REG_RESULT = 0x10,      /* the errno of the last action */
    REG_FAIL = 0x14,        /* BAR2 and BAR3 callbacks fail with this errno */
    REG_DELAY = 0x18,       /* BAR2 and BAR3 callbacks take this many milliseconds */
    REG_DMA_GO = 0x1c,      /* enum testdev_dma */
    REG_DMA_SRC = 0x20,     /* 8 bytes: an IOVA */
    REG_DMA_DST = 0x28,     /* 8 bytes: an IOVA */
    REG_DMA_LEN = 0x30,     /* 8 bytes */
    REG_WRITE_SUM = 0x38,   /* 8 bytes: the sum of all bytes written to BAR2 and BAR3 callbacks */
    REG_UNMAP_FIRST = 0x40, /* 8 bytes: the range of the last dma_unmap() */
    REG_UNMAP_LAST = 0x48,
    REG_BELL = 0x50,         /* a doorbell for any value */
    REG_BELL_MATCH = 0x54,   /* a doorbell for 0x77 */
    REG_BELL_VALUE = 0x58,   /* 8 bytes: what a doorbell's hook got last */
    REG_BELL_SCRATCH = 0x60, /* and what was in SCRATCH then */
    REG_COUNT = 0x80,        /* enum testdev_count, 4 bytes each */
};

enum testdev_dma {
    DMA_READ = 1,  /* SRC to the start of BAR0 */
    DMA_WRITE = 2, /* the start of BAR0 to DST */
    DMA_COPY = 3,  /* SRC to DST */
    DMA_KIND = 0xff,
    DMA_ENGINE = 0x100,
    DMA_ASYNC = 0x200,
};

#define DMA_VECTOR 7

enum testdev_count {
    COUNT_OPEN,
    COUNT_CLOSE,
    COUNT_RESET,
    COUNT_READ,
    COUNT_WRITE,
    COUNT_IRQS_CHANGED,
    COUNT_DMA_UNMAP,
    COUNT_BELL,
    COUNT_DMA_DONE,
    NUM_COUNTS,
};

#define MAGIC       0x74736574u
#define BUFFER_SIZE 0x10000u
#define SPARSE_SIZE 0x10000u
#define BELL_MATCH  0x77
#define BELL_VECTOR 7 /* of MSI-X: signalled by every doorbell of a register */

struct testdev {
    struct umdev_regs regs;   /* BAR1 */
    struct umdev_regs ports;  /* BAR5 */
    struct umdev_mem *buffer; /* BAR0 */
    uint32_t counts[NUM_COUNTS];
    uint64_t write_sum;

    /* The engine: a thread, from a client's first command to close(). */
    pthread_t engine;
    bool engine_runs, engine_stops;
    pthread_mutex_t lock; /* `command` and `engine_stops` */
    pthread_cond_t go;
    uint32_t command; /* 0: idle */
};

static void pattern_fill(uint8_t *buf, uint64_t offset, size_t len)
{
    for (uint64_t n = offset; n < offset + len; n++)
        *buf++ = (uint8_t)(n * 7 + (n >> 8) * 13 + (n >> 16));
}

static void count(struct testdev *t, enum testdev_count which)
{
    umdev_regs_set32(&t->regs, REG_COUNT + 4 * which,
                     __atomic_add_fetch(&t->counts[which], 1, __ATOMIC_RELAXED));
}

static void set_result(struct testdev *t, int ret)
{
    umdev_regs_set32(&t->regs, REG_RESULT, (uint32_t)-ret);
}

/* ------------------------------------------------------------------ registers */

static void trigger_write(struct umdev_device *dev, uint64_t value)
{
    set_result(umdev_device_priv(dev),
               umdev_irq_trigger(dev, (unsigned)(value >> 16), (unsigned)(value & 0xffff)));
}

static void level_write(struct umdev_device *dev, uint64_t value)
{
    set_result(umdev_device_priv(dev), umdev_irq_set_level(dev, value != 0));
}

static void dma_ended(struct umdev_device *dev, int result, void *opaque)
{
    struct testdev *t = umdev_device_priv(dev);

    (void)opaque;
    set_result(t, result);
    count(t, COUNT_DMA_DONE);
    umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, DMA_VECTOR);
}

static int dma_run(struct umdev_device *dev, enum testdev_dma command, bool async)
{
    struct testdev *t = umdev_device_priv(dev);
    umdev_iova_t src = umdev_iova(umdev_regs_get64(&t->regs, REG_DMA_SRC));
    umdev_iova_t dst = umdev_iova(umdev_regs_get64(&t->regs, REG_DMA_DST));
    uint64_t len = umdev_regs_get64(&t->regs, REG_DMA_LEN);

    if ((command == DMA_READ || command == DMA_WRITE) && len > BUFFER_SIZE)
        return -E2BIG;
    if (async && command == DMA_READ)
        return umdev_dma_read_async(dev, src, umdev_mem_ptr(t->buffer), len, dma_ended, NULL);
    if (async && command == DMA_WRITE)
        return umdev_dma_write_async(dev, dst, umdev_mem_ptr(t->buffer), len, dma_ended, NULL);
    switch (async ? 0 : command) {
    case DMA_READ:
        return umdev_dma_read(dev, src, umdev_mem_ptr(t->buffer), len);
    case DMA_WRITE:
        return umdev_dma_write(dev, dst, umdev_mem_ptr(t->buffer), len);
    case DMA_COPY:
        return umdev_dma_copy(dev, dst, src, len);
    default:
        return -EINVAL;
    }
}

static void *engine_run(void *argument)
{
    struct umdev_device *dev = argument;
    struct testdev *t = umdev_device_priv(dev);

    pthread_mutex_lock(&t->lock);
    while (!t->engine_stops) {
        enum testdev_dma command = t->command & DMA_KIND;
        int ret;

        if (!t->command) {
            pthread_cond_wait(&t->go, &t->lock);
            continue;
        }
        pthread_mutex_unlock(&t->lock);
        ret = dma_run(dev, command, false);
        pthread_mutex_lock(&t->lock);
        t->command = 0;
        dma_ended(dev, ret, NULL);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void engine_stop(struct testdev *t)
{
    if (!t->engine_runs)
        return;
    pthread_mutex_lock(&t->lock);
    t->engine_stops = true;
    pthread_cond_signal(&t->go);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->engine, NULL);
    t->engine_runs = t->engine_stops = false;
    t->command = 0;
}

/* EBUSY: it has not ended its last command. */
static int engine_start(struct umdev_device *dev, uint32_t command)
{
    struct testdev *t = umdev_device_priv(dev);
    int ret = 0;

    if (!t->engine_runs && pthread_create(&t->engine, NULL, engine_run, dev))
        return -EAGAIN;
    t->engine_runs = true;
    pthread_mutex_lock(&t->lock);
    if (t->command)
        ret = -EBUSY;
    else
        t->command = command;
    pthread_cond_signal(&t->go);
    pthread_mutex_unlock(&t->lock);
    return ret;
}

static void dma_go_write(struct umdev_device *dev, uint64_t value)
{
    struct testdev *t = umdev_device_priv(dev);
    enum testdev_dma command = value & DMA_KIND;
    int ret;

    if (!(value & (DMA_ENGINE | DMA_ASYNC))) {
        set_result(t, dma_run(dev, command, false));
        return;
    }
    set_result(t, -EINPROGRESS);
    ret = value & DMA_ASYNC ? dma_run(dev, command, true) : engine_start(dev, (uint32_t)value);
    if (ret)
        set_result(t, ret);
}

static void bell_write(struct umdev_device *dev, uint64_t value)
{
    struct testdev *t = umdev_device_priv(dev);

    umdev_regs_set64(&t->regs, REG_BELL_VALUE, value);
    umdev_regs_set32(&t->regs, REG_BELL_SCRATCH, umdev_regs_get32(&t->regs, REG_SCRATCH));
    count(t, COUNT_BELL);
    umdev_irq_trigger(dev, UMDEV_IRQ_MSIX, BELL_VECTOR);
}

static const struct umdev_reg_hook testdev_hooks[] = {
    {.offset = REG_MAGIC, .reset_value = MAGIC, .read_only = UINT32_MAX},
    {.offset = REG_SCRATCH},
    {.offset = REG_TRIGGER, .write = trigger_write},
    {.offset = REG_LEVEL, .write = level_write},
    {.offset = REG_RESULT, .read_only = UINT32_MAX},
    {.offset = REG_FAIL},
    {.offset = REG_DELAY},
    {.offset = REG_DMA_GO, .write = dma_go_write},
    {.offset = REG_DMA_SRC, .size = 8},
    {.offset = REG_DMA_DST, .size = 8},
    {.offset = REG_DMA_LEN, .size = 8},
    {.offset = REG_BELL, .write = bell_write, .flags = UMDEV_DOORBELL},
    {.offset = REG_BELL_MATCH,
     .write = bell_write,
     .flags = UMDEV_DOORBELL_MATCH,
     .match = BELL_MATCH},
};

static const struct umdev_reg_hook port_hooks[] = {
    {.offset = 0},
    {.offset = 0x10, .size = 2, .write = bell_write, .flags = UMDEV_DOORBELL},
};

static const struct umdev_doorbell bar2_doorbells[] = {
    {.offset = 0x2000, .size = 2},
    {.offset = 0x1000, .match = 5, .flags = UMDEV_DOORBELL_MATCH},
    {.offset = 0x1000, .match = 0x01020304, .flags = UMDEV_DOORBELL_MATCH},
    {.offset = 0x1ffff8, .size = 8, .match = UINT64_MAX, .flags = UMDEV_DOORBELL_MATCH},
};

/* ------------------------------------------------------------------ callbacks */

static int trapped(struct testdev *t)
{
    usleep(umdev_regs_get32(&t->regs, REG_DELAY) * 1000);
    return -(int)umdev_regs_get32(&t->regs, REG_FAIL);
}

static int testdev_read(struct umdev_device *dev, unsigned region, uint64_t offset, void *buf,
                        size_t len)
{
    struct testdev *t = umdev_device_priv(dev);

    (void)region;
    count(t, COUNT_READ);
    pattern_fill(buf, offset, len);
    return trapped(t);
}

static int testdev_write(struct umdev_device *dev, unsigned region, uint64_t offset,
                         const void *buf, size_t len)
{
    struct testdev *t = umdev_device_priv(dev);

    (void)region;
    (void)offset;
    count(t, COUNT_WRITE);
    for (size_t i = 0; i < len; i++)
        t->write_sum += ((const uint8_t *)buf)[i];
    umdev_regs_set64(&t->regs, REG_WRITE_SUM, t->write_sum);
    return trapped(t);
}

static int testdev_create(struct umdev_device *dev)
{
    static const struct umdev_area areas[] = {{0x1000, 0x2000}, {0x8000, 0x4000}};
    struct testdev *t = umdev_device_priv(dev);
    struct umdev_mem *sparse, *rom;
    int ret;

    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->go, NULL);
    ret = umdev_mem_create(dev, "testdev-buffer", BUFFER_SIZE, &t->buffer);
    if (!ret)
        ret = umdev_region_set_mem(dev, UMDEV_REGION_BAR0, t->buffer, 0, NULL, 0);
    if (!ret)
        ret = umdev_mem_create(dev, "testdev-sparse", SPARSE_SIZE, &sparse);
    if (!ret)
        ret = umdev_region_set_mem(dev, UMDEV_REGION_BAR3, sparse, 0, areas, 2);
    if (!ret)
        ret = umdev_mem_create(dev, "testdev-rom", 4096, &rom);
    if (!ret)
        ret = umdev_region_set_mem(dev, UMDEV_REGION_BAR4, rom, 0, NULL, 0);
    if (!ret)
        pattern_fill(umdev_mem_ptr(rom), 0, 4096);
    return ret;
}

static int testdev_open(struct umdev_device *dev)
{
    count(umdev_device_priv(dev), COUNT_OPEN);
    return 0;
}

/* What the engine waited for has ended with the client. */
static void testdev_close(struct umdev_device *dev)
{
    engine_stop(umdev_device_priv(dev));
    count(umdev_device_priv(dev), COUNT_CLOSE);
}

static int testdev_reset(struct umdev_device *dev)
{
    struct testdev *t = umdev_device_priv(dev);

    t->write_sum = 0;
    memset(umdev_mem_ptr(t->buffer), 0, BUFFER_SIZE);
    for (unsigned i = 0; i < NUM_COUNTS; i++)
        umdev_regs_set32(&t->regs, REG_COUNT + 4 * i, t->counts[i]);
    count(t, COUNT_RESET);
    return 0;
}

static void testdev_irqs_changed(struct umdev_device *dev, unsigned index)
{
    (void)index;
    count(umdev_device_priv(dev), COUNT_IRQS_CHANGED);
}

static void testdev_dma_unmap(struct umdev_device *dev, umdev_iova_t first, umdev_iova_t last)
{
    struct testdev *t = umdev_device_priv(dev);

    umdev_regs_set64(&t->regs, REG_UNMAP_FIRST, first.value);
    umdev_regs_set64(&t->regs, REG_UNMAP_LAST, last.value);
    count(t, COUNT_DMA_UNMAP);
}

/* ------------------------------------------------------------------ the driver */

static const struct umdev_type testdev_types[] = {
    {.name = "1", .description = "one of everything", .instances = 16},
};

/* clang-format off */
UMDEV_DRIVER(testdev,
    .description = "a device for tests",
    .types = testdev_types, .ntypes = 1,
    .priv_size = sizeof(struct testdev),
    .pci = UMDEV_PCI(
        .vendor = 0x1b36, .device = 0x00c0, .class_code = 0x088000, .revision = 3,
        .intx_pin = 1, .msi_vectors = 8,
        .msix = { .vectors = 8, .bar = 1, .table_offset = 0x1000, .pba_offset = 0x1800 },
        .pcie = true, .serial_number = 0x0123456789abcdef,
        .bar = {
            UMDEV_BAR(.size = BUFFER_SIZE),
            UMDEV_BAR(.size = 8192, .regs = UMDEV_REGS(struct testdev, regs, testdev_hooks)),
            UMDEV_BAR(.size = 2 << 20, .doorbells = UMDEV_DOORBELLS(bar2_doorbells)),
            UMDEV_BAR(.size = SPARSE_SIZE),
            UMDEV_BAR(.size = 4096, .flags = UMDEV_BAR_READONLY),
            UMDEV_BAR(.size = 64, .flags = UMDEV_BAR_IO,
                      .regs = UMDEV_REGS(struct testdev, ports, port_hooks)),
        }),
    .create = testdev_create, .open = testdev_open, .close = testdev_close,
    .reset = testdev_reset, .read = testdev_read, .write = testdev_write,
    .irqs_changed = testdev_irqs_changed, .dma_unmap = testdev_dma_unmap);
