/*
 * aof_reader.h — reads a data directory's AOF from the beginning: recovery and `--check`.
 *
 * The class of what is found is a pure function of the bytes:
 *
 *   AOF_READ_RECORD   a record whose checksums, sequence number and identity are right
 *   AOF_READ_DAMAGE   bytes that had been durable and are not what was written (or a segment that
 *                     is missing): records [damage.first_sequence, damage.last_sequence] are lost.
 *                     Reading goes on behind them.
 *   AOF_READ_END      nothing more.  `end` says how it ended: clean, or a torn tail that was never
 *                     acknowledged as synced, which the next aof_open leaves behind.
 *   AOF_READ_ERROR    the operating system refused (result < 0)
 *
 * A batch whose last record is missing is part of the torn tail as a whole.
 * The reader changes nothing on disk.  All I/O is synchronous.
 */
#pragma once

#include "storage/aof.h"

struct aof_reader;

enum aof_read { AOF_READ_RECORD, AOF_READ_DAMAGE, AOF_READ_END, AOF_READ_ERROR };

enum aof_damage_kind {
    AOF_DAMAGE_HEADER,   /* a record header's checksum */
    AOF_DAMAGE_BODY,     /* a record body's checksum; `group` is known */
    AOF_DAMAGE_SEGMENT,  /* a segment's header */
    AOF_DAMAGE_MISSING,  /* a whole segment is not there */
    AOF_DAMAGE_IDENTITY, /* a segment of another node or another data directory */
    AOF_DAMAGE_FORMAT,   /* a format version this build does not know */
};

struct aof_damage {
    enum aof_damage_kind kind;
    uint64_t segment;        /* number */
    uint64_t offset;         /* bytes into the segment */
    uint64_t first_sequence; /* lost records, inclusive */
    uint64_t last_sequence;
    int32_t group; /* -1 when not known */
    char file[32]; /* file name without directory */
};

struct aof_end {
    bool torn;
    uint64_t segment; /* where reading ended */
    uint64_t offset;
    uint64_t torn_bytes;    /* up to the last byte that is not zero */
    uint64_t next_sequence; /* the first sequence number the next aof may use */
    uint64_t next_segment;  /* the first segment number the next aof may use */
    uint64_t records;
    uint64_t bytes; /* of valid records */
    char file[32];
};

/* `newest` is data_dir_meta.aof_segment: true when the log ends before that segment, so that at
 * least one whole file at its end is missing. */
static inline bool aof_end_is_missing(const struct aof_end *end, uint64_t newest)
{
    return end->next_segment <= newest && end->segment != newest; /* it may be there, unused */
}

struct aof_position { /* where a record stands, for reports */
    uint64_t segment;
    uint64_t offset;
    char file[32];
};

/* identity 0: accept any (offline check).  < 0: -errno. */
MUST_USE int aof_reader_open(struct io *io, const char *dir, uint64_t identity,
                             struct aof_reader **out_reader);
/* The record's bytes are valid until the next call. */
enum aof_read aof_reader_next(struct aof_reader *reader, struct aof_record *out_record);
const struct aof_damage *aof_reader_damage(const struct aof_reader *reader);
const struct aof_end *aof_reader_end(const struct aof_reader *reader);
struct aof_position aof_reader_position(const struct aof_reader *reader);
/* Bytes read so far and in all, for a progress line. */
void aof_reader_progress(const struct aof_reader *reader, uint64_t *out_done, uint64_t *out_total);
int aof_reader_error(const struct aof_reader *reader);
/* Segments seen (call after the end): number, first sequence and size of the i-th. */
uint32_t aof_reader_segments(const struct aof_reader *reader);
void aof_reader_segment(const struct aof_reader *reader, uint32_t i, uint64_t *out_number,
                        uint64_t *out_first_sequence, uint64_t *out_bytes);
/* Copies the torn bytes to <segment>.torn and syncs it (a human may want to look).  < 0: -errno. */
int aof_reader_keep_torn(struct aof_reader *reader);
void aof_reader_close(struct aof_reader *reader);
