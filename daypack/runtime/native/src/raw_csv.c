/* CSV of multiple choice: question, four options, the letter of the right one; as Python's csv module reads it with
 * `strict`, a row's fields where they lie in the file. */
#include <string.h>

#include "raw.h"

enum { QUESTION, ANSWER = 5, FIELD_COUNT = 6, LONGEST_FIELD = 131072, WORD_BYTES = 16 };
static const char *const HEADER[FIELD_COUNT] = {"question", "a", "b", "c", "d", "answer"};

typedef struct {
  daypack_span span;
  bool quoted;
} field;

typedef struct {
  field fields[FIELD_COUNT];
  uint64_t count;
  bool blank; /* an empty line */
  bool over;  /* no row is left */
} row;

static daypack_code refuse_length(const daypack_raw *raw) {
  return daypack_raw_refuse(raw, "not CSV: a field of more than 131072 characters");
}

/* Up to the quote that ends it, which is taken. */
static daypack_code scan_quoted(daypack_raw *raw, field *found) {
  uint64_t length = 0;
  found->quoted = true;
  found->span.begin = raw->offset_bytes;
  for (;;) {
    uint32_t point = 0;
    int byte = 0;
    found->span.end = raw->offset_bytes;
    daypack_code code = daypack_raw_point(raw, &point);
    if (code == DAYPACK_OK && point == '"') {
      code = daypack_raw_peek(raw, &byte);
      if (code == DAYPACK_OK && byte != '"') return DAYPACK_OK;
      raw->offset_bytes++;
    }
    if (code != DAYPACK_OK) return code;
    if (point == DAYPACK_NO_ID) return daypack_raw_refuse(raw, "not CSV: a quote that does not close");
    if (++length > LONGEST_FIELD) return refuse_length(raw);
    if (point != '\n') continue;
    bool more = false;
    raw->line++;
    code = daypack_begin_line(raw, &more);
    if (code != DAYPACK_OK) return code;
    if (!more) {
      raw->line--;
      return daypack_raw_refuse(raw, "not CSV: a quote that does not close");
    }
  }
}

static daypack_code scan_field(daypack_raw *raw, field *found) {
  uint64_t length = 0;
  int byte = 0;
  daypack_code code = daypack_raw_peek(raw, &byte);
  if (code != DAYPACK_OK) return code;
  if (byte == '"') {
    raw->offset_bytes++;
    return scan_quoted(raw, found);
  }
  found->quoted = false;
  found->span.begin = found->span.end = raw->offset_bytes;
  while (byte >= 0 && byte != ',' && byte != '\n' && byte != '\r') {
    uint32_t point = 0;
    code = daypack_raw_point(raw, &point);
    if (code == DAYPACK_OK && ++length > LONGEST_FIELD) return refuse_length(raw);
    found->span.end = raw->offset_bytes;
    if (code == DAYPACK_OK) code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK) return code;
  }
  return DAYPACK_OK;
}

/* What ends a line; the line's number stays that of the row until the next begins. */
static daypack_code scan_end(daypack_raw *raw) {
  int byte = 0;
  for (;;) {
    daypack_code code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK || byte < 0) return code;
    if (byte != '\r' && byte != '\n')
      return daypack_raw_refuse(raw, "not CSV: a carriage return in a field without quotes");
    raw->offset_bytes++;
    if (byte == '\n') return DAYPACK_OK;
  }
}

static daypack_code scan_row(daypack_raw *raw, row *of) {
  bool more = false;
  int byte = 0;
  *of = (row){.blank = false};
  daypack_code code = daypack_begin_line(raw, &more);
  if (code == DAYPACK_OK && more) code = daypack_raw_peek(raw, &byte);
  of->over = !more || byte < 0;
  if (code != DAYPACK_OK || of->over) return code;
  of->blank = byte == '\r' || byte == '\n';
  while (code == DAYPACK_OK && !of->blank) {
    field found = {{0, 0}, false};
    code = scan_field(raw, &found);
    if (of->count < FIELD_COUNT) of->fields[of->count] = found;
    of->count++;
    if (code == DAYPACK_OK) code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK) return code;
    if (byte != ',' && byte != '\r' && byte != '\n' && byte >= 0)
      return daypack_raw_refuse(raw, "not CSV: expected ',' behind a quote that closes");
    if (byte != ',') break;
    raw->offset_bytes++;
  }
  return scan_end(raw);
}

