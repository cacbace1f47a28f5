/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umdev run: one device at one socket, for as long as the command runs.
 *
 * The main thread holds SIGINT, SIGTERM, SIGHUP and SIGCHLD blocked from the start, so that every
 * thread of the host inherits that, and waits for them with sigwaitinfo(): no handler, no race.
 */
#include "base/cleanup.h"
#include "base/range.h"
#include "cli/cli.h"
#include "control/control.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <umdev/host.h>

#define COMMAND_NAME   "run"
#define CONTROL_SUFFIX ".control"

struct run {
    const char *driver, *type, *uuid, *socket, *control, *command;
    const char **params;
    size_t nparams;
    unsigned mode;
    bool trust_clients;
    enum umdev_log_level log_level;
    char temporary[64]; /* the folder of a socket of our own choice, or "" */
    char *chosen_socket, *chosen_control;
    sigset_t old_mask;
};

static void run_help(void)
{
    puts("Usage: umdev run DRIVER [TYPE] [KEY=VALUE...] --socket PATH\n"
         "       umdev run DRIVER [TYPE] [KEY=VALUE...] [--socket PATH] --run 'COMMAND'\n"
         "Serve one device at a UNIX socket, to one client after another.\n"
         "\n"
         "DRIVER is a name (vgpu) or a file (./umdev-copier.so), TYPE one of its types\n"
         "(vgpu-4; the first with room by default), KEY=VALUE its parameters.\n"
         "\n"
         "  -s, --socket PATH    where to listen; with --run a temporary one by default\n"
         "  -r, --run COMMAND    run a shell command on the device and end with it;\n"
         "                       UMDEV_SOCKET, UMDEV_CONTROL, UMDEV_UUID and\n"
         "                       UMDEV_QEMU_DEVICE (for QEMU's -device) are in its environment\n"
         "  -c, --control PATH   answer 'umdev show' and 'umdev screenshot' there; with --run\n"
         "                       the socket's path with .control by default\n"
         "  -u, --uuid UUID      name the device; random by default\n"
         "  -m, --mode MODE      the sockets' permissions, octal; 600 by default\n"
         "      --trust-client   clients may have memory that devices of the parent share\n"
         "  -v, --verbose        log connections; twice: failed requests, too\n"
         "  -q, --quiet          log errors only\n"
         "  -h, --help           show this\n"
         "\n"
         "Ends with the command's exit code, or 0 after SIGINT or SIGTERM.");
}

/* DRIVER [TYPE] [KEY=VALUE...], in any order behind the driver. */
static int run_parse_words(struct run *run, char **words)
{
    if (!*words)
        return cli_usage_error(COMMAND_NAME, "which driver? give a name (vgpu) or a file");
    run->driver = *words++;
    for (; *words; words++) {
        if (strchr(*words, '='))
            run->params[run->nparams++] = *words;
        else if (run->type)
            return cli_usage_error(COMMAND_NAME,
                                   "one type, please: '%s' or '%s'; parameters are KEY=VALUE",
                                   run->type, *words);
        else
            run->type = *words;
    }
    if (!run->socket && !run->command)
        return cli_usage_error(COMMAND_NAME,
                               "where to listen? give --socket PATH or --run COMMAND");
    return CLI_OK;
}

static int run_parse(struct run *run, int argc, char **argv, bool *help)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"run", required_argument, NULL, 'r'},
        {"uuid", required_argument, NULL, 'u'},
        {"mode", required_argument, NULL, 'm'},
        {"control", required_argument, NULL, 'c'},
        {"trust-client", no_argument, NULL, 'T'}, /* no short one */
        {"verbose", no_argument, NULL, 'v'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option, ret;

    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":s:r:u:c:m:vqh", options, NULL)) != -1) {
        switch (option) {
        case 's':
            run->socket = optarg;
            break;
        case 'r':
            run->command = optarg;
            break;
        case 'u':
            run->uuid = optarg;
            break;
        case 'c':
            run->control = optarg;
            break;
        case 'm':
            ret = cli_parse_mode(COMMAND_NAME, optarg, &run->mode);
            if (ret)
                return ret;
            break;
        case 'T':
            run->trust_clients = true;
            break;
        case 'v':
            run->log_level = MIN(run->log_level + 1, UMDEV_LOG_DEBUG);
            break;
        case 'q':
            run->log_level = UMDEV_LOG_ERROR;
            break;
        case 'h':
            *help = true;
            return CLI_OK;
        default:
            return cli_option_error(COMMAND_NAME, option, argv);
        }
    }
    return run_parse_words(run, argv + optind);
}

/* A folder that only we can enter, for the socket of a captive run. */
static int run_choose_socket(struct run *run)
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (!base || !*base || strlen(base) > 30)
        base = "/tmp";
    snprintf(run->temporary, sizeof(run->temporary), "%s/umdev-XXXXXX", base);
    if (!mkdtemp(run->temporary)) {
        run->temporary[0] = '\0';
        return cli_error(COMMAND_NAME, "can't make a folder in %s: %s", base,
                         strerrordesc_np(errno));
    }
    if (asprintf(&run->chosen_socket, "%s/socket", run->temporary) < 0) {
        run->chosen_socket = NULL;
        return cli_error(COMMAND_NAME, "out of memory");
    }
    run->socket = run->chosen_socket;
    return CLI_OK;
}

