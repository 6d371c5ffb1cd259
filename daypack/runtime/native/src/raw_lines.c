/* JSON lines: one object a line, each a document, all with the same keys. */
#include <string.h>

#include "raw.h"

enum { TEXT, PROMPT, COMPLETION, MESSAGES, IDS, MASK, KEY_COUNT, WORD_BYTES = 16 };
static const char *const KEYS[KEY_COUNT] = {"text", "prompt", "completion", "messages", "ids", "mask"};
static const uint32_t FORMS[] = {1u << TEXT, 1u << PROMPT | 1u << COMPLETION, 1u << MESSAGES, 1u << IDS,
                                 1u << IDS | 1u << MASK};

typedef struct {
  uint32_t keys; /* bits of those that the line has */
  daypack_span strings[KEY_COUNT];
  uint64_t begins[KEY_COUNT]; /* of lists, behind the bracket */
  uint64_t counts[KEY_COUNT];
} fields;

static daypack_code refuse_value(const daypack_raw *raw, int key, const char *expected) {
  return daypack_fail(raw->error, DAYPACK_BAD_INPUT, "%s: line %llu: `%s`: expected %s", raw->name,
                      (unsigned long long)raw->line, KEYS[key], expected);
}

/* A list of whole numbers; `mask` is of 0 and 1. */
static daypack_code scan_numbers(daypack_raw *raw, fields *line, int key) {
  bool more = false;
  daypack_code code = daypack_json_take(raw, '[', &more);
  if (code == DAYPACK_OK && !more) return refuse_value(raw, key, "a list of whole numbers");
  line->begins[key] = raw->offset_bytes;
  if (code == DAYPACK_OK) code = daypack_json_take(raw, ']', &more);
  more = !more;
  while (code == DAYPACK_OK && more) {
    int64_t value = 0;
    code = daypack_json_integer(raw, KEYS[key], &value);
    if (code == DAYPACK_OK && key == MASK && value != 0 && value != 1) return refuse_value(raw, key, "0 or 1");
    line->counts[key]++;
    if (code == DAYPACK_OK) code = daypack_json_take(raw, ',', &more);
    if (code != DAYPACK_OK || more) continue;
    bool over = false;
    code = daypack_json_take(raw, ']', &over);
    if (code == DAYPACK_OK && !over) return refuse_value(raw, key, "a list of whole numbers");
  }
  return code;
}

static daypack_code scan_value(daypack_encoder *encoder, fields *line, int key) {
  daypack_raw *raw = encoder->raw;
  bool taken = false;
  if (key == IDS || key == MASK) return scan_numbers(raw, line, key);
  if (key == MESSAGES) return daypack_encode_messages(encoder); /* at once: no other key may stand beside it */
  daypack_code code = daypack_json_take(raw, '"', &taken);
  if (code == DAYPACK_OK && !taken) return refuse_value(raw, key, "a string");
  return code == DAYPACK_OK ? daypack_json_string(raw, &line->strings[key], NULL) : code;
}

static daypack_code scan_pair(daypack_encoder *encoder, fields *line) {
  daypack_raw *raw = encoder->raw;
  char word[WORD_BYTES];
  bool taken = false;
  int key = 0;
  daypack_code code = daypack_json_take(raw, '"', &taken);
  if (code == DAYPACK_OK && !taken) return daypack_raw_refuse(raw, "not JSON: expected a key");
  if (code == DAYPACK_OK) code = daypack_json_word(raw, word, sizeof word);
  if (code == DAYPACK_OK) code = daypack_json_take(raw, ':', &taken);
  if (code != DAYPACK_OK) return code;
  if (!taken) return daypack_raw_refuse(raw, "not JSON: expected ':' behind a key");
  while (key < KEY_COUNT && strcmp(KEYS[key], word) != 0) key++;
  if (key == KEY_COUNT)
    return daypack_raw_refuse(raw, "unknown key; expected `text`, `prompt` and `completion`, `messages`, `ids`, or "
                                   "`ids` and `mask`");
  if ((line->keys >> key & 1) != 0) return daypack_raw_refuse(raw, "a key that is there twice");
  line->keys |= 1u << key;
  return scan_value(encoder, line, key);
}

static daypack_code scan_line(daypack_encoder *encoder, fields *line) {
  daypack_raw *raw = encoder->raw;
  bool more = false;
  int byte = 0;
  daypack_code code = daypack_json_take(raw, '{', &more);
  if (code == DAYPACK_OK && !more) return daypack_raw_refuse(raw, "expected a JSON object");
  if (code == DAYPACK_OK) code = daypack_json_take(raw, '}', &more);
  more = !more;
  while (code == DAYPACK_OK && more) {
    code = scan_pair(encoder, line);
    if (code == DAYPACK_OK) code = daypack_json_take(raw, ',', &more);
    if (code != DAYPACK_OK || more) continue;
    bool over = false;
    code = daypack_json_take(raw, '}', &over);
    if (code == DAYPACK_OK && !over) return daypack_raw_refuse(raw, "not JSON: expected ',' or '}' behind a value");
  }
  if (code == DAYPACK_OK) code = daypack_json_take(raw, '\n', &more);
  if (code == DAYPACK_OK && !more) code = daypack_raw_peek(raw, &byte);
  if (code == DAYPACK_OK && !more && byte >= 0) return daypack_raw_refuse(raw, "not JSON: more behind the object");
  return code;
}

