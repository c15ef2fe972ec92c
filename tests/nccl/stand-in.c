/* A test aid, and not NCCL: a libnccl.so.2 that moves bytes between processes of one machine through shared memory.
 *
 * It is for cards that are emulated, whose memory is that of the host and whose streams are done when a call returns. It has the
 * functions of NCCL 2 that Nextscale calls, for f32 and bytes, sums, and groups in which every rank sends to every rank.
 *
 *     cc -shared -fPIC -O2 -Wl,-soname,libnccl.so.2 -o libnccl.so.2 stand-in.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { OK = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5 };
enum { UINT8 = 1, FLOAT32 = 7 };
enum { PART = 1 << 16, MAGIC = 0x4e43434c, WAITS = 30000 };

typedef struct { char bytes[128]; } Id;

/* What all ranks see, and after it one part of memory from each rank to each. */
typedef struct {
    atomic_int ready;
    pthread_barrier_t all;
} Shared;

typedef struct {
    Shared *shared;
    char *parts;
    size_t bytes;
    int rank, world, splits;
    char name[64];
} Comm;

/* A send or a receive of a group. */
typedef struct { int receives, peer; char *at; size_t bytes; Comm *comm; } Transfer;
static _Thread_local Transfer transfers[256];
static _Thread_local int transferring, grouped;
static char last[128] = "";