/* Beside the socket of a captive run; without one where that path would be too long. */
static int run_choose_control(struct run *run)
{
    if (strlen(run->socket) + strlen(CONTROL_SUFFIX) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return CLI_OK;
    if (asprintf(&run->chosen_control, "%s" CONTROL_SUFFIX, run->socket) < 0) {
        run->chosen_control = NULL;
        return cli_error(COMMAND_NAME, "out of memory");
    }
    run->control = run->chosen_control;
    return CLI_OK;
}

static int pick_first_type(void *opaque, const struct umdev_host_type *type)
{
    char **name = opaque;

    *name = strdup(type->name);
    return 1;
}

/* The text for QEMU's -device. */
static char *run_qemu_device(const char *socket)
{
    CLEANUP_FREE char *absolute = realpath(socket, NULL);
    json_t *json = json_pack("{s:s, s:{s:s, s:s}}", "driver", "vfio-user-pci", "socket", "type",
                             "unix", "path", absolute ? absolute : socket);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static pid_t run_start_command(const struct run *run, const char *uuid)
{
    char *device = run_qemu_device(run->socket);
    pid_t parent = getpid(), pid;

    if (!device)
        return -1;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(CLI_FAILED);
        sigprocmask(SIG_SETMASK, &run->old_mask, NULL);
        setenv("UMDEV_SOCKET", run->socket, 1);
        if (run->control)
            setenv("UMDEV_CONTROL", run->control, 1);
        else
            unsetenv("UMDEV_CONTROL"); /* that of another umdev */
        setenv("UMDEV_UUID", uuid, 1);
        setenv("UMDEV_QEMU_DEVICE", device, 1);
        execl("/bin/sh", "sh", "-c", run->command, (char *)NULL);
        _exit(127);
    }
    free(device);
    return pid;
}

/* Until a signal ends us or the command ends. The exit code. */
static int run_wait(pid_t command, const sigset_t *signals)
{
    int status;

    for (;;) {
        int signal_number = sigwaitinfo(signals, NULL);

        if (signal_number == SIGCHLD) {
            if (command > 0 && waitpid(command, &status, WNOHANG) == command)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        } else if (signal_number > 0) {
            if (command <= 0)
                return CLI_OK;
            kill(command, signal_number);
        }
    }
}

static int run_serve(struct run *run, struct umdev_host *host, const sigset_t *signals,
                     struct control **control)
{
    CLEANUP_FREE char *first = NULL;
    char uuid[UMDEV_UUID_STR_SIZE];
    struct umdev_error error;
    struct source source = source_of_host(host, false);
    pid_t command = 0;

    if (umdev_host_add_parent(host, run->driver, NULL, run->params, run->nparams, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    if (!run->type)
        umdev_host_for_each_type(host, pick_first_type, &first);
    if (umdev_host_create(host, NULL, run->type ? run->type : first, run->uuid, uuid, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    if (!run->socket && run_choose_socket(run))
        return CLI_FAILED;
    if (umdev_host_listen(host, uuid, run->socket, run->mode, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    if (!run->control && run->command && run_choose_control(run))
        return CLI_FAILED;
    if (run->control && control_start(&source, run->control, run->mode, 0, control, &error))
        return cli_error(COMMAND_NAME, "%s", error.message);
    if (run->command) {
        command = run_start_command(run, uuid);
        if (command < 0)
            return cli_error(COMMAND_NAME, "can't start the command: %s", strerrordesc_np(errno));
    } else {
        printf("%s %s  %s\n", run->type ? run->type : first, uuid, run->socket);
        fflush(stdout);
    }
    return run_wait(command, signals);
}

int cmd_run(int argc, char **argv)
{
    struct run run = {.log_level = UMDEV_LOG_WARNING};
    CLEANUP_FREE const char **params = calloc((size_t)argc + 1, sizeof(*params));
    struct umdev_host_options options = {.struct_size = sizeof(options)};
    struct umdev_host *host = NULL;
    struct control *control = NULL;
    bool help = false;
    sigset_t signals;
    int ret;

    if (!params)
        return cli_error(COMMAND_NAME, "out of memory");
    run.params = params;
    ret = run_parse(&run, argc, argv, &help);
    if (help)
        run_help();
    if (ret || help)
        return ret;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &run.old_mask);
    options.log_level = run.log_level;
    options.trust_clients = run.trust_clients;
    ret = umdev_host_new(&options, &host);
    if (ret)
        return cli_error(COMMAND_NAME, "can't start: %s", strerrordesc_np(-ret));
    ret = run_serve(&run, host, &signals, &control);
    control_stop(control);
    umdev_host_free(host);
    if (run.temporary[0])
        rmdir(run.temporary);
    free(run.chosen_control);
    free(run.chosen_socket);
    return ret;
}
