/*
 * io_worker.c — two lanes of worker threads and one list of what has ended.
 *
 * Idea: the log lane carries the writes that acknowledgements wait for; the bulk lane carries
 * snapshots, one at a time and at a lower priority, so that a gigabyte of them never stands before
 * a log write.  Threads start when there is work and nobody idle to do it, up to the lane's limit.
 *
 * The cost of a trip matters (every acknowledged write pays it): submitting takes one lock that is
 * hardly ever contended and at most one futex wake; ending takes one compare-and-swap, and the
 * loop's eventfd is written only when the loop sleeps (notify decides).
 *
 * Invariants: `done` is pushed by workers and emptied as a whole by the loop's thread, so a node is
 * never popped singly and the push cannot suffer from ABA.  Everything else is under `mutex`.
 */
#include "io/io_worker.h"

#include "base/assert.h"
#include "base/mem.h"
#include "io/io_file.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    LOG_THREADS_MAX = 4, /* a write, a sync, a segment being zeroed and one to spare */
    BULK_THREADS_MAX = 1,
    /* A tenth of a busy CPU.  Not the lowest: a bulk write may hold a lock of the file system that
     * the log's sync needs, and must be able to get to where it lets go of it. */
    BULK_NICE = 10,
};

struct lane {
    struct io_workers *workers;
    struct io_file_op *first;
    struct io_file_op *last;
    uint32_t queued;
    uint32_t idle; /* threads in pthread_cond_wait */
    uint32_t threads_count;
    uint32_t threads_max;
    int nice;
    pthread_cond_t work;
    pthread_t threads[LOG_THREADS_MAX];
};

struct io_workers {
    pthread_mutex_t mutex;
    struct lane log;
    struct lane bulk;
    bool stopping;
    _Atomic(struct io_file_op *) done;
    void (*notify)(void *context);
    void *context;
};

_Static_assert(BULK_THREADS_MAX <= LOG_THREADS_MAX, "struct lane has room for LOG_THREADS_MAX");

static void lane_start_thread(struct lane *lane);
static void lane_join(struct lane *lane);
static void *worker_main(void *argument);
static void worker_end(struct io_workers *workers, struct io_file_op *op);

static void lane_init(struct lane *lane, struct io_workers *workers, uint32_t threads_max,
                      int nice_value)
{
    lane->workers = workers;
    lane->threads_max = threads_max;
    lane->nice = nice_value;
    int failed = pthread_cond_init(&lane->work, NULL);
    ASSERT(failed == 0);
}

struct io_workers *io_workers_new(void (*notify)(void *context), void *context)
{
    struct io_workers *workers = mem_zalloc(sizeof(*workers));
    int failed = pthread_mutex_init(&workers->mutex, NULL);
    ASSERT(failed == 0);
    lane_init(&workers->log, workers, LOG_THREADS_MAX, 0);
    lane_init(&workers->bulk, workers, BULK_THREADS_MAX, BULK_NICE);
    workers->notify = notify;
    workers->context = context;
    return workers;
}

void io_workers_free(struct io_workers *workers)
{
    (void)pthread_mutex_lock(&workers->mutex);
    workers->stopping = true;
    (void)pthread_mutex_unlock(&workers->mutex);
    lane_join(&workers->log);
    lane_join(&workers->bulk);
    (void)pthread_mutex_destroy(&workers->mutex);
    mem_free(workers);
}

void io_workers_submit(struct io_workers *workers, struct io_file_op *op)
{
    struct lane *lane = (op->flags & IO_FILE_BULK) != 0 ? &workers->bulk : &workers->log;
    op->next = NULL;
    (void)pthread_mutex_lock(&workers->mutex);
    if (lane->first == NULL) {
        lane->first = op;
    } else {
        lane->last->next = op;
    }
    lane->last = op;
    lane->queued += 1;
    /* An idle thread counts until it has really woken, and so does the operation it was woken for:
     * only what exceeds them needs a new thread. */
    bool is_short = lane->queued > lane->idle;
    bool somebody_sleeps = lane->idle > 0;
    (void)pthread_mutex_unlock(&workers->mutex);
    if (somebody_sleeps) {
        (void)pthread_cond_signal(&lane->work);
    }
    if (is_short && lane->threads_count < lane->threads_max) {
        lane_start_thread(lane);
    }
}

bool io_workers_has_done(struct io_workers *workers)
{
    return atomic_load(&workers->done) != NULL;
}

struct io_file_op *io_workers_take(struct io_workers *workers)
{
    if (atomic_load_explicit(&workers->done, memory_order_relaxed) == NULL) {
        return NULL;
    }
    struct io_file_op *newest = atomic_exchange(&workers->done, NULL);
    struct io_file_op *list = NULL;
    while (newest != NULL) {
        struct io_file_op *older = newest->next;
        newest->next = list;
        list = newest;
        newest = older;
    }
    return list;
}

/* Takes the next operation off the lane, which is locked; NULL when there is none. */
static struct io_file_op *lane_pop(struct lane *lane)
{
    struct io_file_op *op = lane->first;
    if (op != NULL) {
        ASSERT(lane->queued > 0);
        lane->first = op->next;
        lane->queued -= 1;
    }
    return op;
}

/* Only the submitting thread starts threads, so threads_count needs no lock. */
static void lane_start_thread(struct lane *lane)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's business */
    int failed = pthread_create(&lane->threads[lane->threads_count], NULL, worker_main, lane);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) {
        lane->threads_count += 1;
        return;
    }
    if (lane->threads_count == 0) { /* the machine gives us no thread at all: do it here */
        struct io_file_op *op = lane_pop(lane);
        ASSERT(op != NULL);
        worker_end(lane->workers, op);
    }
}

static void lane_join(struct lane *lane)
{
    (void)pthread_cond_broadcast(&lane->work);
    for (uint32_t i = 0; i < lane->threads_count; i++) {
        (void)pthread_join(lane->threads[i], NULL);
    }
    ASSERT(lane->first == NULL);
    (void)pthread_cond_destroy(&lane->work);
}

static void worker_end(struct io_workers *workers, struct io_file_op *op)
{
    (void)io_file_execute(op);
    op->next = atomic_load_explicit(&workers->done, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&workers->done, &op->next, op)) {
        /* op->next now holds the newer head: try again */
    }
    workers->notify(workers->context);
}

static void *worker_main(void *argument)
{
    struct lane *lane = argument;
    struct io_workers *workers = lane->workers;
    if (lane->nice != 0) {
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(),
                          lane->nice); /* Linux: of this thread only */
    }
    (void)pthread_mutex_lock(&workers->mutex);
    for (;;) {
        struct io_file_op *op = lane_pop(lane);
        if (op != NULL) {
            (void)pthread_mutex_unlock(&workers->mutex);
            worker_end(workers, op);
            (void)pthread_mutex_lock(&workers->mutex);
        } else if (workers->stopping) {
            break;
        } else {
            lane->idle += 1;
            (void)pthread_cond_wait(&lane->work, &workers->mutex);
            lane->idle -= 1;
        }
    }
    (void)pthread_mutex_unlock(&workers->mutex);
    return NULL;
}
