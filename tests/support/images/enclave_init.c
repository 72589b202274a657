/* The first process of a guest that runs an enclave's image: /init, with SCRIPT, RAM and OUT in its environment.
 *
 * Its ramdisk has the layout of an enclave image file's: /init, the image's command in /cmd and environment in /env, one
 * entry a line, and its root file system in /rootfs. As the init of Nitro Enclaves does, it mounts what programs
 * expect, changes the root, and starts the command as its child. Next to it runs what the parent instance has: SCRIPT, by
 * a shell, on the host's files. The guest powers off when SCRIPT ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENTRIES 64
#define NSM_WAIT_MS 60000

static void end(const char *what) {
    if (what)
        printf("init: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void mount_at(const char *source, const char *root, const char *folder, const char *type, unsigned long flags,
                     const char *options) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s", root, folder);
    mkdir(path, 0755);
    if (mount(source, path, type, flags, options) != 0)
        end(path);
}

static char **read_lines(const char *path) {
    static char text[2][65536];
    static char *lines[2][MAX_ENTRIES + 1];
    static int used;
    char *data = text[used], **found = lines[used++];
    FILE *file = fopen(path, "r");
    if (!file)
        end(path);
    data[fread(data, 1, sizeof text[0] - 1, file)] = 0;
    fclose(file);
    int count = 0;
    for (char *line = strtok(data, "\n"); line && count < MAX_ENTRIES; line = strtok(NULL, "\n"))
        found[count++] = line;
    return found;
}

static void start(const char *root, char **command, char **environment) {
    if (chroot(root) != 0 || chdir("/") != 0)
        end(root);
    clearenv();
    for (; environment && *environment; environment++)
        putenv(*environment);
    execvp(command[0], command);
    end(command[0]);
}

int main(void) {
    struct timespec now, pause_time = {0, 10 * 1000 * 1000};
    char *script = getenv("SCRIPT"), *ram = getenv("RAM"), *out = getenv("OUT");
    if (!script || !ram || !out) {
        errno = EINVAL;
        end("expected SCRIPT, RAM and OUT in the environment");
    }
    mount_at("devtmpfs", "", "/dev", "devtmpfs", MS_NOSUID, NULL);
    freopen("/dev/console", "w", stdout);
    dup2(fileno(stdout), 1);
    dup2(1, 2);
    mount_at("proc", "", "/proc", "proc", 0, NULL);
    mount_at("sysfs", "", "/sys", "sysfs", 0, NULL);
    mount_at("hostfs", "", "/host", "hostfs", MS_RDONLY, "/");
    mount_at("hostfs", "/host", out, "hostfs", 0, out);
    mount_at("tmpfs", "/host", ram, "tmpfs", 0, NULL);
    mount_at("tmpfs", "/rootfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, NULL);
    char shared[4096];
    snprintf(shared, sizeof shared, "%s/run", ram);
    mount_at("/rootfs/run", "/host", shared, NULL, MS_BIND, NULL);
    const char *kernels[] = {"/dev", "/proc", "/sys"}, *roots[] = {"/host", "/rootfs"};
    for (int root = 0; root < 2; root++)
        for (int folder = 0; folder < 3; folder++)
            mount_at(kernels[folder], roots[root], kernels[folder], NULL, MS_BIND, NULL);

    pid_t companion = fork();
    if (companion == 0) {
        char *shell[] = {"sh", script, NULL}, *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
        start("/host", shell, environment);
    }
    for (int waited = 0; access("/dev/nsm", F_OK) != 0; waited += 10) {
        if (waited > NSM_WAIT_MS || waitpid(companion, NULL, WNOHANG) == companion)
            end("/dev/nsm");
        nanosleep(&pause_time, NULL);
    }
    char **command = read_lines("/cmd"), **environment = read_lines("/env");
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("init: starts %s at %lld.%09ld s\n", command[0], (long long)now.tv_sec, now.tv_nsec);
    fflush(stdout);
    pid_t enclave = fork();
    if (enclave == 0)
        start("/rootfs", command, environment);
    for (;;) {
        int status = 0;
        pid_t ended = wait(&status);
        if (ended == enclave)
            printf("init: the command ended, status %#x\n", status);
        if (ended == companion || ended < 0)
            end(NULL);
    }
}
