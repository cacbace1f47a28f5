/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/device_priv.h"
#include "iommu/dirty_log.h"

#include <stdio.h>

/* ------------------------------------------------------------------ birth and death */

static void device_destroy(struct umdev_device *dev)
{
    device_track_end(dev);
    if (dev->iommu)
        iommu_free(dev->iommu);
    device_free_track(dev);
    if (dev->config)
        pci_config_free(dev->config);
    msix_table_free(dev->msix_table);
    if (dev->irqs)
        irqs_free(dev->irqs);
    regions_fini(dev);
    mem_list_fini(&dev->mems);
    faults_fini(&dev->faults);
    dma_queue_fini(&dev->dma);
    pthread_mutex_destroy(&dev->call_lock);
    pthread_mutex_destroy(&dev->state_lock);
    free(dev->priv);
    free(dev);
}

static struct umdev_device *device_alloc(const struct device_setup *setup)
{
    struct umdev_device *dev = calloc(1, sizeof(*dev));

    if (!dev)
        return NULL;
    dev->driver = setup->driver;
    dev->type = setup->type;
    dev->type_index = setup->type_index;
    dev->parent = setup->parent;
    dev->log = setup->log;
    dev->parent_mems = setup->parent_mems;
    dev->unmap_timeout_ms = DEVICE_UNMAP_TIMEOUT_MS;
    snprintf(dev->uuid, sizeof(dev->uuid), "%s", setup->uuid);
    pthread_mutex_init(&dev->call_lock, NULL);
    pthread_mutex_init(&dev->state_lock, NULL);
    mem_list_init(&dev->mems);
    faults_init(&dev->faults);
    dma_queue_init(&dev->dma);
    if (setup->driver->priv_size > 0) {
        dev->priv = calloc(1, setup->driver->priv_size);
        if (!dev->priv) {
            device_destroy(dev);
            return NULL;
        }
    }
    return dev;
}

static int device_make_irqs(struct umdev_device *dev)
{
    struct irqs_config config = {.log = dev->log, .name = dev->uuid};
    int ret;

    config.count[UMDEV_IRQ_INTX] = dev->pci.intx_pin ? 1 : 0;
    config.count[UMDEV_IRQ_MSI] = dev->pci.msi_vectors;
    config.count[UMDEV_IRQ_MSIX] = dev->msix.vectors;
    config.count[UMDEV_IRQ_ERR] = 1;
    config.count[UMDEV_IRQ_REQ] = 1;
    ret = irqs_new(&config, &dev->irqs);
    if (ret == 0 && dev->msix.vectors)
        ret = msix_table_new(dev->msix.vectors, dev->irqs, &dev->msix_table);
    return ret;
}

/* An unmap waits for windows: who holds one must not wait for a message. device_dma_unmap() ends
 * it. */
static void device_unmap_waits(void *opaque)
{
    struct umdev_device *dev = opaque;

    device_dma_suspend(dev);
    atomic_store(&dev->unmap_waited, true);
}

/* All that a driver's create() may use. */
static int device_prepare(struct umdev_device *dev, const struct device_setup *setup,
                          struct umdev_error *error)
{
    int ret = pci_setup(dev, error);

    if (ret < 0)
        return ret;
    ret = device_make_irqs(dev);
    if (ret == 0)
        ret = iommu_new(dev->log, dev->uuid, &dev->iommu);
    if (ret == 0) {
        iommu_on_wait(dev->iommu, device_unmap_waits, dev);
        device_set_pinning(dev, setup);
        ret = device_make_track(dev, setup);
    }
    if (ret < 0)
        return error_set(error, -ret, "can't make the device: %s", log_errno(-ret));
    return regions_setup(dev, error);
}

static int driver_create(struct umdev_device *dev, struct umdev_error *error)
{
    LOCK_FOR_SCOPE(&dev->call_lock);
    int ret = 0;

    dev->creating = true;
    if (dev->driver->create)
        ret = driver_result(dev->driver->create(dev));
    dev->creating = false;
    if (ret < 0)
        error_set(error, -ret, "driver %s can't create a device: %s", dev->driver->name,
                  log_errno(-ret));
    return ret;
}

static void driver_remove(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->call_lock);

    if (dev->driver->remove)
        dev->driver->remove(dev);
}

int device_new(const struct device_setup *setup, struct umdev_device **dev_out,
               struct umdev_error *error)
{
    struct umdev_device *dev = device_alloc(setup);
    int ret;

    if (!dev)
        return error_set(error, ENOMEM, "out of memory for a device");
    ret = device_prepare(dev, setup, error);
    if (ret == 0)
        ret = driver_create(dev, error);
    if (ret == 0) {
        ret = regions_finish(dev, error);
        if (ret == 0)
            ret = pci_finish(dev, error);
        if (ret < 0)
            driver_remove(dev);
    }
    if (ret < 0) {
        device_destroy(dev);
        return ret;
    }
    *dev_out = dev;
    return 0;
}

void device_free(struct umdev_device *dev)
{
    if (!dev)
        return;
    driver_remove(dev);
    device_destroy(dev);
}

/* ------------------------------------------------------------------ clients */

static int device_claim(struct umdev_device *dev, struct device_client *client)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    if (dev->shutdown)
        return -ESHUTDOWN;
    if (dev->state != DEVICE_CLOSED)
        return -EBUSY;
    dev->state = DEVICE_OPENING;
    dev->client = client;
    return 0;
}

static void device_set_state(struct umdev_device *dev, enum device_state state)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    dev->state = state;
    if (state == DEVICE_CLOSED)
        dev->client = NULL;
}

