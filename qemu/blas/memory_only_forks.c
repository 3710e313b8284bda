/*
 * Loads a program once, and forks it for each network before its main runs.
 *
 * An emulated Caffe spends a second on its dynamic linker: a hundred libraries
 * are mapped and relocated, the same way each time. Preloaded into one process,
 * this library stops the program in front of main() and waits for requests. For
 * each of them it forks a process that runs main() with the request's arguments.
 *
 * The forked process is to have the memory of one that was started by itself:
 * - fork() copies the pages that were written, but not those of files that were
 *   only read. The child touches again those that were resident.
 * - What this library needs for that is given back before main() runs.
 * - OpenBLAS ends its threads before a fork, and starts them again when it is
 *   called (pthread_atfork, driver/others/blas_server.c).
 *
 * pibench compares the peak of a program without a network with that of one
 * that was started by itself, and forks only where both are equal
 * (pibench/probe/forks.py).
 *
 * Requests come from the standard input: arguments, each ended by a zero byte,
 * and one more zero byte at the end. The child is not this process's: it is
 * forked by a process in between that ends, and so becomes a child of the nearest
 * ancestor that asked for that (PR_SET_CHILD_SUBREAPER), which waits for it.
 * PIBENCH_FORKS has three file descriptors, `ANSWERS,GO,RUN`:
 * - the number of the process in between goes to ANSWERS, and it waits for a byte
 *   from GO. It may be moved into a control group by then: the child is born there,
 *   so that the kernel charges that group for its page tables too.
 * - the child's number goes to ANSWERS, and both wait. Whoever reads it may give
 *   the child pages of its own for those that it shares: all of them as long as
 *   the one in between lives. A byte from GO ends that one.
 * - the child's number once more: now it is the ancestor's. A byte from RUN starts
 *   main().
 * Without PIBENCH_FORKS the program runs as usual.
 */
#include <stddef.h>
#include <stdint.h>

#include "page_touch.h"

/* Prototypes instead of libc's headers: a bare cross compiler will do. */
void *dlsym(void *handle, const char *name);
char *getenv(const char *name);
unsigned long strtoul(const char *digits, char **end, int base);
size_t strlen(const char *text);
int open(const char *path, int flags, ...);
int close(int fd);
int dup2(int from, int to);
long read(int fd, void *bytes, size_t size);
long write(int fd, const void *bytes, size_t size);
long pread(int fd, void *bytes, size_t size, long offset);
int dprintf(int fd, const char *format, ...);
void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset);
int munmap(void *address, size_t size);
int fork(void);
int setsid(void);
int waitpid(int process, int *status, int options);
int prctl(int option, ...);
int getpid(void);
void _exit(int status) __attribute__((noreturn));

#define RTLD_NEXT ((void *)-1L)
#define O_RDONLY 0
#define O_RDWR 2
#define O_WRONLY 1
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MAP_SHARED_ANONYMOUS 0x21
#define MAP_FAILED ((void *)-1L)
#define PR_SET_PDEATHSIG 1
#define PR_SET_DUMPABLE 4
#define SIGKILL 9
#define PRESENT ((uint64_t)1 << 63)

enum { LONGEST_REQUEST = 4096, MOST_ARGUMENTS = 64 };

typedef int main_fn(int argc, char **argv, char **envp);
typedef int start_fn(main_fn *, int, char **, void (*)(void), void (*)(void), void (*)(void),
                     void *);

static main_fn *real_main;

/* A range of pages of files that were resident when the program was loaded. */
struct run {
    uintptr_t from;
    uintptr_t to;
};

static struct {
    struct run *runs;
    size_t mapped_bytes;
    long count;
} resident;

/* Adds a page to the list; the list is full when nothing more is added. */
static void add(uintptr_t page)
{
    struct run *last = resident.count ? resident.runs + resident.count - 1 : NULL;
    if (last && last->to == page)
        last->to = page + PAGE;
    else if ((resident.count + 1) * sizeof(struct run) <= resident.mapped_bytes)
        resident.runs[resident.count++] = (struct run){page, page + PAGE};
}

enum { MOST_ENTRIES = 512, MOST_BASE_PAGES = 64 };

/* Not among the library's own variables: these stay within one page, so that the library takes as
 * many as without this file, and what is mapped after it stays where it was. */
static struct {
    uint64_t entries[MOST_ENTRIES];
    char request[LONGEST_REQUEST + 2];
    char *arguments[MOST_ARGUMENTS + 1];
} *work;

/* Reads a process's page table from a page on; returns how many entries there are. */
static long read_entries(int pagemap, uintptr_t page, long wanted)
{
    const long some = wanted < MOST_ENTRIES ? wanted : MOST_ENTRIES;
    return pread(pagemap, work->entries, some * sizeof *work->entries,
                 (long)(page / PAGE * sizeof *work->entries)) / (long)sizeof *work->entries;
}

/* Returns where an emulator of the host has this program's address 0, in bytes: QEMU begins at the
 * lowest address that may be mapped. It translates addresses, also in its own /proc/self/maps, but
 * not those of the page table. */
