/* Raw training data -> examples: text, JSON lines or CSV, in bounded memory (FORMAT.md, "Raw data").
 *
 * Nothing here opens a file: bytes come by offset from a function of the caller, examples go to another. A line is
 * never held: a value is where it lies in the file, and is read again when it is tokenized. */
#ifndef DAYPACK_RAW_H
#define DAYPACK_RAW_H

#include "tokenizer.h"

enum {
  DAYPACK_RAW_BYTES = 1 << 16, /* of a reader's buffer */
  DAYPACK_LONGEST_LINE_BYTES = 16 << 20,
  DAYPACK_FRAGMENTS = 12,
  DAYPACK_CORPUS_BYTES = 1 << 16, /* of the longest corpus.bin */
  DAYPACK_OPEN_ROWS = 256,
  DAYPACK_NO_LABEL = -100,
};

/* How a file is read, and what makes ids of text. */
enum { DAYPACK_BY_NAME = 0, DAYPACK_TEXT = 1, DAYPACK_JSONL = 2, DAYPACK_CSV = 3, DAYPACK_IDS = 4 };
enum { DAYPACK_TOKENIZER_NONE = 0, DAYPACK_TOKENIZER_BYTES = 1, DAYPACK_TOKENIZER_FILE = 2 };
/* Bits of `chat`. */
enum {
  DAYPACK_CHAT = 1,
  DAYPACK_CHAT_SYSTEM = 2, /* the template takes a system's turn */
  DAYPACK_TRIM_SYSTEM = 4, /* contents lose the white space at their ends */
  DAYPACK_TRIM_USER = 8,
  DAYPACK_TRIM_ASSISTANT = 16,
  DAYPACK_CHAT_BITS = 31,
};
/* The texts behind the header, in this order. */
enum { DAYPACK_START, DAYPACK_SYSTEM_PREFIX, DAYPACK_SYSTEM_JOIN, DAYPACK_USER_PREFIX, DAYPACK_USER_SUFFIX,
       DAYPACK_ASSISTANT_PREFIX, DAYPACK_ASSISTANT_SUFFIX, DAYPACK_CHAT_TEXTS };

typedef struct {
  char magic[8];
  uint64_t file_bytes;
  uint32_t kind;
  uint32_t tokenizer;
  uint32_t packing;
  uint32_t shuffle;
  uint32_t seed;
  uint32_t sequence;
  uint32_t chat;
  uint32_t text_bytes[DAYPACK_CHAT_TEXTS];
  uint32_t zero;
  uint32_t reserved;
} daypack_corpus_header;

static_assert(sizeof(daypack_corpus_header) == 80, "corpus.bin header");

typedef struct {
  const daypack_corpus_header *header;
  const char *texts[DAYPACK_CHAT_TEXTS];
} daypack_corpus;

/* `size_bytes` bytes from `offset_bytes` on; they lie in the file. */
typedef daypack_code (*daypack_raw_read)(void *context, void *bytes, uint64_t size_bytes, uint64_t offset_bytes);

typedef struct {
  daypack_raw_read read;
  void *context;
  daypack_error *error;
  const char *name; /* of the file, for messages */
  uint64_t size_bytes;
  uint8_t *buffer; /* DAYPACK_RAW_BYTES */
  uint64_t buffer_offset_bytes;
  uint64_t buffer_count;
  uint64_t offset_bytes;   /* of the next byte */
  uint64_t line;           /* its number; 0: the file is not read by lines */
  uint64_t line_end_bytes; /* the line under way ends before */
} daypack_raw;

/* Bytes of the file [begin, end). */
typedef struct {
  uint64_t begin;
  uint64_t end;
} daypack_span;

/* How characters are written: in memory, or in the file as they are, as JSON or as CSV has them in quotes. */
typedef enum { DAYPACK_LITERAL, DAYPACK_PLAIN, DAYPACK_JSON_STRING, DAYPACK_QUOTED_FIELD } daypack_form;

/* A part of a text: the corpus's own bytes, or a span of the file. */
typedef struct {
  daypack_form form;
  const char *literal;
  daypack_span span;
} daypack_fragment;

/* Fragments end to end: one text, tokenized by itself, all of it learnt or none. */
typedef struct {
  daypack_raw *raw;
  daypack_fragment fragments[DAYPACK_FRAGMENTS];
  uint32_t count;
  bool learnt;
  uint32_t next; /* fragment that is being read */
  uint64_t place; /* in it */
} daypack_piece;

typedef daypack_code (*daypack_examples_write)(void *context, const void *bytes, uint64_t size_bytes,
                                               uint64_t offset_bytes);

