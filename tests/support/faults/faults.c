/* Preloaded into a process: file operations on its database fail as a control file says.
 * FAULTS names that file; while it is there it holds lines of "CALL ERRNO". Only descriptors of files whose
 * path has "dumbkv.db" in it are touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fault(const char *call, int descriptor) {
    int kept = errno, number, found = 0;
    char link[64], path[4096], name[32];
    const char *control = getenv("FAULTS");
    FILE *file = control ? fopen(control, "re") : NULL;
    if (!file) {
        errno = kept;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    while (!found && fscanf(file, "%31s %d", name, &number) == 2)
        found = !strcmp(name, call) && strstr(path, "dumbkv.db") ? number : 0;
    fclose(file);
    errno = found ? found : kept;
    return found;
}

#define WRAP(result, name, parameters, arguments, kind, failure)                  \
    result name parameters {                                                      \
        static result(*real) parameters;                                          \
        if (!real)                                                                \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                            \
        return fault(kind, descriptor) ? failure : real arguments;                \
    }

WRAP(ssize_t, pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at), "read", -1)
WRAP(ssize_t, pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at), "read", -1)
WRAP(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at), "write", -1)
WRAP(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at), "write", -1)
WRAP(int, fsync, (int descriptor), (descriptor), "sync", -1)
WRAP(int, fdatasync, (int descriptor), (descriptor), "sync", -1)