static void add_field(daypack_piece *piece, const field *of) {
  daypack_add_span(piece, of->quoted ? DAYPACK_QUOTED_FIELD : DAYPACK_PLAIN, of->span);
}

/* A field without the white space at its ends, if it then has few characters, all ASCII, none white; else empty. */
static daypack_code read_word(daypack_raw *raw, const field *of, char word[WORD_BYTES]) {
  uint64_t next = raw->offset_bytes;
  size_t length = 0;
  bool good = true;
  bool white = false;
  daypack_code code = DAYPACK_OK;
  raw->offset_bytes = of->span.begin;
  while (code == DAYPACK_OK && raw->offset_bytes < of->span.end) {
    uint32_t point = 0;
    code = daypack_raw_point(raw, &point);
    if (of->quoted && point == '"') raw->offset_bytes++;
    if (daypack_is_white(point)) {
      white = length > 0;
      continue;
    }
    good = good && !white && point > 0 && point < 0x80 && length + 1 < WORD_BYTES;
    if (good) word[length++] = (char)point;
  }
  word[good ? length : 0] = '\0';
  raw->offset_bytes = next;
  return code;
}

static daypack_code is_header(daypack_raw *raw, const row *of, bool *header) {
  char word[WORD_BYTES];
  daypack_code code = DAYPACK_OK;
  *header = of->count == FIELD_COUNT;
  for (int index = 0; code == DAYPACK_OK && *header && index < FIELD_COUNT; index++) {
    code = read_word(raw, &of->fields[index], word);
    for (char *letter = word; *letter != '\0'; letter++)
      if (*letter >= 'A' && *letter <= 'Z') *letter = (char)(*letter + 'a' - 'A');
    *header = code == DAYPACK_OK && strcmp(word, HEADER[index]) == 0;
  }
  return code;
}

/* The prompt as MMLU's own evaluation asks it, and the letter, which is learnt. */
static daypack_code encode_row(daypack_encoder *encoder, const row *of) {
  static const char *const options[] = {"\nA. ", "\nB. ", "\nC. ", "\nD. "};
  static const char *const answers[] = {" A", " B", " C", " D"};
  static const char ask[] = "\nAnswer:";
  char word[WORD_BYTES];
  daypack_raw *raw = encoder->raw;
  daypack_piece prompt = {.raw = raw};
  daypack_piece letter = {.raw = raw, .learnt = true};
  if (of->count != FIELD_COUNT)
    return daypack_raw_refuse(raw, "expected 6 columns: question, A, B, C, D, answer");
  daypack_code code = read_word(raw, &of->fields[ANSWER], word);
  if (code != DAYPACK_OK) return code;
  if (word[0] < 'A' || word[0] > 'D' || word[1] != '\0')
    return daypack_raw_refuse(raw, "the answer: expected A, B, C or D");
  add_field(&prompt, &of->fields[QUESTION]);
  for (int index = 0; index < 4; index++) {
    daypack_add_literal(&prompt, options[index], strlen(options[index]));
    add_field(&prompt, &of->fields[QUESTION + 1 + index]);
  }
  daypack_add_literal(&prompt, ask, sizeof ask - 1);
  daypack_add_literal(&letter, answers[word[0] - 'A'], 2);
  uint64_t next = raw->offset_bytes;
  code = daypack_encode_piece(encoder, &prompt);
  if (code == DAYPACK_OK) code = daypack_encode_piece(encoder, &letter);
  if (code == DAYPACK_OK) code = daypack_end_document(encoder);
  raw->offset_bytes = next;
  return code;
}

daypack_code daypack_encode_questions(daypack_encoder *encoder) {
  daypack_raw *raw = encoder->raw;
  for (uint64_t number = 0;; number++, raw->line++) {
    row of;
    bool header = false;
    daypack_code code = scan_row(raw, &of);
    if (code != DAYPACK_OK || of.over) return code;
    if (code == DAYPACK_OK && number == 0 && !of.blank) code = is_header(raw, &of, &header);
    if (code == DAYPACK_OK && !of.blank && !header) code = encode_row(encoder, &of);
    if (code != DAYPACK_OK) return code;
  }
}
