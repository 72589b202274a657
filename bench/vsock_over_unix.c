/* Lets a program that only speaks AF_VSOCK listen on a unix socket: $VSOCK_SHIM_DIR/PORT stands for any CID, PORT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
static int listener = -1;
int socket(int domain, int type, int protocol) {
    static int (*real)(int, int, int);
    if (!real) real = dlsym(RTLD_NEXT, "socket");
    int fd = real(domain == AF_VSOCK ? AF_UNIX : domain, type, domain == AF_VSOCK ? 0 : protocol);
    if (domain == AF_VSOCK) listener = fd;
    return fd;
}
int bind(int fd, const struct sockaddr *name, socklen_t size) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real) real = dlsym(RTLD_NEXT, "bind");
    if (name->sa_family != AF_VSOCK) return real(fd, name, size);
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    snprintf(path.sun_path, sizeof path.sun_path, "%s/%u", getenv("VSOCK_SHIM_DIR"),
             ((const struct sockaddr_vm *)name)->svm_port);
    return real(fd, (struct sockaddr *)&path, sizeof path);
}
static int fake(struct sockaddr *name, socklen_t *size) {
    struct sockaddr_vm peer = {.svm_family = AF_VSOCK, .svm_cid = 16, .svm_port = 1};
    memcpy(name, &peer, sizeof peer);
    *size = sizeof peer;
    return 0;
}
int accept4(int fd, struct sockaddr *name, socklen_t *size, int flags) {
    static int (*real)(int, struct sockaddr *, socklen_t *, int);
    if (!real) real = dlsym(RTLD_NEXT, "accept4");
    if (fd != listener) return real(fd, name, size, flags);
    int peer = real(fd, NULL, NULL, flags);
    if (peer >= 0 && name) fake(name, size);
    return peer;
}
int accept(int fd, struct sockaddr *name, socklen_t *size) { return accept4(fd, name, size, 0); }
