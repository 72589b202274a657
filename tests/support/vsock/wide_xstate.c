/* Lets User Mode Linux run on CPUs with AMX.
 *
 * It keeps a process's floating-point state in a buffer of fixed size, made for AVX-512. Since Linux 5.16 the host's
 * PTRACE_SETREGSET takes NT_X86_XSTATE only whole (arch/x86/kernel/fpu/regset.c, xstateregs_set), which with AMX is
 * 11 KiB; given less it says EFAULT, and the guest panics. So here what lies after the guest's buffer is read from the
 * host first and written back unchanged: the tile registers, which a guest's process has no permission to use.
 *
 * Preloaded into linux.uml, where one thread calls ptrace; static memory is safe, and its stacks are small.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static long (*next_ptrace)(enum __ptrace_request, pid_t, void *, void *);
static char whole[64 * 1024];

__attribute__((constructor)) static void find_next_ptrace(void) {
    next_ptrace = (long (*)(enum __ptrace_request, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
}

static long exchange_xstate(enum __ptrace_request request, pid_t pid, struct iovec *part) {
    struct iovec all = {whole, sizeof whole};
    long result = next_ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &all);
    if (result != 0)
        return result;
    if (part->iov_len > all.iov_len)
        part->iov_len = all.iov_len;
    if (request == PTRACE_GETREGSET) {
        memcpy(part->iov_base, whole, part->iov_len);
        return 0;
    }
    memcpy(whole, part->iov_base, part->iov_len);
    return next_ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && address == (void *)NT_X86_XSTATE)
        return exchange_xstate(request, pid, data);
    return next_ptrace(request, pid, address, data);
}