typedef struct {
  daypack_examples_write write; /* offsets from the first example on */
  void *context;
  uint32_t sequence;
  bool packing;
  uint64_t example_bytes;
  uint64_t places[3]; /* of ids, labels and segments in an example */
  int32_t *ids;       /* `sequence` each: the window or the part under way */
  int32_t *labels;
  int32_t *starts;
  uint8_t *example; /* `example_bytes` */
  uint32_t count;   /* tokens under way */
  bool labelled;    /* one of them has a label */
  bool within;      /* the token before is of the same document */
  uint64_t tokens;
  uint64_t windows;
  uint64_t examples;
  struct {
    uint64_t row;
    uint32_t room;
  } open[DAYPACK_OPEN_ROWS];
  uint32_t open_count;
} daypack_examples;

typedef struct {
  const daypack_corpus *corpus;
  daypack_raw *raw;
  daypack_raw *beside;          /* the same file, for a second place in it */
  daypack_tokenizer *tokenizer; /* NULL: the bundle has none */
  daypack_examples *examples;
  uint32_t vocabulary;
  uint64_t position; /* ids of the document under way */
  daypack_piece *piece;
  char where[DAYPACK_MESSAGE_BYTES];
} daypack_encoder;

/* raw_bytes.c */
void daypack_begin_raw(daypack_raw *raw, bool by_lines);
/* "FILE: line N: text" as bad input. */
DAYPACK_MUST_CHECK daypack_code daypack_raw_refuse(const daypack_raw *raw, const char *text);
/* The next byte without taking it, -1 at the end. */
DAYPACK_MUST_CHECK daypack_code daypack_raw_peek(daypack_raw *raw, int *byte);
/* The next character, malformed UTF-8 as U+FFFD; DAYPACK_NO_ID at the end. */
DAYPACK_MUST_CHECK daypack_code daypack_raw_point(daypack_raw *raw, uint32_t *point);
/* A line begins here, behind a byte order mark if it is the first; `more`: there is one. */
DAYPACK_MUST_CHECK daypack_code daypack_begin_line(daypack_raw *raw, bool *more);
/* As Python's str.isspace. */
bool daypack_is_white(uint32_t point);

/* raw_piece.c */
void daypack_add_literal(daypack_piece *piece, const char *text, uint64_t size_bytes);
void daypack_add_span(daypack_piece *piece, daypack_form form, daypack_span span);
/* A daypack_text_read of a piece: UTF-8. */
DAYPACK_MUST_CHECK daypack_code daypack_read_piece(void *piece, uint8_t *bytes, uint32_t size_bytes, uint32_t *count);

/* raw_json.c */
/* The next character of a string, its escapes undone, half a surrogate pair as U+FFFD; DAYPACK_NO_ID, and the quote
 * taken, at its end. */
DAYPACK_MUST_CHECK daypack_code daypack_json_point(daypack_raw *raw, uint32_t *point);
/* White space, then this character. */
DAYPACK_MUST_CHECK daypack_code daypack_json_take(daypack_raw *raw, char wanted, bool *taken);
/* A string: where its characters lie, and those without the white space at the ends (`trimmed` may be NULL). */
DAYPACK_MUST_CHECK daypack_code daypack_json_string(daypack_raw *raw, daypack_span *whole, daypack_span *trimmed);
/* A string of fewer than `size` characters of ASCII; empty if it is another. */
DAYPACK_MUST_CHECK daypack_code daypack_json_word(daypack_raw *raw, char *word, size_t size);
DAYPACK_MUST_CHECK daypack_code daypack_json_integer(daypack_raw *raw, const char *key, int64_t *value);

/* raw_lines.c: documents of JSON lines, raw_chat.c: of the list of one line's messages, raw_csv.c: of questions */
DAYPACK_MUST_CHECK daypack_code daypack_encode_json_lines(daypack_encoder *encoder, bool only_ids);
DAYPACK_MUST_CHECK daypack_code daypack_encode_messages(daypack_encoder *encoder);
DAYPACK_MUST_CHECK daypack_code daypack_encode_questions(daypack_encoder *encoder);

/* corpus.c */
DAYPACK_MUST_CHECK daypack_code daypack_load_corpus(daypack_corpus *corpus, daypack_error *error, const void *bytes,
                                                    uint64_t size_bytes);
DAYPACK_MUST_CHECK daypack_code daypack_encode_piece(daypack_encoder *encoder, daypack_piece *piece);
DAYPACK_MUST_CHECK daypack_code daypack_encode_id(daypack_encoder *encoder, int64_t id, bool learnt);
DAYPACK_MUST_CHECK daypack_code daypack_end_document(daypack_encoder *encoder);
/* The kind of a file whose corpus says that its name tells. */
uint32_t daypack_kind_of_name(const char *path);
/* The whole file as examples. */
DAYPACK_MUST_CHECK daypack_code daypack_encode(daypack_encoder *encoder, uint32_t kind);

/* examples.c: windows; packing.c: rows */
DAYPACK_MUST_CHECK daypack_code daypack_add_token(daypack_examples *examples, int32_t id, bool learnt);
DAYPACK_MUST_CHECK daypack_code daypack_end_tokens(daypack_examples *examples);
DAYPACK_MUST_CHECK daypack_code daypack_pack_part(daypack_examples *examples);

#endif
