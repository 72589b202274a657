/* A character device /dev/nsm for a guest, in user space: nsm_device CID PORT.
 *
 * Takes the real ioctl, as the kernel's driver does, and brings each request to a simulated Nitro Security Module that
 * listens on vsock, after 4 bytes of length. For tests only: nothing here is isolated from anything.
 */
#define FUSE_USE_VERSION 31
#include <arpa/inet.h>
#include <cuse_lowlevel.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define NSM_IOCTL 0xC0200A00u /* _IOWR(0x0A, 0, struct nsm_raw); source: <uapi/linux/nsm.h> */
#define MAX_REQUEST 0x1000
#define MAX_RESPONSE 0x3000

struct nsm_raw {
    struct iovec request, response;
};

static struct sockaddr_vm module = {.svm_family = AF_VSOCK};

static int transfer(int sock, char *data, size_t size, int is_write) {
    while (size > 0) {
        ssize_t done = is_write ? write(sock, data, size) : read(sock, data, size);
        if (done <= 0)
            return -1;
        data += done;
        size -= (size_t)done;
    }
    return 0;
}

/* Returns the answer's size, or a negative errno. */
static long exchange(const char *request, size_t request_size, char *response, size_t response_size) {
    int sock = socket(AF_VSOCK, SOCK_STREAM, 0);
    uint32_t length = htonl((uint32_t)request_size);
    long result = -EIO;
    if (sock < 0 || connect(sock, (struct sockaddr *)&module, sizeof module) != 0)
        goto end;
    if (transfer(sock, (char *)&length, sizeof length, 1) || transfer(sock, (char *)request, request_size, 1) ||
        transfer(sock, (char *)&length, sizeof length, 0))
        goto end;
    result = ntohl(length);
    if ((size_t)result > response_size)
        result = -EMSGSIZE;
    else if (transfer(sock, response, (size_t)result, 0))
        result = -EIO;
end:
    if (sock >= 0)
        close(sock);
    return result;
}

static void open_device(fuse_req_t request, struct fuse_file_info *file) {
    fuse_reply_open(request, file);
}

/* The kernel calls three times: for the structure, for what it points to, and then with all of it. */
static void answer_ioctl(fuse_req_t request, int command, void *argument, struct fuse_file_info *file, unsigned flags,
                         const void *data, size_t size, size_t capacity) {
    (void)file, (void)flags;
    struct nsm_raw raw;
    struct iovec structure = {argument, sizeof raw};
    char answer[sizeof raw + MAX_RESPONSE];
    if ((unsigned)command != NSM_IOCTL) {
        fuse_reply_err(request, ENOTTY);
        return;
    }
    if (size < sizeof raw) {
        fuse_reply_ioctl_retry(request, &structure, 1, NULL, 0);
        return;
    }
    memcpy(&raw, data, sizeof raw);
    if (raw.request.iov_len > MAX_REQUEST || raw.response.iov_len > MAX_RESPONSE) {
        fuse_reply_err(request, EMSGSIZE);
        return;
    }
    if (size < sizeof raw + raw.request.iov_len || capacity < sizeof raw + raw.response.iov_len) {
        struct iovec in[] = {structure, raw.request}, out[] = {structure, raw.response};
        fuse_reply_ioctl_retry(request, in, 2, out, 2);
        return;
    }
    long length = exchange((const char *)data + sizeof raw, raw.request.iov_len, answer + sizeof raw,
                           raw.response.iov_len);
    if (length < 0) {
        fuse_reply_err(request, (int)-length);
        return;
    }
    printf("nsm_device: ioctl %#x, request %zu bytes, response %ld\n", (unsigned)command, raw.request.iov_len, length);
    fflush(stdout);
    raw.response.iov_len = (size_t)length;
    memcpy(answer, &raw, sizeof raw);
    fuse_reply_ioctl(request, 0, answer, sizeof raw + (size_t)length);
}

int main(int count, char **arguments) {
    const char *name[] = {"DEVNAME=nsm"};
    struct cuse_info info = {.dev_info_argc = 1, .dev_info_argv = name, .flags = CUSE_UNRESTRICTED_IOCTL};
    struct cuse_lowlevel_ops operations = {.open = open_device, .ioctl = answer_ioctl};
    char *own[] = {arguments[0], "-f", "-s", NULL};
    if (count != 3) {
        fprintf(stderr, "error: expected nsm_device CID PORT\n");
        return 2;
    }
    module.svm_cid = (unsigned)strtoul(arguments[1], NULL, 10);
    module.svm_port = (unsigned)strtoul(arguments[2], NULL, 10);
    return cuse_lowlevel_main(3, own, &info, &operations, NULL);
}