static uintptr_t base_of(int pagemap)
{
    const size_t size = 2 * MOST_BASE_PAGES * PAGE;
    char *here = mmap(NULL, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (here == MAP_FAILED)
        _exit(1);
    const uintptr_t touched = (uintptr_t)here + MOST_BASE_PAGES * PAGE;
    touch((const void *)touched, WRITE);
    const long got = read_entries(pagemap, touched, MOST_BASE_PAGES);
    long base = 0;
    while (base < got && !(work->entries[base] & PRESENT))
        base++;
    munmap(here, size);
    if (base >= got)
        _exit(1);
    return base * PAGE;
}

/* Adds the resident pages of one mapping. */
static void add_mapping(int pagemap, uintptr_t base, uintptr_t from, uintptr_t to)
{
    for (uintptr_t page = from; page < to;) {
        const long got = read_entries(pagemap, page + base, (long)((to - page) / PAGE));
        if (got <= 0)
            return;
        for (long i = 0; i < got; i++)
            if (work->entries[i] & PRESENT)
                add(page + i * PAGE);
        page += got * PAGE;
    }
}

/* Takes down which pages of readable file mappings are resident. */
static void take_down_resident_pages(void)
{
    enum { MAPS_BYTES = 1 << 18, RUNS_BYTES = 1 << 18 };
    char *maps = mmap(NULL, MAPS_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    void *runs = mmap(NULL, RUNS_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    const int file = open("/proc/self/maps", O_RDONLY);
    const int pagemap = open("/proc/self/pagemap", O_RDONLY);
    if (maps == MAP_FAILED || runs == MAP_FAILED || file < 0 || pagemap < 0)
        _exit(1);
    const uintptr_t base = base_of(pagemap);
    resident.runs = runs;
    resident.mapped_bytes = RUNS_BYTES;
    long size = 0, got;
    while (size < MAPS_BYTES - 1 && (got = read(file, maps + size, MAPS_BYTES - 1 - size)) > 0)
        size += got;
    close(file);
    maps[size] = 0;
    /* "from-to rwxp offset device inode path": only a mapping of a file has a slash. */
    for (char *line = maps; *line;) {
        char *rest, *end = line;
        int has_file = 0;
        while (*end && *end != '\n')
            has_file |= *end++ == '/';
        const uintptr_t from = strtoul(line, &rest, 16);
        const uintptr_t to = strtoul(rest + 1, &rest, 16);
        if (has_file && rest[1] == 'r')
            add_mapping(pagemap, base, from, to);
        line = *end ? end + 1 : end;
    }
    close(pagemap);
    munmap(maps, MAPS_BYTES);
}

/* Touches again what a fork does not copy, and gives the list back. */
static void touch_resident_pages(void)
{
    for (long i = 0; i < resident.count; i++)
        for (uintptr_t page = resident.runs[i].from; page < resident.runs[i].to; page += PAGE)
            touch((const void *)page, READ);
    munmap(resident.runs, resident.mapped_bytes);
}

/* File descriptors, see above. */
static int answers, go, run;

/* Waits for a byte of the probe's; ends with the probe. */
static void wait_for(int fd)
{
    char sign;
    if (read(fd, &sign, 1) != 1)
        _exit(1);
}

/* Becomes what a program is that was started for one network: see prepare_child in the probe. */
static void settle(void)
{
    static const char first_to_be_killed[] = "500";
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    setsid();
    dprintf(answers, "%d\n", getpid());
    wait_for(run);
    /* Not before: the signal would follow the end of the process in between. */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    close(answers);
    close(go);
    close(run);
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) {
        dup2(nothing, 0);
        close(nothing);
    }
    const int score = open("/proc/self/oom_score_adj", O_WRONLY);
    if (score >= 0) {
        if (write(score, first_to_be_killed, strlen(first_to_be_killed)) < 0)
            _exit(1);
        close(score);
    }
}

static int run_main(long size, char **envp)
{
    char *const request = work->request;
    int count = 0;
    for (char *next = request; next < request + size && *next && count < MOST_ARGUMENTS;
         next += strlen(next) + 1)
        work->arguments[count++] = next;
    settle();
    touch_resident_pages();
    return real_main(count, work->arguments, envp);
}

static int serve(int argc, char **argv, char **envp)
{
    const char *fds = getenv("PIBENCH_FORKS");
    if (!fds)
        return real_main(argc, argv, envp);
    char *rest;
    answers = strtoul(fds, &rest, 10);
    go = strtoul(rest + 1, &rest, 10);
    run = strtoul(rest + 1, &rest, 10);
    volatile int *child = mmap(NULL, PAGE, PROT_READ_WRITE, MAP_SHARED_ANONYMOUS, -1, 0);
    work = mmap(NULL, sizeof *work, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (child == MAP_FAILED || work == MAP_FAILED)
        _exit(1);
    take_down_resident_pages();
    /* A network's process must not reach into the one that the next are forked from. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    for (;;) {
        const long size = read(0, work->request, LONGEST_REQUEST);
        if (size <= 0)
            _exit(0);
        work->request[size] = work->request[size + 1] = 0;
        *child = -1;
        const int between = fork();
        if (between == 0) {
            dprintf(answers, "%d\n", getpid());
            wait_for(go);
            const int forked = fork();
            if (forked == 0)
                return run_main(size, envp);
            if (forked < 0)
                dprintf(answers, "%d\n", forked);
            *child = forked;
            wait_for(go);
            _exit(0);
        }
        if (between > 0)
            waitpid(between, NULL, 0);
        dprintf(answers, "%d\n", *child);
    }
}

__attribute__((visibility("default"))) int
__libc_start_main(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                  void (*end_of_linker)(void), void *stack_end)
{
    start_fn *real = (start_fn *)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return real(serve, argc, argv, init, fini, end_of_linker, stack_end);
}
