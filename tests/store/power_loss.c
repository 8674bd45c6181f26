/* Keeps, beside a folder, what of it would outlive a loss of power at each moment.

   Preloaded into a process (LD_PRELOAD). At each fsync or fdatasync of something below
   LIFELOOP_DISK it writes to LIFELOOP_DURABLE:
     <inode>.<n>  a copy of the file as it was synced
     log          F inode n            the file's content is durable
                  D inode name=inode…  the names in the folder are durable
                  T path=inode…        the names that a process sees at this moment
                  A text               the process was told or did something (lifeloop_mark)
   Fields are separated by tabs; each inode is followed by its birth, so that a number that is
   used again is another file, and by its mode. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;
static long copies = 0;

static FILE *book(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/log", getenv("LIFELOOP_DURABLE"));
    return fopen(path, "a");
}

static int named(int at, const char *path, int flags, char *out, size_t size, int *folder) {
    struct statx found;
    if (statx(at, path, flags | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME | STATX_MODE, &found))
        return -1;
    *folder = S_ISDIR(found.stx_mode);
    snprintf(out, size, "%llu-%lld.%u-%o", (unsigned long long)found.stx_ino,
             (long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec, found.stx_mode);
    return 0;
}

static void listed(FILE *log, const char *folder, const char *prefix, int deep) {
    DIR *opened = opendir(folder);
    struct dirent *entry;
    if (!opened) return;
    while ((entry = readdir(opened))) {
        char path[4096], shown[4096], name[128];
        int inner;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(shown, sizeof shown, "%s%s", prefix, entry->d_name);
        if (named(AT_FDCWD, path, 0, name, sizeof name, &inner)) continue;
        fprintf(log, "\t%s=%s", shown, name);
        if (deep && inner) {
            strncat(shown, "/", sizeof shown - strlen(shown) - 1);
            listed(log, path, shown, 1);
        }
    }
    closedir(opened);
}

static void copied(int fd, const char *to) {
    char own[64], block[65536];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    int from = open(own, O_RDONLY), into = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n;
    while (from >= 0 && into >= 0 && (n = read(from, block, sizeof block)) > 0)
        if (write(into, block, n) != n) abort();
    close(from);
    close(into);
}

static void synced(int fd) {
    char own[64], path[4096], name[128];
    const char *disk = getenv("LIFELOOP_DISK"), *durable = getenv("LIFELOOP_DURABLE");
    int folder;
    if (!disk || !durable) return;
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(own, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (strncmp(path, disk, strlen(disk)) || named(fd, "", AT_EMPTY_PATH, name, sizeof name, &folder))
        return;
    pthread_mutex_lock(&alone);
    FILE *log = book();
    if (folder) {
        fprintf(log, "D\t%s", name);
        listed(log, path, "", 0);
    } else {
        char to[4096];
        snprintf(to, sizeof to, "%s/%ld", durable, ++copies);
        copied(fd, to);
        fprintf(log, "F\t%s\t%ld", name, copies);
    }
    fprintf(log, "\nT");
    listed(log, disk, "", 1);
    fprintf(log, "\n");
    fclose(log);
    pthread_mutex_unlock(&alone);
}

int fsync(int fd) {
    int failed = ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
    if (!failed) synced(fd);
    return failed;
}

int fdatasync(int fd) {
    int failed = ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
    if (!failed) synced(fd);
    return failed;
}

void lifeloop_mark(const char *text) {
    pthread_mutex_lock(&alone);
    FILE *log = book();
    fprintf(log, "A\t%s\nT", text);
    listed(log, getenv("LIFELOOP_DISK"), "", 1);
    fprintf(log, "\n");
    fclose(log);
    pthread_mutex_unlock(&alone);
}