static int failed(int code, const char *why) { snprintf(last, sizeof last, "%s", why); return code; }
static size_t width(int type) { return type == FLOAT32 ? 4 : type == UINT8 ? 1 : 0; }
static char *part(const Comm *c, int from, int to) { return c->parts + ((size_t)from * c->world + to) * PART; }
static void meet(Comm *c) { pthread_barrier_wait(&c->shared->all); }
static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static int join(Comm **out, const char *name, int rank, int world) {
    Comm *c = calloc(1, sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->rank = rank, c->world = world;
    c->bytes = sizeof(Shared) + (size_t)world * world * PART;
    int file = -1;
    for (int tries = 0; file < 0 && tries < WAITS; tries++) {
        file = shm_open(name, rank == 0 ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
        if (file < 0 && rank == 0) return failed(SYSTEM_ERROR, "shared memory cannot be made");
        if (file < 0) usleep(1000);
    }
    if (file < 0) return failed(SYSTEM_ERROR, "the first rank made no shared memory");
    if (rank == 0 && ftruncate(file, (off_t)c->bytes)) return failed(SYSTEM_ERROR, "no room for shared memory");
    for (int tries = 0; lseek(file, 0, SEEK_END) < (off_t)c->bytes && tries < WAITS; tries++) usleep(1000);
    c->shared = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (c->shared == MAP_FAILED) return failed(SYSTEM_ERROR, "shared memory cannot be mapped");
    c->parts = (char *)(c->shared + 1);
    if (rank == 0) {
        pthread_barrierattr_t attributes;
        pthread_barrierattr_init(&attributes);
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_barrier_init(&c->shared->all, &attributes, (unsigned)world);
        atomic_store(&c->shared->ready, MAGIC);
    }
    while (atomic_load(&c->shared->ready) != MAGIC) usleep(1000);
    meet(c);
    if (rank == 0) shm_unlink(name); /* all have it */
    *out = c;
    return OK;
}

int ncclGetUniqueId(Id *id) {
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number) return failed(SYSTEM_ERROR, "no random numbers");
    memset(id, 0, sizeof *id);
    snprintf(id->bytes, sizeof id->bytes, "/nccl-stand-in-%016llx", (unsigned long long)number);
    return OK;
}

int ncclCommInitRank(Comm **out, int world, Id id, int rank) {
    if (rank < 0 || rank >= world || id.bytes[0] != '/') return failed(INVALID_ARGUMENT, "rank or id");
    id.bytes[60] = 0;
    return join(out, id.bytes, rank, world);
}

int ncclCommDestroy(Comm *c) { munmap(c->shared, c->bytes); free(c); return OK; }
int ncclCommAbort(Comm *c) { (void)c; return OK; }
int ncclCommGetAsyncError(Comm *c, int *code) { (void)c; *code = OK; return OK; }
const char *ncclGetLastError(Comm *c) { (void)c; return last; }
const char *ncclGetErrorString(int code) {
    return code == OK ? "no error" : code == SYSTEM_ERROR ? "unhandled system error" : code == INVALID_ARGUMENT ? "invalid argument" : "invalid usage";
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Comm *c, void *stream) {
    (void)stream;
    size_t bytes = count * width(type);
    if (!width(type) || root < 0 || root >= c->world) return failed(INVALID_ARGUMENT, "type or root of a broadcast");
    for (size_t at = 0; at < bytes; at += PART) {
        size_t n = least(PART, bytes - at);
        if (c->rank == root) memcpy(part(c, root, 0), (const char *)from + at, n);
        meet(c);
        memmove((char *)to + at, part(c, root, 0), n);
        meet(c);
    }
    return OK;
}

int ncclAllGather(const void *from, void *to, size_t count, int type, Comm *c, void *stream) {
    (void)stream;
    size_t bytes = count * width(type);
    if (!width(type)) return failed(INVALID_ARGUMENT, "type of a gathering");
    for (size_t at = 0; at < bytes; at += PART) {
        size_t n = least(PART, bytes - at);
        memcpy(part(c, c->rank, 0), (const char *)from + at, n);
        meet(c);
        for (int r = 0; r < c->world; r++) memcpy((char *)to + r * bytes + at, part(c, r, 0), n);
        meet(c);
    }
    return OK;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, Comm *c, void *stream) {
    (void)stream;
    size_t bytes = count * width(type);
    if (type != FLOAT32 || op != 0) return failed(INVALID_ARGUMENT, "only sums of f32");
    for (size_t at = 0; at < bytes; at += PART) {
        size_t n = least(PART, bytes - at);
        memcpy(part(c, c->rank, 0), (const char *)from + at, n);
        meet(c);
        float *sums = (float *)((char *)to + at);
        memcpy(sums, part(c, 0, 0), n);
        for (int r = 1; r < c->world; r++)
            for (size_t i = 0; i < n / 4; i++) sums[i] += ((float *)part(c, r, 0))[i];
        meet(c);
    }
    return OK;
}

int ncclGroupStart(void) { grouped = 1; transferring = 0; return OK; }

static int transfer(int receives, const void *at, size_t count, int type, int peer, Comm *c) {
    if (!grouped || transferring == 256 || !width(type) || peer < 0 || peer >= c->world)
        return failed(INVALID_USAGE, "a transfer outside of a group, or of no known type, or with no rank");
    transfers[transferring++] = (Transfer){receives, peer, (char *)at, count * width(type), c};
    return OK;
}

int ncclSend(const void *from, size_t count, int type, int peer, Comm *c, void *stream) {
    (void)stream;
    return transfer(0, from, count, type, peer, c);
}

int ncclRecv(void *to, size_t count, int type, int peer, Comm *c, void *stream) {
    (void)stream;
    return transfer(1, to, count, type, peer, c);
}

int ncclGroupEnd(void) {
    grouped = 0;
    if (!transferring) return OK;
    Comm *c = transfers[0].comm;
    size_t bytes = transfers[0].bytes;
    if (transferring != 2 * c->world) return failed(INVALID_USAGE, "every rank has to send to every rank");
    for (size_t at = 0; at < bytes; at += PART) {
        size_t n = least(PART, bytes - at);
        for (int i = 0; i < transferring; i++)
            if (!transfers[i].receives) memcpy(part(c, c->rank, transfers[i].peer), transfers[i].at + at, n);
        meet(c);
        for (int i = 0; i < transferring; i++)
            if (transfers[i].receives) memcpy(transfers[i].at + at, part(c, transfers[i].peer, c->rank), n);
        meet(c);
    }
    return OK;
}

int ncclCommSplit(Comm *c, int colour, int key, Comm **out, void *config) {
    (void)config;
    int own[2] = {colour, key}, all[256][2];
    if (c->world > 256) return failed(INVALID_USAGE, "too many ranks");
    int code = ncclAllGather(own, all, sizeof own, UINT8, c, NULL);
    if (code) return code;
    int rank = 0, world = 0;
    for (int r = 0; r < c->world; r++) {
        if (all[r][0] != colour) continue;
        world++;
        rank += all[r][1] < key || (all[r][1] == key && r < c->rank);
    }
    char name[64];
    snprintf(name, sizeof name, "%.40s-%d-%d", c->name, c->splits++, colour);
    return join(out, name, rank, world);
}
