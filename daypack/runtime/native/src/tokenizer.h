/* Text to token ids by the tables of a tokenizer.dpt (FORMAT.md); the engine's own memory, nothing else.
 *
 * Bytes are pulled through: UTF-8 -> added tokens -> NFC or spaces -> pieces -> merges -> ids. All memory is the
 * workspace that the caller gives; it bounds the length of a piece, not of the text. */
#ifndef DAYPACK_TOKENIZER_H
#define DAYPACK_TOKENIZER_H

#include "internal.h"

enum {
  DAYPACK_TOKENIZER_GPT2 = 1,   /* byte-level BPE over GPT-2's pieces */
  DAYPACK_TOKENIZER_QWEN = 2,   /* byte-level BPE over the pieces of Qwen 2 */
  DAYPACK_TOKENIZER_SPACES = 3, /* BPE of characters, spaces as U+2581, bytes for what is unknown */
  DAYPACK_NORMAL_POINTS = 4096,
  DAYPACK_ADDED_POINTS = 256, /* of the longest added token */
  DAYPACK_WHOLE_PARTS = 256,  /* of the longest whole piece */
  DAYPACK_SYMBOL_BYTES = 32,  /* of workspace for each symbol of the longest piece */
};
#define DAYPACK_NO_ID UINT32_MAX

typedef struct {
  char magic[8];
  uint64_t file_bytes;
  uint32_t kind;
  uint32_t normalize; /* 1: NFC */
  uint32_t number_run; /* numbers in a piece at most; 0: any */
  uint32_t vocabulary;
  uint32_t merge_count;
  uint32_t slot_count;
  uint32_t character_count;
  uint32_t added_count;
  uint32_t added_point_count;
  uint32_t class_count;
  uint32_t order_count;
  uint32_t decomposed_count;
  uint32_t decomposed_point_count;
  uint32_t composition_count;
  uint32_t pair_words; /* a power of two, or 0 */
  uint32_t whole_count;
  uint32_t whole_part_count;
  uint32_t reserved;
} daypack_tokenizer_header;

typedef struct {
  uint32_t id; /* DAYPACK_NO_ID: merged into the one before */
  uint32_t previous;
  uint32_t next;
} daypack_symbol;

/* Up to `size_bytes` bytes of the text, 0 at its end. */
typedef daypack_code (*daypack_text_read)(void *context, uint8_t *bytes, uint32_t size_bytes, uint32_t *count);
typedef daypack_code (*daypack_ids_write)(void *context, const uint32_t *ids, uint32_t count);

typedef struct {
  daypack_error *error;
  const char *name; /* of the text, for messages */
  /* the tables */
  const daypack_tokenizer_header *header;
  const uint32_t *byte_ids;
  const uint32_t *results;          /* of merge n: the id */
  const uint32_t *slots;            /* left, right, merge */
  const uint32_t *characters;       /* point, id */
  const uint32_t *added_starts;
  const uint32_t *added_ids;
  const uint32_t *added_points;
  const uint32_t *classes;          /* first point, class: up to the next one's */
  const uint32_t *orders;           /* first point, combining class */
  const uint32_t *decomposed;       /* points that decompose */
  const uint32_t *decomposed_starts;
  const uint32_t *decomposed_points;
  const uint32_t *compositions;     /* second, first, composed */
  const uint32_t *pairs;            /* bits of neighbours that some merge may join */
  const uint32_t *whole_starts;
  const uint32_t *whole_ids;        /* of pieces that are tokens though no merges make them */
  const uint32_t *whole_parts;      /* what merges make of each */
  uint32_t longest_added;
  /* the workspace */
  uint32_t capacity; /* points and symbols of a piece */
  uint32_t *points;
  daypack_symbol *symbols;
  uint64_t *heap; /* merge << 32 | symbol */
  uint64_t heap_count;
  /* the text */
  daypack_text_read read;
  daypack_ids_write write;
  void *context;
  uint8_t bytes[4096];
  uint32_t byte_head;
  uint32_t byte_count;
  bool bytes_over;
  uint32_t raw[2 * DAYPACK_ADDED_POINTS];
  uint32_t raw_head;
  uint32_t raw_count;
  uint32_t added_found;
  bool segment_over;
  uint32_t normal[DAYPACK_NORMAL_POINTS];
  uint32_t normal_head;
  uint32_t normal_count;
  uint32_t held; /* a point after the ones that were composed, or DAYPACK_NO_ID */
  uint32_t ids[1024];
  uint32_t id_count;
} daypack_tokenizer;

/* Takes and checks the tables, `size_bytes` of them, aligned to 8 bytes, and divides the workspace. */
DAYPACK_MUST_CHECK daypack_code daypack_load_tokenizer(daypack_tokenizer *tokenizer, daypack_error *error,
                                                       const void *tables, uint64_t size_bytes, void *workspace,
                                                       uint64_t workspace_bytes);
/* The ids of one text, to its end. */
DAYPACK_MUST_CHECK daypack_code daypack_tokenize(daypack_tokenizer *tokenizer, const char *name,
                                                 daypack_text_read read, daypack_ids_write write, void *context);

/* tokenizer.c: tables */
enum { DAYPACK_OTHER = 0, DAYPACK_LETTER = 1, DAYPACK_NUMBER = 2, DAYPACK_SPACE = 3 };
uint32_t daypack_range_value(const uint32_t *ranges, uint32_t count, uint32_t point);
DAYPACK_MUST_CHECK daypack_code daypack_emit(daypack_tokenizer *tokenizer, uint32_t id);

/* tokenizer_text.c: the points of a segment, DAYPACK_NO_ID at its end. A segment ends with the text, or before an
 * added token, whose id is then in `added_found`. */
void daypack_begin_text(daypack_tokenizer *tokenizer);
/* How many bytes follow a first byte of UTF-8, and the range of the second (Unicode 15, table 3-7). */
int daypack_utf8_rest(int first, int *low, int *high);
DAYPACK_MUST_CHECK daypack_code daypack_next_raw(daypack_tokenizer *tokenizer, uint32_t *point);

/* tokenizer_normal.c: the same, normalized */
DAYPACK_MUST_CHECK daypack_code daypack_next_point(daypack_tokenizer *tokenizer, uint32_t *point);

/* tokenizer_pieces.c: length of the first piece of `count` > 0 points, or 0 when more points are needed */
uint32_t daypack_piece_length(const daypack_tokenizer *tokenizer, const uint32_t *points, uint32_t count, bool over);

/* tokenizer_merges.c: emits the ids of a piece */
DAYPACK_MUST_CHECK daypack_code daypack_merge_piece(daypack_tokenizer *tokenizer, const uint32_t *points,
                                                    uint32_t count);

#endif
