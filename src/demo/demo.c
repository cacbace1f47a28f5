/* SPDX-License-Identifier: BSD-3-Clause */
/* umdev demo: the command. Opens the GPU, runs the VMs, compares, prints the table. */
#include "demo/demo.h"

#include "base/cleanup.h"
#include "cli/cli.h"
#include "demo/vms.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <umdev/host.h>

#define COMMAND_NAME "demo"

enum {
    LONG_FRAMES = 16, /* of the second part's render */
    VMS = 3,          /* the third for the last part only */
};

/* A device and the VM that has it. */
struct slot {
    const char *type;
    char uuid[UMDEV_UUID_STR_SIZE];
    char socket[64];
    struct vm vm;
};

struct demo {
    const char *image;
    const char *output; /* folder */
    char folder[32];    /* the sockets' */
    char *pictures[2];
    struct umdev_host *host;
    struct slot slots[VMS];
    unsigned failures;
};

static void demo_help(void)
{
    puts(
        "Usage: umdev demo [--output DIR] [IMAGE.png]\n"
        "Virtual machines share one GPU: the first renders, the second composes IMAGE.png (a\n"
        "picture of its own by default). Both results are compared with a CPU reference and\n"
        "written as DIR/vm1.png and DIR/vm2.png. Then the second VM is killed in mid-work. Last,\n"
        "video memory goes from the first to the second, and a third VM touches what it must not.\n"
        "\n"
        "  -o, --output DIR  where the pictures go; the current folder by default\n"
        "  -h, --help        show this\n"
        "\n"
        "Exit code 0 if every comparison held.");
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

static bool demo_expect(struct demo *demo, bool good, const char *what)
{
    printf("  %s  %s\n", good ? "ok    " : "FAILED", what);
    fflush(stdout);
    demo->failures += !good;
    return good;
}

/* ------------------------------------------------------------------ setting up */

static int demo_create(struct demo *demo, unsigned n, const char *type)
{
    struct slot *slot = &demo->slots[n];
    struct umdev_error error;

    slot->type = type;
    snprintf(slot->socket, sizeof(slot->socket), "%s/vm%u", demo->folder, n + 1);
    if (umdev_host_create(demo->host, NULL, type, NULL, slot->uuid, &error) ||
        umdev_host_listen(demo->host, slot->uuid, slot->socket, 0, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    printf("  VM %u gets a %s  %s\n", n + 1, type, slot->uuid);
    return CLI_OK;
}

static int demo_open(struct demo *demo)
{
    static const char *const params[] = {"vram=256M"};
    struct umdev_host_options options = {.struct_size = sizeof(options),
                                         .log_level = UMDEV_LOG_WARNING};
    struct umdev_error error;
    int ret;

    strcpy(demo->folder, "/tmp/umdev-demo-XXXXXX");
    if (!mkdtemp(demo->folder)) {
        demo->folder[0] = '\0';
        return cli_error(COMMAND_NAME, "can't make a folder in /tmp: %s", strerrordesc_np(errno));
    }
    ret = umdev_host_new(&options, &demo->host);
    if (ret)
        return cli_error(COMMAND_NAME, "can't start: %s", strerrordesc_np(-ret));
    if (umdev_host_add_parent(demo->host, "vgpu", "gpu0", params, 1, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    say("One GPU, gpu0, with 256 MiB of video memory:");
    ret = demo_create(demo, 0, "vgpu-4");
    if (!ret)
        ret = demo_create(demo, 1, "vgpu-2");
    return ret ? ret : demo_create(demo, 2, "vgpu-1");
}

static void demo_close(struct demo *demo)
{
    umdev_host_free(demo->host);
    if (demo->folder[0])
        rmdir(demo->folder);
    free(demo->pictures[0]);
    free(demo->pictures[1]);
}

static struct umdev_host_stats demo_stats(struct demo *demo, unsigned n)
{
    struct umdev_host_stats stats = {.struct_size = sizeof(stats)};

    umdev_host_get_stats(demo->host, demo->slots[n].uuid, &stats);
    return stats;
}

/* The server notices a client's end by its socket: soon, but not at once. */
static bool demo_wait_released(struct demo *demo, unsigned n)
{
    const struct timespec pause = {.tv_nsec = 5000000};

    for (unsigned i = 0; i < 1000; i++) {
        struct umdev_host_stats stats = demo_stats(demo, n);

        if (!stats.connected && !stats.dma_maps)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static int demo_start_vm(struct demo *demo, unsigned n, const char *scene, unsigned frames,
                         bool write)
{
    static const char *const names[VMS] = {"VM 1", "VM 2", "VM 3"};
    struct vm_job job = {
        .scene = scene,
        .socket = demo->slots[n].socket,
        .image = demo->image,
        .output = write ? demo->pictures[n] : NULL,
        .frames = frames,
    };
    int ret = vm_start(&demo->slots[n].vm, names[n], &job);

    if (ret)
        cli_error(COMMAND_NAME, "can't start %s: %s", names[n], strerrordesc_np(-ret));
    return ret;
}

/* ------------------------------------------------------------------ the first part */

static void demo_table(struct demo *demo)
{
    printf("\n  %-5s %-7s %9s %8s %13s %13s %11s %8s\n", "", "type", "commands", "traps",
           "DMA bytes", "mapped bytes", "interrupts", "time");
    for (unsigned i = 0; i < 2; i++) {
        const struct vm_report *report = &demo->slots[i].vm.report;
        struct umdev_host_stats stats = demo_stats(demo, i);

        printf("  VM %u  %-7s %9" PRIu64 " %8" PRIu64 " %13" PRIu64 " %13" PRIu64 " %11" PRIu64
               " %5" PRIu64 " ms\n",
               i + 1, demo->slots[i].type, report->commands, stats.traps_read + stats.traps_write,
               stats.dma_bytes_read + stats.dma_bytes_written, report->mapped_bytes,
               stats.interrupts, report->milliseconds);
    }
    putchar('\n');
}

static void demo_check_vm(struct demo *demo, unsigned n, const char *what)
{
    const struct vm *vm = &demo->slots[n].vm;
    char text[640];

    if (vm->failed)
        snprintf(text, sizeof(text), "VM %u: %s", n + 1, vm->reason);
    else if (vm->report.differences)
        snprintf(text, sizeof(text), "VM %u %s: %" PRIu64 " values differ from the CPU reference",
                 n + 1, what, vm->report.differences);
    else
        snprintf(text, sizeof(text), "VM %u %s: every value is the CPU reference's", n + 1, what);
    demo_expect(demo, !vm->failed && !vm->report.differences, text);
}

static int demo_work(struct demo *demo)
{
    struct vm *vms[2] = {&demo->slots[0].vm, &demo->slots[1].vm};

    say("\nBoth VMs at work:");
    if (demo_start_vm(demo, 0, "render", 1, true) || demo_start_vm(demo, 1, "compose", 1, true))
        return CLI_FAILED;
    vms_wait(vms, 2, NULL);
    vm_reap(vms[0]);
    vm_reap(vms[1]);
    demo_table(demo);
    demo_check_vm(demo, 0, "rendered");
    demo_check_vm(demo, 1, "composed");
    for (unsigned i = 0; i < 2; i++)
        if (!demo->slots[i].vm.failed)
            printf("          %s\n", demo->pictures[i]);
    return CLI_OK;
}

/* ------------------------------------------------------------------ the second part */

/* VM 1 has frames to go and VM 2 is in the middle of its own; or one of them never will be. */
static bool both_are_busy(struct vm **vms, unsigned n)
{
    (void)n;
    return (vms[0]->percent >= 25 && vms[1]->frames_seen >= 3) || vms[0]->finished ||
           vms[1]->finished;
}

static int demo_kill(struct demo *demo)
{
    struct vm *vms[2] = {&demo->slots[0].vm, &demo->slots[1].vm};
    bool alive;

    say("\nBoth at work again; VM 2 is killed in the middle of it:");
    if (demo_start_vm(demo, 0, "render", LONG_FRAMES, false))
        return CLI_FAILED;
    if (demo_start_vm(demo, 1, "compose", 0, false)) {
        vm_kill(vms[0]);
        return CLI_FAILED;
    }
    vms_wait(vms, 2, both_are_busy);
    alive = !vms[1]->finished;
    vm_kill(vms[1]);
    demo_expect(demo, alive, alive ? "VM 2 was working when SIGKILL came" : vms[1]->reason);
    demo_expect(demo, demo_wait_released(demo, 1), "its device has no client and no mappings left");
    vms_wait(vms, 1, NULL);
    vm_reap(vms[0]);
    demo_check_vm(demo, 0, "rendered on, untouched");
    if (demo_start_vm(demo, 1, "compose", 1, false))
        return CLI_FAILED;
    vms_wait(vms + 1, 1, NULL);
    vm_reap(vms[1]);
    demo_check_vm(demo, 1, "started anew on the same device, composed");
    return CLI_OK;
}

/* ------------------------------------------------------------------ the third part */

/* VM 1 has all, and its pages marked. */
static bool pool_is_taken(struct vm **vms, unsigned n)
{
    (void)n;
    return vms[0]->frames_seen > 0;
}

static void demo_fault_table(struct demo *demo)
{
    printf("\n  %-5s %-7s %15s %13s %13s\n", "", "type", "faults resolved", "pages refused",
           "pages revoked");
    for (unsigned i = 0; i < VMS; i++) {
        struct umdev_host_stats stats = demo_stats(demo, i);

        printf("  VM %u  %-7s %15" PRIu64 " %13" PRIu64 " %13" PRIu64 "\n", i + 1,
               demo->slots[i].type, stats.faults, stats.refused, stats.revoked);
    }
    putchar('\n');
}

static void demo_check_pages(struct demo *demo, unsigned n, const char *what)
{
    const struct vm *vm = &demo->slots[n].vm;
    char text[640];

    if (vm->failed)
        snprintf(text, sizeof(text), "VM %u: %s", n + 1, vm->reason);
    else if (vm->report.differences)
        snprintf(text, sizeof(text), "VM %u: %" PRIu64 " pages are not as they should be", n + 1,
                 vm->report.differences);
    else
        snprintf(text, sizeof(text), "VM %u %s", n + 1, what);
    demo_expect(demo, !vm->failed && !vm->report.differences, text);
}

static int demo_share(struct demo *demo)
{
    struct vm *vms[VMS] = {&demo->slots[0].vm, &demo->slots[1].vm, &demo->slots[2].vm};

    say("\n32 MiB of video memory are in nobody's share. VM 1 has taken them and gives them back; "
        "VM 2\n"
        "grows by what it gives; VM 3 touches a page of its aperture that its page table has not:");
    if (demo_start_vm(demo, 0, "shrink", 1, false))
        return CLI_FAILED;
    vms_wait(vms, 1, pool_is_taken);
    if (demo_start_vm(demo, 1, "grow", 1, false)) {
        vm_kill(vms[0]);
        return CLI_FAILED;
    }
    if (demo_start_vm(demo, 2, "trespass", 1, false)) {
        vm_kill(vms[0]);
        vm_kill(vms[1]);
        return CLI_FAILED;
    }
    vms_wait(vms, VMS, NULL);
    for (unsigned i = 0; i < VMS; i++)
        vm_reap(vms[i]);
    demo_fault_table(demo);
    demo_check_pages(demo, 0, "shrank: what it kept stayed as it was");
    demo_check_pages(demo, 1, "grew: every page came empty and kept its mark");
    demo_expect(demo, vms[2]->signal == SIGBUS && demo_stats(demo, 2).refused == 1,
                vms[2]->signal == SIGBUS ? "VM 3 was refused the page and stopped by SIGBUS"
                                         : "VM 3 was not stopped by SIGBUS");
    return CLI_OK;
}

/* ------------------------------------------------------------------ the command */

static int demo_run(struct demo *demo)
{
    int ret = demo_open(demo);

    if (!ret)
        ret = demo_work(demo);
    if (!ret)
        ret = demo_kill(demo);
    if (!ret)
        ret = demo_share(demo);
    if (!ret && demo->failures)
        ret = CLI_FAILED;
    if (demo->failures)
        printf("\ndemo: %u checks FAILED\n", demo->failures);
    else if (!ret)
        say("\ndemo: all is well");
    return ret;
}

/* A picture that can't be shown is found out before anything starts. */
static int demo_check_arguments(struct demo *demo)
{
    struct picture picture;
    struct umdev_error error;
    struct stat status;

    if (demo->image) {
        if (picture_read(demo->image, &picture, &error))
            return cli_error(COMMAND_NAME, "%s", error.message);
        picture_free(&picture);
    }
    if (stat(demo->output, &status))
        return cli_error(COMMAND_NAME, "can't write to '%s': %s", demo->output,
                         strerrordesc_np(errno));
    if (!S_ISDIR(status.st_mode))
        return cli_error(COMMAND_NAME, "--output takes a folder, '%s' is none", demo->output);
    for (unsigned i = 0; i < 2; i++)
        if (asprintf(&demo->pictures[i], "%s/vm%u.png", demo->output, i + 1) < 0)
            return cli_error(COMMAND_NAME, "out of memory");
    return CLI_OK;
}

/* The command line that vm_start() makes: --vm SCENE SOCKET FRAMES IMAGE OUTPUT, control at fd 3.
 */
static int demo_vm(int argc, char **argv)
{
    if (argc != 7)
        return cli_usage_error(COMMAND_NAME, "--vm is the demo's own");
    return demo_vm_main(&(struct vm_job){
        .scene = argv[2],
        .socket = argv[3],
        .frames = (unsigned)strtoul(argv[4], NULL, 10),
        .image = argv[5][0] ? argv[5] : NULL,
        .output = argv[6][0] ? argv[6] : NULL,
        .control = 3,
    });
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct demo demo = {.output = "."};
    int option, ret;

    if (argc > 1 && strcmp(argv[1], "--vm") == 0)
        return demo_vm(argc, argv);
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":o:h", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            demo.output = optarg;
            break;
        case 'h':
            demo_help();
            return CLI_OK;
        default:
            return cli_option_error(COMMAND_NAME, option, argv);
        }
    }
    if (argc - optind > 1)
        return cli_usage_error(COMMAND_NAME, "one picture, please: '%s' or '%s'", argv[optind],
                               argv[optind + 1]);
    demo.image = argv[optind];
    ret = demo_check_arguments(&demo);
    if (!ret)
        ret = demo_run(&demo);
    demo_close(&demo);
    return ret;
}
