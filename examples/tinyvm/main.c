/* SPDX-License-Identifier: BSD-3-Clause */
#include "tinyvm.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: tinyvm --socket PATH --script FILE [--script FILE] [OPTION…]\n"
    "Run a tiny guest with the umdev device at PATH; each script is a vCPU.\n"
    "\n"
    "  --aperture REGION    the region that is mapped into the guest (the first that faults)\n"
    "  --registers REGION   the region whose accesses are trapped (0)\n"
    "  --interrupt VECTOR   the MSI-X vector that the guest counts (0)\n"
    "  --async-faults       KVM may fetch pages in the background, for writing\n"
    "  --no-kvm             the guest is a thread of this process\n"
    "  --no-fault           the aperture is not mapped; each access is a message\n"
    "  --track KIND         how the device learns of writes to the guest's memory: async or\n"
    "                       sync (writers wait), by userfaultfd; off: it compares (off)\n"
    "  --help\n"
    "\n"
    "Exit code: 0 all scripts came to their end, 1 something went wrong, 2 wrong usage.\n";

enum {
    OPT_SOCKET = 1,
    OPT_SCRIPT,
    OPT_APERTURE,
    OPT_REGISTERS,
    OPT_INTERRUPT,
    OPT_ASYNC_FAULTS,
    OPT_NO_KVM,
    OPT_NO_FAULT,
    OPT_TRACK,
    OPT_HELP,
};

static int usage(const char *what)
{
    fprintf(stderr, "tinyvm: %s; see tinyvm --help\n", what);
    return 2;
}

static int parse_int(const char *text, int *value)
{
    char *end;
    long number = strtol(text, &end, 0);

    *value = (int)number;
    return end == text || *end || number < 0 || number > 4096 ? usage("not a number") : 0;
}

static int parse_track(const char *text, enum umdev_track_help *track)
{
    if (strcmp(text, "async") == 0)
        *track = UMDEV_TRACK_HELP_ASYNC;
    else if (strcmp(text, "sync") == 0)
        *track = UMDEV_TRACK_HELP_SYNC;
    else if (strcmp(text, "off") == 0)
        *track = UMDEV_TRACK_HELP_NONE;
    else
        return usage("--track is async, sync or off");
    return 0;
}

static int set_option(struct options *options, int option)
{
    switch (option) {
    case OPT_SOCKET:
        options->socket = optarg;
        return 0;
    case OPT_SCRIPT:
        if (options->nscripts == GUEST_CPUS)
            return usage("too many scripts");
        options->scripts[options->nscripts++] = optarg;
        return 0;
    case OPT_APERTURE:
        return parse_int(optarg, &options->aperture);
    case OPT_REGISTERS:
        return parse_int(optarg, &options->registers);
    case OPT_INTERRUPT:
        return parse_int(optarg, &options->interrupt);
    case OPT_ASYNC_FAULTS:
        options->async_faults = true;
        return 0;
    case OPT_NO_KVM:
        options->no_kvm = true;
        return 0;
    case OPT_NO_FAULT:
        options->no_fault = true;
        return 0;
    case OPT_TRACK:
        return parse_track(optarg, &options->track);
    default:
        return usage("no such option, or nothing after it");
    }
}

/* 0; 2: wrong; −1: help was asked for. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"socket", required_argument, NULL, OPT_SOCKET},
        {"script", required_argument, NULL, OPT_SCRIPT},
        {"aperture", required_argument, NULL, OPT_APERTURE},
        {"registers", required_argument, NULL, OPT_REGISTERS},
        {"interrupt", required_argument, NULL, OPT_INTERRUPT},
        {"async-faults", no_argument, NULL, OPT_ASYNC_FAULTS},
        {"no-kvm", no_argument, NULL, OPT_NO_KVM},
        {"no-fault", no_argument, NULL, OPT_NO_FAULT},
        {"track", required_argument, NULL, OPT_TRACK},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    int option, ret = 0;

    opterr = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet */
    while (!ret && (option = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        if (option == OPT_HELP)
            return -1;
        ret = set_option(options, option);
    }
    if (!ret && (!options->socket || !options->nscripts || optind < argc))
        ret = usage("a socket and a script are needed, and nothing else");
    return ret;
}

int main(int argc, char **argv)
{
    static struct vm vm = {
        .options = {.aperture = -1},
        .device = {.aperture = -1, .interrupt = -1},
        .memory_fd = -1,
    };
    int ret = parse_options(argc, argv, &vm.options);

    if (ret < 0) {
        fputs(help, stdout);
        return 0;
    }
    if (ret)
        return ret;
    ret = vm_init(&vm) ? 1 : vm_run(&vm);
    vm_fini(&vm);
    return ret;
}