/* A client before this one may have left anything behind. */
static int driver_open(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->call_lock);
    int ret = 0;

    if (dev->opened_before)
        ret = device_reset_locked(dev, true);
    dev->opened_before = true;
    if (ret == 0)
        ret = mem_list_renew(&dev->mems);
    if (ret == 0 && dev->driver->open)
        ret = driver_result(dev->driver->open(dev));
    return ret;
}

int device_open(struct umdev_device *dev, struct device_client *client)
{
    int ret = device_claim(dev, client);

    if (ret < 0)
        return ret;
    atomic_store(&dev->lost_reported, false);
    atomic_store(&dev->session_thread, (unsigned long)pthread_self());
    if (client->dma_wanted)
        dma_queue_open(&dev->dma);
    atomic_store(&dev->has_client, true);
    ret = driver_open(dev);
    if (ret < 0) {
        device_dma_abort(dev, -ENODEV);
        atomic_store(&dev->has_client, false);
        device_track_end(dev);
        atomic_store(&dev->session_thread, 0);
        device_set_state(dev, DEVICE_CLOSED);
        return ret;
    }
    atomic_fetch_add_explicit(&dev->counters.sessions, 1, memory_order_relaxed);
    device_set_state(dev, DEVICE_OPEN);
    return 0;
}

static void driver_close(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->call_lock);

    if (dev->driver->close)
        dev->driver->close(dev);
}

void device_close(struct umdev_device *dev)
{
    uint64_t unmapped;

    device_set_state(dev, DEVICE_CLOSING);
    device_dma_abort(dev, -ENODEV);
    irqs_clear(dev->irqs);
    device_dma_unmap_all(dev, &unmapped);
    atomic_store(&dev->has_client, false);
    device_track_end(dev);
    driver_close(dev);
    iommu_pins_end(dev->iommu);
    dirty_log_stop(device_dirty_log(dev));
    atomic_store(&dev->session_thread, 0);
    device_set_state(dev, DEVICE_CLOSED);
}

void device_disconnect(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    if (dev->client)
        dev->client->disconnect(dev->client);
}

void device_shutdown(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    dev->shutdown = true;
    if (dev->client)
        dev->client->disconnect(dev->client);
}

bool device_is_open(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->state_lock);

    return dev->state != DEVICE_CLOSED;
}

/* ------------------------------------------------------------------ reset */

/*
 * The driver's turn comes before bus mastering goes off with the config space: its engines stop
 * rather than fail, and what they still signalled is dropped with the pending interrupts.
 */
int device_reset_locked(struct umdev_device *dev, bool reset_config)
{
    int ret = 0;

    atomic_fetch_add_explicit(&dev->counters.resets, 1, memory_order_relaxed);
    for (unsigned i = 0; i < dev->nregions; i++)
        if (dev->regions[i].file.regs)
            regs_file_reset(&dev->regions[i].file);
    if (dev->driver->reset) {
        device_dma_suspend(dev);
        ret = driver_result(dev->driver->reset(dev));
        device_dma_resume(dev);
    }
    /* Where the driver could not, its engines may be at work still. */
    if (ret == 0)
        atomic_store(&dev->failed, false);
    irqs_reset(dev->irqs);
    if (dev->msix_table)
        msix_table_reset(dev->msix_table);
    if (reset_config) {
        pci_config_reset(dev->config);
        pci_settle_locked(dev);
    }
    return ret;
}

int device_reset(struct umdev_device *dev)
{
    LOCK_FOR_SCOPE(&dev->call_lock);

    return device_reset_locked(dev, true);
}

/* ------------------------------------------------------------------ what a device tells */

void device_get_info(const struct umdev_device *dev, struct device_info *info)
{
    info->flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
    info->num_regions = dev->nregions;
    info->num_irqs = UMDEV_NUM_IRQS;
}

int device_get_irq(const struct umdev_device *dev, unsigned index, struct irqs_info *info)
{
    return irqs_get_info(dev->irqs, index, info);
}

int device_set_irqs(struct umdev_device *dev, uint32_t flags, unsigned index, uint32_t start,
                    uint32_t count, const uint8_t *bools, struct fd_array *fds)
{
    int ret = irqs_set(dev->irqs, flags, index, start, count, bools, fds);

    if (ret == 0 && dev->driver->irqs_changed) {
        SERIALISE_FOR_SCOPE(dev);

        dev->driver->irqs_changed(dev, index);
    }
    return ret;
}

struct irqs *device_irqs(struct umdev_device *dev)
{
    return dev->irqs;
}

void device_count_request(struct umdev_device *dev, bool failed)
{
    atomic_fetch_add_explicit(&dev->counters.messages, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&dev->counters.errors, 1, memory_order_relaxed);
}

static uint64_t counter(const atomic_uint_least64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

void device_get_stats(struct umdev_device *dev, struct device_stats *stats)
{
    const struct device_counters *counters = &dev->counters;

    stats->traps_read = counter(&counters->traps_read);
    stats->traps_write = counter(&counters->traps_write);
    stats->trap_bytes_read = counter(&counters->bytes_read);
    stats->trap_bytes_written = counter(&counters->bytes_written);
    stats->interrupts = irqs_signalled(dev->irqs);
    stats->resets = counter(&counters->resets);
    stats->sessions = counter(&counters->sessions);
    stats->messages = counter(&counters->messages);
    stats->errors = counter(&counters->errors);
    stats->failed = atomic_load_explicit(&dev->failed, memory_order_relaxed);
    iommu_get_stats(dev->iommu, &stats->dma);
    track_get_stats(dev->track, &stats->track);
}