static daypack_code check_form(const daypack_raw *raw, uint32_t keys, bool only_ids) {
  for (size_t index = 0; index < sizeof FORMS / sizeof *FORMS; index++)
    if (FORMS[index] == keys && (!only_ids || (keys & 1u << IDS) != 0)) return DAYPACK_OK;
  if (only_ids) return daypack_raw_refuse(raw, "expected the keys `ids`, or `ids` and `mask`, found others");
  return daypack_raw_refuse(raw, "expected the keys `text`, `prompt` and `completion`, `messages`, `ids`, or `ids` and "
                                 "`mask`, found others");
}

static daypack_code encode_string(daypack_encoder *encoder, daypack_span span, bool learnt) {
  daypack_piece piece = {.raw = encoder->raw, .learnt = learnt};
  daypack_add_span(&piece, DAYPACK_JSON_STRING, span);
  return daypack_encode_piece(encoder, &piece);
}

/* Both lists again, side by side. */
static daypack_code encode_numbers(daypack_encoder *encoder, const fields *line) {
  daypack_raw *raw = encoder->raw;
  daypack_raw *beside = encoder->beside;
  bool masked = (line->keys & 1u << MASK) != 0;
  daypack_code code = DAYPACK_OK;
  if (masked && line->counts[MASK] != line->counts[IDS])
    return daypack_fail(raw->error, DAYPACK_BAD_INPUT,
                        "%s: line %llu: `mask` has %llu values and `ids` %llu; give one for each id", raw->name,
                        (unsigned long long)raw->line, (unsigned long long)line->counts[MASK],
                        (unsigned long long)line->counts[IDS]);
  raw->offset_bytes = line->begins[IDS];
  beside->offset_bytes = line->begins[MASK];
  beside->line = raw->line;
  for (uint64_t index = 0; code == DAYPACK_OK && index < line->counts[IDS]; index++) {
    int64_t id = 0;
    int64_t learnt = 1;
    bool comma = false;
    code = daypack_json_integer(raw, KEYS[IDS], &id);
    if (code == DAYPACK_OK) code = daypack_json_take(raw, ',', &comma);
    if (code == DAYPACK_OK && masked) code = daypack_json_integer(beside, KEYS[MASK], &learnt);
    if (code == DAYPACK_OK && masked) code = daypack_json_take(beside, ',', &comma);
    if (code == DAYPACK_OK) code = daypack_encode_id(encoder, id, learnt == 1);
  }
  return code;
}

static daypack_code encode_line(daypack_encoder *encoder, const fields *line) {
  if ((line->keys & 1u << TEXT) != 0) return encode_string(encoder, line->strings[TEXT], true);
  if ((line->keys & 1u << IDS) != 0) return encode_numbers(encoder, line);
  if ((line->keys & 1u << MESSAGES) != 0) return DAYPACK_OK;
  daypack_code code = encode_string(encoder, line->strings[PROMPT], false);
  return code == DAYPACK_OK ? encode_string(encoder, line->strings[COMPLETION], true) : code;
}

/* Whether nothing but white space is in the line, which is then taken; else nothing is. */
static daypack_code skip_blank(daypack_raw *raw, bool *blank) {
  uint64_t begin = raw->offset_bytes;
  uint32_t point = ' ';
  daypack_code code = DAYPACK_OK;
  while (code == DAYPACK_OK && point != '\n' && daypack_is_white(point)) code = daypack_raw_point(raw, &point);
  *blank = point == '\n' || point == DAYPACK_NO_ID;
  if (!*blank) raw->offset_bytes = begin;
  return code;
}

daypack_code daypack_encode_json_lines(daypack_encoder *encoder, bool only_ids) {
  daypack_raw *raw = encoder->raw;
  uint64_t first_line = 0;
  uint32_t form = 0;
  for (;; raw->line++) {
    fields line = {0};
    bool more = false;
    bool blank = false;
    daypack_code code = daypack_begin_line(raw, &more);
    if (code == DAYPACK_OK && more) code = skip_blank(raw, &blank);
    if (code != DAYPACK_OK || !more) return code;
    if (blank) continue;
    code = scan_line(encoder, &line);
    if (code == DAYPACK_OK) code = check_form(raw, line.keys, only_ids);
    if (code != DAYPACK_OK) return code;
    if (form != 0 && line.keys != form)
      return daypack_fail(raw->error, DAYPACK_BAD_INPUT,
                          "%s: line %llu: its keys are others than those of line %llu; put lines of each form into a "
                          "file of their own",
                          raw->name, (unsigned long long)raw->line, (unsigned long long)first_line);
    if (form == 0) first_line = raw->line;
    form = line.keys;
    uint64_t next = raw->offset_bytes;
    code = encode_line(encoder, &line);
    if (code == DAYPACK_OK) code = daypack_end_document(encoder);
    if (code != DAYPACK_OK) return code;
    raw->offset_bytes = next;
  }
}
